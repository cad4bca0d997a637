"""Package verifier: a package is tried in a process of its own, with limits of memory and time, before it is served.

directory -> Verifier -> verifier process (imports onnxruntime once) -> fork: read, open, warm up, golden
    -> fingerprint | VerificationFailed

The verifier process (service.repository.verifier_process) starts no thread and opens no session, so its forks begin
clean and take 10 ms instead of a second to start. A fork that takes too much memory is refused it by the system, one
that takes too long is killed, one that crashes ends alone. If the verifier process itself ends, or the system kills a
fork because memory is short, that is not the package's fault: it is tried again, ATTEMPTS times in all.
Packages are tried on the CPU: the memory that a GPU library reserves would exceed every useful limit.
"""

import json
import os
import select
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

from service.model import package
from service.model.manifest import Manifest
from service.sandbox import kill, spawn, terminate

ATTEMPTS = 3
PAUSES = (0.5, 2.0)  # seconds before the second and the third attempt: whatever took the memory may be gone
GRACE = 30  # seconds beyond a package's own time after which the verifier process itself is given up


class VerificationFailed(Exception):
    """The package is not to be served; the message is one sentence with the reason."""


class Verifier:
    """Tries packages, one at a time; may be called from any thread. Its process is started when it is needed.

    Args:
        memory: bytes that a package may take beyond what onnxruntime itself has.
        seconds: time that it may take to read, open and run.
    """

    def __init__(self, memory: int, seconds: float) -> None:
        self._limits = {"memory": memory, "seconds": seconds}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def verify(self, directory: Path) -> str:
        """models/<name>/<version>/ -> the fingerprint of the manifest that passed; raises VerificationFailed."""
        with self._lock:
            answer = self._try_until_answered(directory)
        if "refused" in answer:
            raise VerificationFailed(str(answer["refused"]))
        return str(answer["passed"])

    def close(self) -> None:
        """End the verifier process, and with it a verification in another thread; the next package starts another."""
        self._closing.set()
        process = self._process
        if process is not None:
            kill(process)
        with self._lock:
            self._close()
            self._closing.clear()

    def _try_until_answered(self, directory: Path) -> dict[str, Any]:
        """The answer of the first attempt that was not cut short from outside; of the last one VerificationFailed."""
        folder = package.format_key(directory)
        cause: Exception | None = None
        for attempt in range(ATTEMPTS):
            try:
                answer = self._request({"directory": str(directory.absolute()), **self._limits})
            except (OSError, ValueError) as error:
                self._close()
                reason, cause = f"the verifier process ended ({error})", error
            else:
                if "interrupted" not in answer:
                    return answer
                reason, cause = str(answer["interrupted"]), None
            is_last = attempt == ATTEMPTS - 1
            if is_last or self._closing.wait(PAUSES[attempt]):
                break
        raise VerificationFailed(f"{folder} could not be verified in {attempt + 1} attempts: {reason}") from cause

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._process is None or self._process.poll() is not None:
            self._close()
            self._process = spawn("service.repository.verifier_process")
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise AssertionError("This is a bug: the verifier process has pipes")
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        line = read_line(process.stdout, self._limits["seconds"] + GRACE)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            terminate(process)


def fingerprint(manifest: Manifest) -> str:
    """SHA-256 of all facts, the digests of the graphs among them: what passed is what is opened."""
    return package.sha256(manifest.model_dump_json().encode())


def read_line(pipe: BinaryIO | Any, seconds: float) -> bytes:
    """A line from an unbuffered pipe; raises OSError if the pipe ends or the line takes longer than `seconds`."""
    data, deadline = b"", time.monotonic() + seconds
    poll = select.poll()  # unlike select.select, takes descriptors above 1023, as a service with many connections has
    poll.register(pipe, select.POLLIN)
    while not data.endswith(b"\n"):
        is_readable = bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
        chunk = os.read(pipe.fileno(), 65536) if is_readable else b""
        if not chunk:
            raise OSError("no answer")
        data += chunk
    return data
