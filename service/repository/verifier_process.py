"""Verifier process: `python -m service.repository.verifier_process`, the child of service.repository.verifier.

a line of JSON {directory, memory, seconds} -> fork with limits: read, open, warm up, golden
  -> {passed | refused | interrupted}

The process loads onnxruntime, but starts no thread and opens no session: only its forks do.
"""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from service.model import package
from service.repository.verifier import fingerprint, read_line
from service.sandbox import set_limits
from service.settings import MIB


def main() -> int:
    """Requests on stdin, answers on stdout, until stdin ends: with the service, however the service ends."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints is no answer
    _preload()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        answer = _verify_in_fork(Path(request["directory"]), request["memory"], request["seconds"])
        answers.write(json.dumps(answer).encode() + b"\n")
    return 0


def _preload() -> None:
    """Import once, for all forks, what `_verify` needs; not at the top, since stdout is for answers until `main`."""
    from service.model import runtime  # noqa: F401


def _verify_in_fork(directory: Path, memory: int, seconds: float) -> dict[str, str]:
    """The answer of a fork that tries the package, or what became of the fork."""
    folder = package.format_key(directory)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _run_fork(directory, memory, seconds, write_end)  # does not return
    os.close(write_end)
    with os.fdopen(read_end, "rb", buffering=0) as pipe:
        try:
            line = read_line(pipe, seconds)
        except OSError:
            line = b""
        is_over_time = not line and not _has_exited(child)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if line:
        answer: dict[str, str] = json.loads(line)
        return answer
    signal_number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if is_over_time or signal_number == signal.SIGXCPU:
        return {"refused": f"{folder} took longer than {seconds:g} s to be read, opened and run"}
    if signal_number == signal.SIGKILL:
        return {"interrupted": "the process that tried it was killed from outside (SIGKILL), as when memory is short"}
    cause = f"was ended by {signal.Signals(signal_number).name}" if signal_number else "ended"
    sentence = f"{folder} is not usable: the process that tried it {cause} (limit of memory {memory // MIB} MiB)"
    return {"refused": sentence}


def _has_exited(child: int) -> bool:
    """Whether the fork has ended by itself. Its pipe is closed then, its status may take a moment."""
    for _ in range(50):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        time.sleep(0.002)
    return False


def _run_fork(directory: Path, memory: int, seconds: float, write_end: int) -> None:
    """The fork: limits, then the package as the service would treat it. Ends the process, whatever happens."""
    try:
        # processor seconds are a second line, for when the verifier process itself is killed
        set_limits(memory, int(seconds * (os.cpu_count() or 1)) + 1)
        answer = _verify(directory)
    except MemoryError:
        answer = _out_of_memory(directory, memory)
    except BaseException as failure:  # noqa: BLE001  (nothing that a package does may go unanswered)
        answer = {"refused": f"{package.format_key(directory)} is not usable: {_first_line(failure)}"}
    if "bad_alloc" in answer.get("refused", "") or "allocate memory" in answer.get("refused", ""):
        answer = _out_of_memory(directory, memory)
    with contextlib.suppress(OSError):
        os.write(write_end, json.dumps(answer).encode() + b"\n")
    os._exit(0)


def _verify(directory: Path) -> dict[str, str]:
    from service.errors import ModelFailed
    from service.model import golden
    from service.model.errors import PackageError
    from service.model.providers import SessionFailed, has_int8_instructions
    from service.model.runtime import Model, rejection_reason

    folder = package.format_key(directory)
    try:
        content = package.read(directory)
        has_int8 = "denoiser-int8" in content.graphs and has_int8_instructions()
        for precision in ("fp32", "int8") if has_int8 else ("fp32",):
            model = Model(content, "cpu", precision=precision)
            model.warm_up()
            golden.verify(content, model)
    except ModelFailed as failure:
        cause = "" if failure.__cause__ is None else f": {_first_line(failure.__cause__)}"
        return {"refused": rejection_reason(folder, failure) + cause}
    except (PackageError, SessionFailed, OSError) as error:
        return {"refused": rejection_reason(folder, error)}
    return {"passed": fingerprint(content.manifest)}


def _out_of_memory(directory: Path, memory: int) -> dict[str, str]:
    folder = package.format_key(directory)
    return {"refused": f"{folder} needs more memory than a package may have while it is verified, {memory // MIB} MiB"}


def _first_line(failure: BaseException | None) -> str:
    return (str(failure).splitlines() or [type(failure).__name__])[0][:300]


if __name__ == "__main__":
    sys.exit(main())
