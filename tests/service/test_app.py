"""The composition root: typed services, built once, closed at the end."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings


def test_services_are_frozen_and_hold_the_settings(models: Path) -> None:
    settings = Settings(models=models)
    services = create_app(settings).services
    assert services.settings is settings
    assert "small" in services.registry.names
    with pytest.raises(FrozenInstanceError):
        services.settings = settings  # type: ignore[misc]


def test_readiness_follows_the_lifecycle(models: Path) -> None:
    app = create_app(Settings(models=models))
    with TestClient(app) as client:
        assert client.get("/readyz").status_code == 200
        app.services.lifecycle.is_stopping = True
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200
