"""The model package: its format, how it is verified, and how onnxruntime opens it."""
