"""A process of our own, beside the service's: what strangers sent is tried there, and takes nobody along.

`python -m <module>` -> pipes; limits that the system holds it to
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

_SECRETS = ("AUTOENCODER_", "OTEL_")  # keys and headers may be among them, and no helper asks for any


def start(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """`python -m module`, with pipes for questions and answers."""
    here = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(p for p in (here, os.environ.get("PYTHONPATH")) if p)
    # numpy's BLAS would start threads, and a process with threads is not to be forked
    ours = {name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)}
    environment = {**ours, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(  # noqa: S603  (ourselves)
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # libraries write there; what matters comes back
        env=environment,
        start_new_session=True,  # Ctrl-C is for the service
    )


def end(helper: subprocess.Popen[bytes]) -> None:
    """Kill it, if it still runs, and let go of its pipes."""
    helper.kill()
    helper.wait()
    for pipe in (helper.stdin, helper.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def limit(memory: int, seconds: int) -> None:
    """For this process: the address space that is there now and `memory` more; processor seconds; no core file."""
    import resource

    with contextlib.suppress(OSError):  # no /proc: no limit of memory
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
