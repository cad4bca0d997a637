"""Data sets that are public: downloads with checksums, and their file formats."""
