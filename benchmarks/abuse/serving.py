"""The service as its own process, and clients that behave: what every trial starts from.

serving(settings) -> Serving (port, memory, log) -> Client.ask -> Answer
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LOGS = Path("build/abuse")
MIB = 2**20
HOST = "127.0.0.1"


@dataclass
class Serving:
    """A started service."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("\nVmRSS:")[2].split()[0]) * 1024

    @property
    def peak_memory(self) -> int:
        """Resident bytes at most, since the start or since "5" was written to its clear_refs (man 5 proc)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("\nVmHWM:")[2].split()[0]) * 1024

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text(errors="replace")


@contextmanager
def serving(
    settings: Mapping[str, object] | None = None,
    module: str = "service",
    models: Path = Path("models"),
    logs: Path = LOGS,
    address_space: int | None = None,
    open_files: int | None = None,
) -> Iterator[Serving]:
    """`python -m module serve` with these settings (names as in the settings file), ready; stopped afterwards.

    Args:
        address_space, open_files: hard limits, in bytes and in descriptors.
    Raises:
        RuntimeError: it is not ready after 60 seconds, or ended before.
    """
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{port}.log"
    chosen = {"drain": 0, "models": models.resolve(), "port": port, **(settings or {})}
    environment = {**os.environ, **{f"AUTOENCODER_{name.upper()}": str(value) for name, value in chosen.items()}}
    with log.open("wb") as output:
        process = start(module, environment, output, address_space, open_files)
    try:
        running = Serving(port, process, log)
        _wait(running)
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
        if process.poll() is None:
            process.kill()
            process.wait()


def start(
    module: str,
    environment: Mapping[str, str],
    output: IO[bytes],
    address_space: int | None = None,
    open_files: int | None = None,
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", module, "serve"]
    if open_files is not None:
        command = ["sh", "-c", 'ulimit -n "$0" && exec "$@"', str(open_files), *command]
    if address_space is not None:
        command = ["sh", "-c", 'ulimit -v "$0" && exec "$@"', str(address_space // 1024), *command]
    return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


def _wait(running: Serving) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and running.alive:
        with contextlib.suppress(OSError, http.client.HTTPException), Client(running.port) as client:
            if client.ask("GET", "/readyz").status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the service is not ready; its log ends: {running.said()[-500:]}")


@dataclass(frozen=True)
class Answer:
    """`status` 0 stands for a connection that ended without one."""

    status: int
    body: bytes = b""
    seconds: float = 0.0


class Client:
    """One connection, kept open between requests and opened again when it was closed."""

    def __init__(self, port: int, timeout: float = 30) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=timeout)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: bytes | None = None, content_type: str = "", **headers: str) -> Answer:
        """Raises OSError or HTTPException if the connection ends before the answer."""
        if content_type:
            headers["Content-Type"] = content_type
        started = time.perf_counter()
        if self._connection.sock is None:
            self._connection.connect()
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        return Answer(response.status, answer, time.perf_counter() - started)

    def try_to(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "", accept: str = ""
    ) -> Answer:
        """As `ask`; status 0 if the connection ends, or nothing comes in its time."""
        started = time.perf_counter()
        try:
            return self.ask(method, path, body, content_type, **({"Accept": accept} if accept else {}))
        except (OSError, http.client.HTTPException):
            return Answer(0, b"", time.perf_counter() - started)


def quantile(values: list[float], share: float) -> float:
    """`share` 0..1 of the sorted values lie below it; NaN of none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")
