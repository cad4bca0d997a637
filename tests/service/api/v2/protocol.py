"""Requests and responses of the Open Inference Protocol, with and without NVIDIA's client."""

import json
import warnings
from typing import Any

import numpy as np
from starlette.testclient import TestClient

with warnings.catch_warnings():  # gevent: "patching more than once", deprecations of its own
    warnings.simplefilter("ignore")
    import tritonclient.http as triton
    from tritonclient.utils import InferenceServerException

__all__ = ["InferenceServerException", "triton"]

DRAWINGS = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)

ONE_DRAWING = DRAWINGS[:1]

LATENTS = DRAWINGS.reshape(3, -1)[:, :32] / np.float32(255)

HEADER_LENGTH = "Inference-Header-Content-Length"


def tensor(name: str, array: np.ndarray, datatype: str, *, binary: bool = True) -> Any:
    infer_input = triton.InferInput(name, list(array.shape), datatype)
    infer_input.set_data_from_numpy(array, binary_data=binary)
    return infer_input


def image(array: np.ndarray = DRAWINGS, *, binary: bool = True) -> list[Any]:
    return [tensor("image", array, "UINT8", binary=binary)]


def inference_request(array: np.ndarray = DRAWINGS, **changes: Any) -> dict[str, Any]:
    infer_input = {"name": "image", "shape": list(array.shape), "datatype": "UINT8", "data": array.tolist()}
    return {"inputs": [{**infer_input, **changes}]}


def infer(client: TestClient, document: Any, model: str = "small.encode", **options: Any) -> Any:
    return client.post(f"/v2/models/{model}/infer", content=json.dumps(document), **options)


def refused(response: Any, status: int, *words: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    document = response.json()
    assert list(document) == ["error"]
    for word in words:
        assert word in document["error"], document["error"]
