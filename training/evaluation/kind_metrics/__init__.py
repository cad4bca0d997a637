"""Metrics and figures that only some kinds of autoencoders have."""
