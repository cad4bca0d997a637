"""What needs no process: limits on files, what refusals leave behind, what OpenAPI says. The rest is tests/abuse."""

import gc
import resource
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.cli.main import main
from service.errors import ServiceError
from service.server.connection_limits import OTHER_FILES, allow_files
from service.settings import Settings, SettingsError


def test_as_many_files_may_be_open_as_connections_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: set_to.append(limits))
    allow_files(500)
    assert not set_to  # they fit
    allow_files(1000)
    assert set_to == [(1000 + OTHER_FILES, 4096)]
    with pytest.raises(SettingsError, match=r"needs 5256 open files, the system allows 4096 .* to at most 3840"):
        allow_files(5000)


def test_more_connections_than_files_stop_the_start_with_one_line(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    assert main(["serve", "--models", str(models)]) == 2
    error = capsys.readouterr().err
    assert "raise that limit" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("address", ["/v1/models/small/encode", "/v2/models/small.encode/infer"])
def test_a_refused_body_is_not_kept_until_the_collector_comes(client: TestClient, address: str) -> None:
    """It was, where a thread read it: the refusal, its trace, the frames and a future made a circle."""
    body = b'{"inputs": [' + b'"a", ' * 10_000 + b"1]}"
    client.post(address, content=body, headers={"Content-Type": "application/json"})
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            answer = client.post(address, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 422
        # by type: isinstance asks __class__, and torch has objects that warn when they are asked
        kept = [one for one in gc.get_objects() if issubclass(type(one), ServiceError)]
        assert not [error for error in kept if error.__traceback__ is not None]
    finally:
        gc.enable()


def test_refusals_are_documented_as_problem_documents(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    refusals = [
        (address, status, tuple(response["content"]))
        for address, path in document["paths"].items()
        for operation in path.values()
        for status, response in operation["responses"].items()
        if int(status) >= 400 and "Problem" in str(response)
    ]
    assert len(refusals) > 20
    assert {media for _, _, media in refusals} == {("application/problem+json",)}


def test_who_is_told_to_stop_is_not_ready(models: Path) -> None:
    app = create_app(Settings(models=models))
    with TestClient(app) as client:
        assert client.get("/readyz").status_code == 200
        app.state.stopping = True
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert "the service is stopping" in answer.json()["detail"]
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/livez").status_code == client.get("/v2/health/live").status_code == 200
