"""Images as arrays: bit depth, resizing, tiles, heatmaps. No file format, no HTTP, no import of the service."""
