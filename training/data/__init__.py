"""Data sets: readers of files and folders, downloads, splits."""
