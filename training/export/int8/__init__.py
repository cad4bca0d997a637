"""Graphs in 8-bit integers: rewritten before they are quantised, and fitted to the kernels of onnxruntime after it."""
