"""Limits of connections: open files, bytes a second."""

import resource
from pathlib import Path

import pytest

from service.cli.main import main
from service.server.connection_limits import OTHER_FILES, ConnectionLimits, allow_files
from service.settings import Settings, SettingsError


def test_as_many_files_may_be_open_as_connections_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    limits_set: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: limits_set.append(limits))
    allow_files(500)
    assert not limits_set  # they fit
    allow_files(1000)
    assert limits_set == [(1000 + OTHER_FILES, 4096)]
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


def test_limits_are_those_of_the_settings(models: Path) -> None:
    settings = Settings(models=models, body_deadline=4, body_rate=100)
    limits = ConnectionLimits.from_settings(settings, frozenset({"/livez"}))
    assert limits.window == 400
    assert limits.max_connections == settings.max_connections
    assert limits.always_answered == {"/livez"}
