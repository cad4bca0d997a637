"""Synthetic scanned pages: text, paper, degradation."""
