"""Batches of files on Ray: after any interruption each file is in the records exactly once."""

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

pytest.importorskip("pyarrow", reason="the extra ray is not installed")
import pyarrow.dataset as ds

from service.cli import ray_batch
from service.cli.errors import FilesError
from service.cli.file_options import FileOperation, FileOptions, add_file_arguments
from service.cli.main import main
from service.settings import Settings


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Ten pictures and a file that is none."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(10):
        Pillow.fromarray(np.full((28, 28), 20 * number, np.uint8)).save(folder / f"{number}.png")
    (folder / "broken.png").write_text("no picture")
    return folder


def options(operation: FileOperation, *arguments: str | Path) -> FileOptions:
    """As the command line reads them."""
    parser = argparse.ArgumentParser()
    add_file_arguments(parser, operation)
    parser.set_defaults(operation=operation)
    namespace = parser.parse_args([str(argument) for argument in arguments])
    return replace(FileOptions.from_arguments(namespace), model_version=1)


def records(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ds.dataset([str(p) for p in (out / "records").iterdir()]).to_table().to_pylist()
    return sorted(rows, key=lambda row: str(row["file"]))


def test_each_file_is_in_one_record_with_its_result_or_what_was_wrong(file_models: Path, scans: Path) -> None:
    out = scans.parent / "out"
    command = options("denoise", scans, "-o", out, "--model", "negative", "--chunk", "4")
    assert ray_batch.open_plan(command, out).num_rows == 11
    worker = ray_batch.Worker(command, Settings(models=file_models), out)
    assert [worker({"item": [chunk]}) for chunk in ray_batch.pending_chunks(out)] == [
        {"done": [4], "failed": [0]},
        {"done": [4], "failed": [0]},
        {"done": [2], "failed": [1]},
    ]
    worker.close()
    assert ray_batch.pending_chunks(out) == []
    assert [row["file"] for row in records(out)] == [*(f"{n}.png" for n in range(10)), "broken.png"]
    assert "not a picture" in records(out)[-1]["error"]
    for number, row in enumerate(records(out)[:-1]):
        with Pillow.open(row["output"]) as image:
            assert np.median(np.asarray(image)) == 255 - 20 * number


def test_names_of_any_bytes_are_in_the_records_in_printable_form(file_models: Path, scans: Path) -> None:
    out = scans.parent / "out"
    (scans / os.fsdecode(b"\xff\n.png")).write_bytes((scans / "1.png").read_bytes())
    command = options("denoise", scans, "-o", out, "--model", "negative", "--chunk", "20")
    ray_batch.open_plan(command, out)
    worker = ray_batch.Worker(command, Settings(models=file_models), out)
    assert worker({"item": [0]}) == {"done": [11], "failed": [1]}
    worker.close()
    (row,) = [row for row in records(out) if row["file"] == "\\xff\\n.png"]
    assert row["output"] == f"{out}/\\xff\\n.png"
    assert (out / os.fsdecode(b"\xff\n.png")).exists()


def test_a_chunk_without_a_record_is_all_that_is_done_again(file_models: Path, scans: Path) -> None:
    out = scans.parent / "out"
    command = options("encode", scans, "-o", out, "--model", "small", "--chunk", "4")
    ray_batch.open_plan(command, out)
    worker = ray_batch.Worker(command, Settings(models=file_models), out)
    for chunk in ray_batch.pending_chunks(out):
        worker({"item": [chunk]})
    worker.close()
    latents = {row["file"]: row["latent"] for row in records(out) if row["error"] is None}
    assert len(latents) == 10
    assert all(row["shape"] == [1, 32] for row in records(out)[:-1])
    assert len({tuple(latent) for latent in latents.values()}) == 10
    (out / "records" / "000001.parquet").unlink()
    (out / "records" / ".000001.parquet.0badcafe").write_bytes(b"half")
    assert ray_batch.pending_chunks(out) == [1]


@pytest.mark.parametrize(
    ("operation", "model", "expected"),
    [
        (
            "denoise", "negative",
            '{"operation": "denoise", "chunk": 4, "dpi": null, "inputs": ["scans"], "model": "negative", '
            '"model_version": 1, "strength": 1}',
        ),
        (
            "encode", "small",
            '{"operation": "encode", "chunk": 4, "fit": null, "inputs": ["scans"], "model": "small", '
            '"model_version": 1}',
        ),
    ],
)  # fmt: skip
def test_a_plan_holds_its_command_in_a_form_that_never_changes(
    scans: Path, monkeypatch: pytest.MonkeyPatch, operation: FileOperation, model: str, expected: str
) -> None:
    monkeypatch.chdir(scans.parent)
    plan = ray_batch.open_plan(options(operation, "scans", "-o", "out", "--model", model, "--chunk", "4"), Path("out"))
    assert plan.metadata[b"command"].decode() == expected, "else a command begun before could not be continued"


def test_another_command_does_not_go_on_with_this_ones_plan(file_models: Path, scans: Path) -> None:
    out = scans.parent / "out"
    ray_batch.open_plan(options("encode", scans, "-o", out, "--model", "small"), out)
    with pytest.raises(FilesError, match="holds the results of another command"):
        ray_batch.open_plan(options("encode", scans, "-o", out, "--model", "small", "--fit", "cover"), out)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-", "-o", "out"], "leave out --url and -"),
        (["scans", "-o", "out", "--url", "http://localhost:1"], "leave out --url and -"),
        (["scans", "-o", "out", "--chunk", "0"], "a record holds at least one file"),
        (["@none.txt", "-o", "out", "--model", "small"], "none.txt: No such file"),
        (["@empty.txt", "-o", "out", "--model", "small"], "empty.txt names no files"),
    ],
)
def test_what_cannot_be_begun_is_one_line(
    file_models: Path,
    scans: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    monkeypatch.chdir(scans.parent)
    Path("empty.txt").write_text("\n")
    assert main(["encode", *arguments, "--engine", "ray", "--models", str(file_models)]) == 2
    stderr = capsys.readouterr().err
    assert sentence in stderr
    assert stderr.count("\n") == 1
    assert not Path("out").exists()


def test_without_the_extra_ray_is_named(
    file_models: Path, scans: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["encode", str(scans), "-o", "out", "--engine", "ray", "--models", str(file_models)]) == 2
    assert "pip install 'autoencoder-service[ray]'" in capsys.readouterr().err


def test_a_command_killed_with_9_goes_on_and_no_file_is_twice_in_the_records(file_models: Path, scans: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    listed = scans.parent / "list.txt"
    listed.write_text("".join(f"{scans}/{number % 10}.png\n" for number in range(60)))
    out = scans.parent / "out"
    command = [sys.executable, "-m", "service", "encode", f"@{listed}", "-o", str(out), "--model", "small"]
    command += ["--engine", "ray", "--chunk", "1", "--models", str(file_models)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True) as killed:
        while killed.poll() is None and len(list(out.glob("records/*.parquet"))) < 5:
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert 5 <= len(list(out.glob("records/[0-9]*.parquet"))) < 60
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert process.returncode == 0, process.stderr
    assert "up to date" in process.stderr
    assert len(records(out)) == 60
