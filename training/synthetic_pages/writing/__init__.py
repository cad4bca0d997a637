"""Ink on pages: fonts, pens, words, and lines of them."""
