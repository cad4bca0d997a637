"""JSON with large arrays, read and written in slices of a few milliseconds."""
