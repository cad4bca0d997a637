"""Autoencoder service: loads ONNX model packages and answers encode, decode, reconstruct, denoise over HTTP.

bytes -> api -> codecs -> inference -> model -> codecs -> bytes. Never imports torch.
"""

import os

# onnxruntime's Linux builds send telemetry since 1.29, unless it is disabled before their import;
# this file runs before any module of the service can import it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
