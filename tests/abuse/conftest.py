from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.abuse.serving import Serving, serving
from tests.service import packages as doubles


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """small (28x28 grey), signal (vectors), negative (any size, RGB), page (any size, grey, in tiles)."""
    folder = doubles.write_all(tmp_path_factory.mktemp("models"))
    doubles.write(
        folder, "page", doubles.convolutional_graphs(1), halo=doubles.CONVOLUTIONAL_HALO, kind="denoising",
        operations=("denoise",), reconstruction_error_quantiles=None,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def served(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """The service as a process of its own, with short deadlines."""
    settings = {
        "headers_deadline": 0.5, "body_deadline": 0.5, "keep_alive": 1, "max_requests": 4, "max_connections": 60,
    }  # fmt: skip
    with serving(settings, models=models, logs=tmp_path_factory.mktemp("logs")) as running:
        yield running
