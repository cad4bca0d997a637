"""API keys: authentication, rates, rotation."""

import hashlib
import logging
import os
import threading
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.api import auth
from service.api.auth import ApiKeys, KeysError
from service.app import create_app
from service.cli.main import main
from service.settings import Settings, SettingsError
from tests.service.http import INFER, lines, post, served


def line(key: str, name: str = "ann", rate: str = "") -> str:
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}{rate}\n"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("# who may ask\n\n" + line("secret") + line("other", "bob", ":2"))
    return path


@pytest.mark.parametrize("path", ["pipe", "/dev/zero", "folder"])
def test_keys_that_are_no_file_are_refused_and_not_waited_for(tmp_path: Path, path: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(KeysError, match=r"cannot be read: (it is a pipe|Is a directory)"):
        ApiKeys(tmp_path / path)


def test_while_the_keys_file_system_does_not_answer_requests_are_answered_with_the_keys_before(
    models: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "CHECK_INTERVAL", 0.0)
    with served(models, keys=keys) as client:
        event = threading.Event()
        monkeypatch.setattr(auth, "_file_version", lambda _: event.wait(60))
        start = time.monotonic()
        for _ in range(20):
            assert post(client, Authorization="Bearer secret").status_code == 200
        assert time.monotonic() - start < 5, "one of them waits a quarter of a second"
        event.set()


def test_operations_want_a_key_and_health_does_not(models: Path, keys: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with served(models, keys=keys, log_requests="on") as client:
        for path in ("/v1/models", "/metrics", "/docs", "/openapi.json", "/nothing"):
            assert client.get(path).status_code == 401, path
        assert client.get("/livez").status_code == client.get("/readyz").status_code == 200
        for path in ("/v2/health/live", "/v2/health/ready"):
            assert client.get(path).status_code == 200, path
        for answer in (client.get("/v2"), client.get("/v2/models/small/ready"), post(client, INFER)):
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert list(answer.json()) == ["error"]
        response = post(client)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert post(client, Authorization="Bearer wrong").status_code == 401
        assert post(client, Authorization="Basic secret").status_code == 401
        assert post(client, Authorization="Bearer secret").status_code == 200
        assert post(client, X_API_Key="secret").status_code == 200
        document = client.get("/openapi.json", headers={"X-API-Key": "secret"}).json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    assert document["paths"]["/livez"]["get"]["security"] == []
    assert document["paths"]["/v2/health/ready"]["get"]["security"] == []
    assert "ProtocolError" in str(document["paths"]["/v2"]["get"]["responses"]["401"])
    assert "401" in document["paths"]["/v1/models"]["get"]["responses"]
    assert "secret" not in caplog.text
    assert "wrong" not in caplog.text
    assert [record["key"] for record in lines(caplog) if record["status"] == 200] == ["ann"] * 3


def test_metrics_and_documentation_can_be_left_open(models: Path, keys: Path) -> None:
    with served(models, keys=keys, metrics_without_key=True, docs_without_key=True) as client:
        for path in ("/metrics", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200, path
        assert client.get("/v1/models").status_code == 401


def metrics_of(client: TestClient, key: str) -> str:
    return str(client.get("/metrics", headers={"X-API-Key": key}).text)


def test_a_key_has_its_own_rate(models: Path, keys: Path) -> None:
    with served(models, keys=keys) as client:
        assert [post(client, X_API_Key="other").status_code for _ in range(3)] == [200, 200, 429]
        response = post(client, X_API_Key="other")
        assert response.headers["retry-after"] == "30"
        assert response.json()["title"] == "Rate limited"
        assert post(client, X_API_Key="secret").status_code == 200
        metrics = metrics_of(client, "secret")
        assert 'autoencoder_refused_total{reason="rate_limited"} 2.0' in metrics


def test_keys_change_without_a_restart_and_a_bad_file_changes_nothing(
    models: Path, keys: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "CHECK_INTERVAL", 0.0)
    with served(models, keys=keys) as client:
        time.sleep(0.01)
        keys.write_text(line("new", "eve"))
        assert post(client, X_API_Key="new").status_code == 200
        assert post(client, X_API_Key="secret").status_code == 401
        keys.write_text("nonsense\n")
        assert [post(client, X_API_Key="new").status_code for _ in range(3)] == [200] * 3
        keys.unlink()
        assert post(client, X_API_Key="new").status_code == 200
    complaints = [r.message for r in caplog.records if r.name == "service.keys" and r.levelno == logging.ERROR]
    assert len(complaints) == 2
    assert "line 1" in complaints[0]
    assert "nonsense" not in complaints[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no key"),
        ("ann:12", "line 1"),
        (line("a") + line("b"), "already"),
        (line("a", rate=":0"), "1 or more"),
        ("#" * (auth.MAX_FILE_BYTES + 1), "larger"),
        (line("a", "a name"), "line 1"),
    ],
)
def test_a_bad_file_of_keys_stops_the_start(models: Path, tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(SettingsError, match=words):
        create_app(Settings(models=models, keys=path))
    with pytest.raises(KeysError, match="cannot be read"):
        ApiKeys(tmp_path / "none")


def test_a_new_key_is_printed_once_with_its_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["key", "ann"]) == 0
    key, line_of_key = (text.split(": ", 1)[1] for text in capsys.readouterr().out.splitlines())
    assert len(key) == 43
    assert line_of_key + "\n" == line(key)
    (tmp_path / "keys").write_text(line_of_key)
    assert auth.read_keys(tmp_path / "keys")[0].name == "ann"
    assert main(["key", "a b"]) == 2
    assert "is no name" in capsys.readouterr().err
