"""File names of any bytes, on the command line and through a service."""

import json
import os
import shutil
from pathlib import Path

import pytest

from benchmarks.abuse import names
from benchmarks.abuse.serving import Client, Serving, serving


@pytest.mark.parametrize("way", ["here", "url"])
def test_nothing_is_lost_whatever_a_file_is_called(served: Serving, models: Path, tmp_path: Path, way: str) -> None:
    target = ["--models", str(models)] if way == "here" else ["--url", f"http://127.0.0.1:{served.port}"]
    outcome = names.try_names(tmp_path / "images", "small", "negative", target)
    assert not outcome.broken, outcome.row()


def test_with_a_url_nothing_is_asked_of_this_machines_models(
    served: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names.write_folder(tmp_path / "images")
    monkeypatch.setenv("AUTOENCODER_MODELS", str(tmp_path / "missing"))
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.chdir(tmp_path)  # no folder models/ here either
    command = ("denoise", "images/[a].png", "-o", "clean.png", "--model", "negative")
    run = names.run_command(*command, "--url", f"http://127.0.0.1:{served.port}")
    assert (run.exit_code, run.stderr) == (0, "")
    assert (tmp_path / "clean.png").read_bytes().startswith(b"\x89PNG")
    run = names.run_command(*command)
    assert run.exit_code == 2
    assert "must be a folder that exists" in run.stderr


def test_a_package_whose_folder_is_no_utf8_is_refused_by_a_printable_name(models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models, tmp_path / "models")
    for name in (b"\xff", b"two\nlines"):
        shutil.copytree(models / "small/1", folder / os.fsdecode(name) / "1")
    with serving(models=folder, logs=tmp_path) as served, Client(served.port) as client:
        answer = client.ask("GET", "/v1/models")
        assert {package["folder"] for package in json.loads(answer.body)["refused"]} == {"\\xff/1", "two\\nlines/1"}
        assert client.ask("POST", "/v2/repository/index", b"{}", "application/json").status == 200
        assert "Traceback" not in served.said()
        assert "Logging error" not in served.said()
    run = names.run_command("models", "verify", "--models", folder)
    assert run.exit_code == 1
    assert "bad  \\xff/1: " in run.stdout
    assert "bad  two\\nlines/1: " in run.stdout
