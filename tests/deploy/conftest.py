from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The service without models."""
    empty: Path = tmp_path_factory.mktemp("no-models")
    with TestClient(create_app(Settings(models=empty))) as client:
        yield client
