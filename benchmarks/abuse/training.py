"""Damaged files of training: two runs of one name, damaged checkpoints, absurd headers of data; a sentence each.

a small run of `autoencoder-train` -> its checkpoint and its data are damaged -> the same command: exit code 2, one line
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.abuse.report import Outcome

RECIPE = """name = "small"
kind = "undercomplete"
description = "A small one."
data = {source = "data.npy", licence = "noise"}
architecture = {type = "dense", hidden = [8], latent_dim = 2}
optimization = {epochs = EPOCHS, batch_size = 32, learning_rate = 0.001}
"""
SECONDS = 300  # for one run
DAMAGES = 6  # of a checkpoint, spread over its bytes
HEADERS = {
    "huge": (b"(99999999999, 28, 28)", b"|u1"),
    "product beyond 64 bits": (b"(8589934592, 8589934592)", b"|u1"),
    "negative": (b"(-1, 28, 28)", b"|u1"),
    "objects": (b"(3,)", b"|O"),
    "no width": (b"(1000000000000,)", b"|S0"),
}


def try_damages() -> Outcome:
    """Exit code 2 with one line for each damage; the run that was there before stays."""
    started, broken = time.perf_counter(), []
    count = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        np.save(folder / "data.npy", np.random.default_rng(0).integers(0, 256, (200, 8, 8), np.uint8))
        (folder / "small.toml").write_text(RECIPE.replace("EPOCHS", "2"))
        (folder / "long.toml").write_text(RECIPE.replace("EPOCHS", "100000"))
        checkpoint = folder / "runs" / "small" / "checkpoint.pt"

        def expect(code: int, words: str, *arguments: str) -> None:
            nonlocal count
            count += 1
            done = _train(folder, *arguments)
            lines = [line for line in done.stderr.splitlines() if line.startswith("autoencoder-train: ")]
            is_told = code == 0 or (len(lines) == 1 and words in lines[0])
            if done.returncode != code or not is_told or "Traceback" in done.stderr:
                broken.append(f"{arguments} ({words}): exit code {done.returncode}, {done.stderr[-300:]!r}")

        with subprocess.Popen(
            _command("long.toml"), cwd=folder, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as long:
            while not checkpoint.exists() and long.poll() is None:
                time.sleep(0.02)
            expect(2, f"in use by another run (process {long.pid} ", "small.toml", "--fresh")
            long.kill()
        expect(0, "", "small.toml", "--fresh")
        data = checkpoint.read_bytes()
        for number in range(DAMAGES):
            position = len(data) * number // DAMAGES
            is_cut = number % 2
            flipped = data[:position] + bytes([data[position] ^ 0x20]) + data[position + 1 :]
            checkpoint.write_bytes(data[:position] if is_cut else flipped)
            expect(2, "checkpoint.pt is damaged", "small.toml")
        checkpoint.unlink()
        for name, (shape, dtype) in HEADERS.items():
            header = b"{'descr': '%s', 'fortran_order': False, 'shape': %s}\n" % (dtype, shape)
            prefix = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
            (folder / "absurd.npy").write_bytes(prefix + header + bytes(1000))
            expect(2, "absurd.npy", "small.toml", "--data", "absurd.npy", "--set", f"notes='{name}'")
    found = f"{count} runs: a line each, exit code 2" if not broken else "not all were refused with a line"
    return Outcome("training: locks and damaged files", str(count), found, time.perf_counter() - started, None, broken)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "training", *arguments, "--device", "cpu"]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(p or ".").absolute()) for p in sys.path)}


def _train(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments),
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
