"""A package is tried where it can do no harm: in a process of its own, with limits of memory and time.

directory -> Verifier -> helper (imports onnxruntime once) -> fork: read, open, warm up, golden -> passed | why not

The helper starts no thread and opens no session, so its forks begin clean, 10 ms instead of a second after being
asked. A fork that takes too much is refused by the system, one that takes too long is killed, one that crashes takes
nobody along; if the helper itself dies it is started again. Packages are tried on the CPU: what a GPU library
reserves would drown the limit. `python -m service.repository.verifier` is the helper; it speaks lines of JSON.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

from service.model import package
from service.model.manifest import Manifest
from service.sandbox import end, limit, start

GRACE = 30  # seconds beyond a package's own time after which the helper itself is given up
MIB = 2**20


class Unverified(Exception):
    """The package is not to be served; the message is one sentence that says why."""


class Verifier:
    """Tries packages, one at a time; may be called from any thread. Its helper is started when it is needed.

    Args:
        memory: bytes that a package may take beyond what onnxruntime itself has.
        seconds: time that it may take to read, open and answer.
    """

    def __init__(self, memory: int, seconds: float) -> None:
        self._limits = {"memory": memory, "seconds": seconds}
        self._helper: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def verify(self, directory: Path) -> str:
        """models/<name>/<version>/ -> the fingerprint of the manifest that passed; raises Unverified."""
        where = package.folder(directory)
        with self._lock:
            try:
                answer = self._ask({"directory": str(directory.absolute()), **self._limits})
            except (OSError, ValueError) as broken:
                self._close()
                raise Unverified(f"{where} could not be verified: the process that does so died") from broken
        if "refused" in answer:
            raise Unverified(str(answer["refused"]))
        return str(answer["passed"])

    def close(self) -> None:
        """Ends the helper; the next package starts another."""
        with self._lock:
            self._close()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        if self._helper is None or self._helper.poll() is not None:
            self._close()
            self._helper = start("service.repository.verifier")
        helper = self._helper
        if helper.stdin is None or helper.stdout is None:
            raise AssertionError("This is a bug: the helper has pipes")
        helper.stdin.write(json.dumps(question).encode() + b"\n")
        helper.stdin.flush()
        line = _read_line(helper.stdout, self._limits["seconds"] + GRACE)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _close(self) -> None:
        helper, self._helper = self._helper, None
        if helper is not None:
            end(helper)


def fingerprint(manifest: Manifest) -> str:
    """Of all facts, the graphs' digests among them: what passed is what is opened."""
    return package.sha256(manifest.model_dump_json().encode())


def _read_line(pipe: BinaryIO | Any, seconds: float) -> bytes:
    """A line from an unbuffered look at the pipe; raises OSError if it ends or takes longer."""
    data, until = b"", time.monotonic() + seconds
    while not data.endswith(b"\n"):
        ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
        piece = os.read(pipe.fileno(), 65536) if ready else b""
        if not piece:
            raise OSError("no answer")
        data += piece
    return data


# --- in the helper ---------------------------------------------------------------------------------------


def main() -> int:
    """Questions on stdin, answers on stdout, until stdin ends: with the service, however it ends."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints is no answer
    _preload()
    for line in sys.stdin.buffer:
        question = json.loads(line)
        answer = _tried(Path(question["directory"]), question["memory"], question["seconds"])
        answers.write(json.dumps(answer).encode() + b"\n")
    return 0


def _preload() -> None:
    from service.model import (
        runtime,  # noqa: F401
    )


def _tried(directory: Path, memory: int, seconds: float) -> dict[str, str]:
    """In a fork: what it says, or what became of it."""
    where = package.folder(directory)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(directory, memory, seconds, writing)  # does not return
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        try:
            line = _read_line(pipe, seconds)
        except OSError:
            line = b""
        over = not line and not _ended(child)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if line:
        answer: dict[str, str] = json.loads(line)
        return answer
    died = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if over or died == signal.SIGXCPU:
        return {"refused": f"{where} took longer than {seconds:g} s to be read, opened and asked"}
    what = f"was ended by {signal.Signals(died).name}" if died else "ended"
    return {"refused": f"{where} is not usable: the process that tried it {what} (limit of memory {memory // MIB} MiB)"}


def _ended(child: int) -> bool:
    """Whether it has ended by itself (its pipe is closed then, its status may take a moment)."""
    for _ in range(50):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        time.sleep(0.002)
    return False


def _child(directory: Path, memory: int, seconds: float, writing: int) -> None:
    """The fork: limits, then the package as the service would treat it. Ends the process, whatever happens."""
    try:
        limit(memory, int(seconds * (os.cpu_count() or 1)) + 1)  # seconds: a backstop, should the helper be killed
        answer = _verdict(directory)
    except MemoryError:
        answer = _too_much(directory, memory)
    except BaseException as failure:  # noqa: BLE001  (nothing that a package does may go unanswered)
        answer = {"refused": f"{package.folder(directory)} is not usable: {_first_line(failure)}"}
    if "bad_alloc" in answer.get("refused", "") or "allocate memory" in answer.get("refused", ""):
        answer = _too_much(directory, memory)
    with contextlib.suppress(OSError):
        os.write(writing, json.dumps(answer).encode() + b"\n")
    os._exit(0)


def _verdict(directory: Path) -> dict[str, str]:
    from service.errors import ModelFailed
    from service.model import golden
    from service.model.providers import SessionFailed, eight_bit_instructions
    from service.model.runtime import Model, unusable

    where = package.folder(directory)
    try:
        opened = package.read(directory)
        for precision in (
            ("fp32", "int8") if "denoiser-int8" in opened.graphs and eight_bit_instructions() else ("fp32",)
        ):
            runtime = Model(opened, "cpu", precision=precision)
            runtime.warm_up()
            golden.check(opened, runtime)
    except ModelFailed as failure:
        return {"refused": f"{unusable(where, failure)}: {_first_line(failure.__cause__)}"}
    except (package.PackageError, SessionFailed, OSError) as reason:
        return {"refused": unusable(where, reason)}
    return {"passed": fingerprint(opened.manifest)}


def _too_much(directory: Path, memory: int) -> dict[str, str]:
    where = package.folder(directory)
    return {"refused": f"{where} wants more memory than a package may have while it is tried, {memory // MIB} MiB"}


def _first_line(failure: BaseException | None) -> str:
    return (str(failure).splitlines() or [type(failure).__name__])[0][:300]


if __name__ == "__main__":
    sys.exit(main())
