"""Child processes with limits: input that is not trusted is handled there, and a failure ends the child alone.

spawn(module) -> `python -m module`, pipes -> set_limits, in the child -> ... -> terminate
"""

import contextlib
import os
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
        start_new_session=True,  # Ctrl-C is for the service
    )


def terminate(process: subprocess.Popen[bytes]) -> None:
    """Kill the child, if it still runs, and close its pipes."""
    process.kill()
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
    """
    import resource

    with contextlib.suppress(OSError):  # no /proc
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
