"""Child processes with limits: input that is not trusted is handled there, and a failure ends the child alone.

spawn(module) -> `python -m module`, pipes -> set_limits, in the child -> ... -> terminate
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

_SECRETS = ("AUTOENCODER_", "OTEL_")  # prefixes: keys and headers may be among them, and no child needs any


def spawn(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """`python -m module`, with pipes for requests and answers."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    inherited_variables = {name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)}
    # numpy's BLAS would start threads, and a process with threads is not to be forked
    environment = {**inherited_variables, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(  # noqa: S603  (this program itself)
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # libraries write there; what matters comes back
        env=environment,
        start_new_session=True,  # Ctrl-C is for the service; and `kill` ends the session's group
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the child and the processes that it has forked; nothing happens if it has ended."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def terminate(process: subprocess.Popen[bytes]) -> None:
    """Kill the child, if it still runs, with the processes that it has forked, and close its pipes."""
    kill(process)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def set_limits(memory: int, seconds: int) -> None:
    """Limit this process: no core file, and

    Args:
        memory: bytes of address space beyond what it has now; no limit where there is no /proc.
        seconds: processor time.

    Where the process was started with a lower limit (`ulimit -v`), that one stays: a hard limit cannot be raised.
    """
    import resource

    with contextlib.suppress(OSError):  # no /proc
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _lower_limit(resource.RLIMIT_AS, pages * os.sysconf("SC_PAGE_SIZE") + memory)
    _lower_limit(resource.RLIMIT_CPU, seconds)
    _lower_limit(resource.RLIMIT_CORE, 0)


def _lower_limit(kind: int, limit: int) -> None:
    """Set the soft and the hard limit of that kind to `limit`, or to the hard limit if that is lower."""
    import resource

    _, hard_limit = resource.getrlimit(kind)
    if hard_limit != resource.RLIM_INFINITY:
        limit = min(limit, hard_limit)
    resource.setrlimit(kind, (limit, limit))
