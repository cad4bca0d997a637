"""Readers of files and folders: pictures, arrays, tables, labels -> stored samples."""
