"""Graceful shutdown, as far as it needs no process; the rest is tests/abuse/test_endings.py."""

from pathlib import Path

from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings


def test_who_is_told_to_stop_is_not_ready(models: Path) -> None:
    app = create_app(Settings(models=models))
    with TestClient(app) as client:
        assert client.get("/readyz").status_code == 200
        app.services.lifecycle.is_stopping = True
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert "the service is stopping" in answer.json()["detail"]
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/livez").status_code == client.get("/v2/health/live").status_code == 200
