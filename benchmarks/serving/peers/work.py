"""What everyone writes around a session; all peers share it. Nothing of our service is in it.

body -> decode -> uint8 [N,H,W,C] -> run -> encode -> body, in the form in which it came
"""

import io
import json
import os

import numpy as np
import onnxruntime
from PIL import Image

GRAPH = os.environ["GRAPH"]
THREADS = int(os.environ.get("THREADS", "0"))  # 0: the runtime's own choice


class Work:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        self.session = onnxruntime.InferenceSession(GRAPH, options, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.name: batch})[0]

    def answer(self, body: bytes, content_type: str) -> bytes:
        return encode(self.run(decode(body, content_type)), content_type)


def decode(body: bytes, content_type: str) -> np.ndarray:
    if content_type == "application/json":
        return np.array(json.loads(body)["inputs"], np.uint8)
    if content_type == "image/png":
        pixels = np.asarray(Image.open(io.BytesIO(body)))
        return pixels.reshape(1, *pixels.shape[:2], -1)
    return np.load(io.BytesIO(body), allow_pickle=False)


def encode(output: np.ndarray, content_type: str) -> bytes:
    if content_type == "application/json" or (content_type == "image/png" and output.dtype != np.uint8):
        return json.dumps({"outputs": output.tolist()}).encode()
    buffer = io.BytesIO()
    if content_type == "image/png":
        Image.fromarray(output[0].squeeze()).save(buffer, "PNG")
    else:
        np.save(buffer, output)
    return buffer.getvalue()
