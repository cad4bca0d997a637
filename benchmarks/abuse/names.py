"""File names of any bytes: the commands on files lose no result, name each file in one line, and print no traceback.

names -> a folder of images -> encode | reconstruct | denoise, here and through --url -> lists, results, messages
"""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.abuse.report import Outcome

NAMES = (
    b"\xff\xfe.png",  # no UTF-8
    b"caf\xe9.png",  # Latin-1
    b"\xed\xb2\x80.png",  # a surrogate, which no UTF-8 holds
    b"x" * 251 + b".png",  # as long as a name may be
    "ä".encode() * 125 + b".png",
    b"two\nlines\r.png",
    b"-o.png",
    b"--url.png",
    b"=1+1,\"'.png",
    b"\x1b[2J.png",  # clears a terminal
    b"%s{0}$HOME.png",
    b" .png",
    b"[a].png",
)
HIDDEN = (b"._a.png", b".hidden/b.png")  # left out
BAD = b"broken\xff.png"  # no image: reported, and the others go on
SECONDS = 120  # for one command


@dataclass(frozen=True)
class Run:
    """One command: its exit code and what it printed, decoded as UTF-8 without replacing anything."""

    exit_code: int
    stdout: str
    stderr: str


def write_folder(folder: Path) -> int:
    """Write an image of each name, of distinct grey levels, the hidden and the bad ones; returns how many are good."""
    for number, name in enumerate((*NAMES, *HIDDEN)):
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw_image(10 * (number + 1)))
    Path(os.fsdecode(os.fsencode(folder) + b"/" + BAD)).write_bytes(b"no image")
    return len(NAMES)


def draw_image(grey: int) -> bytes:
    """A PNG of 28 x 28 pixels of one grey level."""
    data = io.BytesIO()
    Image.fromarray(np.full((28, 28), grey, np.uint8)).save(data, "PNG")
    return data.getvalue()


def run_command(*arguments: str | Path) -> Run:
    """`python -m service ...` in a process of its own."""
    command = [sys.executable, "-m", "service", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    return Run(result.returncode, result.stdout.decode(), result.stderr.decode())


def try_names(folder: Path, autoencoder: str, denoiser: str, target: Sequence[str]) -> Outcome:
    """Run the commands on a folder of NAMES; results go beside it.

    Args:
        folder: does not exist yet.
        autoencoder, denoiser: names of models.
        target: further arguments: `--models FOLDER`, or `--url URL`.
    """
    started, broken = time.perf_counter(), []
    count = write_folder(folder)
    out = folder.parent / "out"

    def check(what: str, run: Run, found: int) -> None:
        if run.exit_code != 1 or "Traceback" in run.stderr or "broken\\xff.png: " not in run.stderr:
            broken.append(f"{what}: exit code {run.exit_code}, {run.stderr[-300:]!r}")
        if found != count:
            broken.append(f"{what}: {found} of {count} results")

    def run(operation: str, model: str, output: str, *further: str | Path) -> Run:
        return run_command(operation, folder, "-o", out / output, "--model", model, *further, *target)

    encoded = run("encode", autoencoder, "latents.npy")
    rows = (out / "latents.txt").read_text(encoding="utf-8").splitlines()
    check("encode", encoded, len(np.load(out / "latents.npy")))
    check("encode, its list", encoded, len(rows))
    reconstructed = run("reconstruct", autoencoder, "errors.csv", "--images", out / "images")
    check("reconstruct", reconstructed, len((out / "errors.csv").read_text(encoding="utf-8").splitlines()) - 1)
    check("reconstruct --images", reconstructed, _count(out / "images"))
    check(
        "reconstruct --explain", run("reconstruct", autoencoder, "heat/", "--explain", "heatmap"), _count(out / "heat")
    )
    denoised = run("denoise", denoiser, "clean/", "--json")
    check("denoise", denoised, _count(out / "clean"))
    check("denoise --json", denoised, sum("error" not in json.loads(line) for line in denoised.stdout.splitlines()))
    again = run("denoise", denoiser, "clean/", "--json")
    if f"{count} up to date" not in again.stderr:
        broken.append(f"denoise again: {again.stderr[-300:]!r}")
    found = f"{count} names, 4 commands: nothing lost" if not broken else "results are missing"
    return Outcome("file names of any bytes", str(count), found, time.perf_counter() - started, None, broken)


def _count(folder: Path) -> int:
    """Files in a folder; left-over temporary ones count as well."""
    return len(list(folder.iterdir()))
