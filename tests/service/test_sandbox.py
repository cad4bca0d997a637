"""Child processes: what they inherit, and their limits."""

import signal

import pytest

from service.sandbox import spawn, terminate


def test_a_child_inherits_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOENCODER_KEY", "for the service alone")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "for the service alone")
    process = spawn("tests.service.sandbox_child", "environment")
    output, _ = process.communicate(timeout=60)
    assert b"PYTHONPATH" in output
    assert b"for the service alone" not in output


def test_a_child_that_takes_too_much_memory_is_refused_it() -> None:
    process = spawn("tests.service.sandbox_child", "memory")
    output, _ = process.communicate(timeout=60)
    assert output == b"MemoryError\n"


def test_a_child_is_killed_with_its_pipes() -> None:
    process = spawn("tests.service.sandbox_child", "wait")
    terminate(process)
    assert process.returncode == -signal.SIGKILL
    assert process.stdin is not None
    assert process.stdin.closed
