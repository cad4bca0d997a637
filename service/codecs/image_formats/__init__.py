"""Structure and metadata of image files, a module for each format: what is known before and beside the pixels."""
