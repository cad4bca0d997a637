"""Requests and their bodies for the HTTP tests: pictures, arrays, addresses, refusals."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from service.app import create_app
from service.observability import logging as logs
from service.observability.tracing import Tracing
from service.settings import Settings

INFER = "/v2/models/none/infer"


ENCODE = "/v1/models/small/encode"


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def post(client: TestClient, url: str = ENCODE, count: int = 1, **headers: str) -> Any:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(
        url,
        content=npy(np.full((count, 28, 28), 100, np.uint8)),
        headers={"Content-Type": "application/x-npy", **names},
    )


@contextmanager
def served(models: Path, tracing: Tracing | None = None, **given: Any) -> Iterator[TestClient]:
    app = create_app(Settings(models=models, **given), tracing)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def metrics(client: TestClient) -> dict[tuple[str, ...], float]:
    """(sample's name, its labels' values in the order of their names) -> value"""
    text = client.get("/metrics").text
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    form = logs.JsonLines()
    return [orjson.loads(form.format(r)) for r in caplog.records if r.name == "service.access"]


IMAGE = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)


NPY = {"Content-Type": "application/x-npy"}


def picture(pixels: np.ndarray = IMAGE, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def url(operation: str, model: str = "small") -> str:
    return f"/v1/models/{model}/{operation}"


def refused(response: Any, status: int, *words: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    for word in words:
        assert word in document["detail"], document["detail"]
    return document


LATENT = (IMAGE.reshape(-1)[:32] / np.float32(255)).astype(np.float32)


DRAWN = np.where(np.arange(784) < 32, IMAGE.reshape(-1), 0).reshape(28, 28).astype(np.uint8)
