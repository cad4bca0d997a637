"""Files that serving and training read and write alike: plain files, arrays, pictures."""
