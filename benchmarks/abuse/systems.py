"""Edges of systems: few descriptors, little address space, small files, two processes in one folder.

a limit by `ulimit` -> the service or a command -> goes on, or ends with one sentence and exit code 2
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.abuse import names
from benchmarks.abuse.crowds import Request
from benchmarks.abuse.report import Outcome
from benchmarks.abuse.serving import HOST, Client, serving

OPEN_FILES = 300
MAX_CONNECTIONS = 40  # the service itself keeps 256 descriptors beside them
CROWD = 400  # connections, more than there are descriptors
SECONDS = 120  # for one command
PLAIN_NAMES = tuple(f"{number}.png" for number in range(40))


def run_limited(limits: str, *arguments: str | Path) -> names.Run:
    """`python -m service ...` after `ulimit LIMITS`, such as "-v 200000"."""
    command = ["sh", "-c", f'ulimit {limits} && exec "$@"', "sh", sys.executable, "-m", "service", *map(str, arguments)]
    # a test run that measures coverage starts it in child processes too, and it cannot write under such limits
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    result = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False, env=environment)
    return names.Run(result.returncode, result.stdout.decode(), result.stderr.decode())


def exhaust_descriptors(models: Path, request: Request, logs: Path) -> Outcome:
    """More connections than descriptors: those beyond wait or are refused, and afterwards all is as before."""
    started, broken = time.perf_counter(), []
    settings = {"max_connections": MAX_CONNECTIONS}
    with serving(settings, models=models, logs=logs, open_files=OPEN_FILES) as served:
        with Client(served.port) as client:
            before = request.by(client)
        with contextlib.ExitStack() as stack:
            for _ in range(CROWD):
                with contextlib.suppress(OSError):
                    stack.enter_context(socket.create_connection((HOST, served.port), timeout=5))
            time.sleep(2)
            is_alive = served.alive
        time.sleep(2)  # asyncio accepts again a second after it was refused a descriptor
        with Client(served.port) as client:
            after = request.by(client)
        if not is_alive or (before.status, after.status) != (200, 200):
            broken.append(f"answered {before.status} before and {after.status} afterwards; alive: {is_alive}")
    found = f"{CROWD} connections at {OPEN_FILES} descriptors: {after.status} afterwards"
    return Outcome("descriptors used up", str(CROWD), found, time.perf_counter() - started, None, broken)


def try_limits(models: Path, autoencoder: str) -> Outcome:
    """Commands under hard limits: a result, or one sentence and exit code 1 or 2; nothing half written."""
    started, broken = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _write_images(folder / "images", PLAIN_NAMES[:3])
        out = folder / "out"
        command = ("encode", folder / "images", "-o", out / "latents.npy", "--model", autoencoder, "--models", models)
        tried = ("-v 150000", "-v 250000", "-v 350000", "-v 500000", "-n 16", "-n 32", "-f 0")
        codes = []
        for limits in tried:
            run = run_limited(limits, *command)
            codes.append(run.exit_code)
            left = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
            is_whole = left == (["latents.npy", "latents.txt"] if run.exit_code == 0 else [])
            if run.exit_code not in (0, 1, 2) or "Traceback" in run.stderr or not is_whole:
                broken.append(f"ulimit {limits}: exit code {run.exit_code}, left {left}, {run.stderr[-300:]!r}")
            for name in left:
                (out / name).unlink()
    found = ", ".join(f"{limits}: {code}" for limits, code in zip(tried, codes, strict=True))
    return Outcome("commands under hard limits", str(len(tried)), found, time.perf_counter() - started, None, broken)


def share_folder(models: Path, denoiser: str, processes: int = 2) -> Outcome:
    """Several commands at once on the same folders: each ends with 0, and every result is whole."""
    started, broken = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _write_images(folder / "images", PLAIN_NAMES)
        command = [
            sys.executable, "-m", "service", "denoise", folder / "images", "-o", folder / "clean/", "--again",
            "--model", denoiser, "--models", models,
        ]  # fmt: skip
        running = [
            subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]
        ended = [(process.communicate(timeout=SECONDS)[1], process.returncode) for process in running]
        if any(code for _, code in ended):
            broken.append(f"ended with {ended}")
        results = sorted(path.name for path in (folder / "clean").iterdir())
        if results != sorted(PLAIN_NAMES) or any(not _is_png(folder / "clean" / name) for name in results):
            broken.append(f"results are {results}")
    found = f"{processes} commands, {len(PLAIN_NAMES)} files: all whole" if not broken else "files are missing"
    return Outcome("two commands in one folder", str(processes), found, time.perf_counter() - started, None, broken)


def _write_images(folder: Path, file_names: Sequence[str]) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate(file_names):
        (folder / name).write_bytes(names.draw_image(5 * number + 5))


def _is_png(path: Path) -> bool:
    data = path.read_bytes()
    return data.startswith(b"\x89PNG") and data.endswith(b"IEND\xaeB`\x82")
