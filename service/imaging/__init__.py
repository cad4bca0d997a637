"""Pixels in numpy: depth, resizing, tiles, heatmaps. No file format, no HTTP."""
