from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service import packages as doubles


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return doubles.write_all(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def client(models: Path) -> Iterator[TestClient]:
    """The service with the doubles, in this process; an exception inside is a 500, as for a real client."""
    settings = Settings(models=models, max_pixels=1_000_000, max_inside_pixels=4_000_000, max_batch=200)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client
