"""Health routes."""

from pathlib import Path

from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings


def test_without_a_usable_model_the_service_is_alive_but_not_ready(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(models=tmp_path))) as client:
        assert client.get("/livez").status_code == 200
        response = client.get("/readyz")
        assert response.status_code == 503
        assert "models folder is empty" in response.json()["detail"]
