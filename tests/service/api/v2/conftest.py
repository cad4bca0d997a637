"""A server process, and NVIDIA's client of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service import packages as doubles
from tests.service.api.v2.protocol import triton
from tests.service.server_process import serve


@pytest.fixture(scope="package")
def address(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server process with the doubles, and with one package that is broken."""
    folder = tmp_path_factory.mktemp("served")
    doubles.write_all(folder)
    (folder / "broken" / "1").mkdir(parents=True)
    with serve(folder) as served_address:
        yield served_address


@pytest.fixture(scope="package")
def server(address: str) -> Iterator[Any]:
    with triton.InferenceServerClient(address) as client:
        yield client
