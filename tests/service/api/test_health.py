"""Health routes."""

import threading
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.model import runtime
from service.settings import Settings
from tests.service.signals import until


def test_without_a_usable_model_the_service_is_alive_but_not_ready(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(models=tmp_path))) as client:
        assert client.get("/livez").status_code == 200
        response = client.get("/readyz")
        assert response.status_code == 503
        assert "models folder is empty" in response.json()["detail"]


def test_a_worker_that_does_not_come_back_makes_the_service_unready(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    app = create_app(Settings(models=models, workers=2), trusted=True)
    monkeypatch.setattr(runtime.Model, "run_graph", lambda *_, **__: gate.wait(20))
    monkeypatch.setattr("service.api.health.OVERDUE_SECONDS", 0.3)
    with TestClient(app) as client:
        admission = app.services.admission
        response = client.post(
            "/v1/models/signal/encode", json={"inputs": [1, 2, 3, 4, 5, 6]}, headers={"Request-Deadline": "0.2"}
        )
        assert response.status_code == 504
        assert admission.requests == 1
        assert client.get("/readyz").status_code == 200
        time.sleep(0.4)
        answer = client.get("/readyz")
        assert answer.status_code == client.get("/v2/health/ready").status_code == 503
        assert "1 of 2 workers are still at work for requests that ended more than 0.3 s ago" in answer.json()["detail"]
        assert client.get("/livez").status_code == 200
        gate.set()
        until(lambda: client.get("/readyz").status_code == 200, 5)
        assert admission.requests == 0
