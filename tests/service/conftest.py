from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.repository.verifier import Verifier
from service.settings import Settings
from tests.service import packages as doubles
from tests.service.http import served
from tests.service.signals import MIB, write_signal


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return doubles.write_all(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def client(models: Path) -> Iterator[TestClient]:
    """The service with the doubles, in this process; an exception inside is a 500, as for a real client."""
    settings = Settings(models=models, max_pixels=1_000_000, max_inside_pixels=4_000_000, max_batch=200)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def denoisers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The service with denoisers of any size, small limits and small tiles."""
    folder = doubles.write_denoisers(tmp_path_factory.mktemp("denoisers"))
    settings = Settings(models=folder, max_pixels=100_000, max_inside_pixels=300_000, max_batch=20, tile=64)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def fresh(models: Path) -> Iterator[TestClient]:
    """A service of its own, whose counters start at zero, with a log line for each request."""
    with served(models, log_requests="on") as client:
        yield client


@pytest.fixture(scope="session")
def verifier() -> Iterator[Verifier]:
    verifier = Verifier(512 * MIB, 20)
    yield verifier
    verifier.close()


@pytest.fixture
def signal_models(tmp_path: Path) -> Path:
    """A models folder that holds signal/1."""
    write_signal(tmp_path / "models", 1)
    return tmp_path / "models"
