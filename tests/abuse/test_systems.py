"""Edges of systems: descriptors, hard limits, pipes and devices, two processes in one folder."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.abuse import bodies, names, systems
from benchmarks.abuse.crowds import Request

CONTENT_TYPE, DRAWING = bodies.seeds()["npy"]
SMALL = Request("/v1/models/small/encode", DRAWING, CONTENT_TYPE)


def test_with_all_descriptors_used_up_the_service_lives_and_answers_afterwards(models: Path, tmp_path: Path) -> None:
    outcome = systems.exhaust_descriptors(models, SMALL, tmp_path)
    assert not outcome.broken, outcome.row()


def test_commands_under_hard_limits_end_with_a_sentence_and_leave_nothing_half_written(models: Path) -> None:
    outcome = systems.try_limits(models, "small")
    assert not outcome.broken, outcome.row()


def test_two_commands_in_one_folder_leave_whole_files(models: Path) -> None:
    outcome = systems.share_folder(models, "negative")
    assert not outcome.broken, outcome.row()


@pytest.mark.parametrize("variable", ["AUTOENCODER_SETTINGS", "AUTOENCODER_KEYS", "AUTOENCODER_MODELS"])
@pytest.mark.parametrize("target", ["pipe", "/dev/zero"])
def test_a_start_with_a_pipe_or_a_device_ends_at_once_with_a_sentence(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, target: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("AUTOENCODER_MODELS", str(models))
    monkeypatch.setenv("AUTOENCODER_PORT", "0")
    monkeypatch.setenv(variable, target if target.startswith("/") else str(tmp_path / target))
    start = time.monotonic()
    run = names.run_command("serve")
    assert time.monotonic() - start < 30
    assert run.exit_code == 2
    assert run.stderr.count("\n") == 1
    assert "a pipe or a device" in run.stderr or "must be a folder" in run.stderr


@pytest.mark.parametrize("output", ["/proc/latents.npy", "/dev/null/latents.npy"])
def test_a_folder_that_cannot_be_written_is_a_sentence(models: Path, tmp_path: Path, output: str) -> None:
    (tmp_path / "a.png").write_bytes(names.draw_image(10))
    run = names.run_command("encode", tmp_path / "a.png", "-o", output, "--model", "small", "--models", models)
    assert run.exit_code == 2
    assert run.stderr.startswith("autoencoder-service: ")
    assert run.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_standard_output_is_a_sentence(models: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(names.draw_image(10))
    shell = f'exec "{sys.executable}" -m service "$@" > /dev/full'
    command = ["sh", "-c", shell, "sh", "encode", tmp_path / "a.png", "-o", "-", "--model", "small", "--models", models]
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode in (1, 2)
    assert "No space left on device" in run.stderr
    assert "Traceback" not in run.stderr
