"""A child process that runs graphs once on an image and prints what memory that took: see memory.py.

side, stride, limit, files -> sessions as the service opens them -> one run -> JSON: bytes, seconds
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model.providers import open_session


def main(arguments: list[str]) -> None:
    cores = len(os.sched_getaffinity(0))
    side, stride, limit = map(int, arguments[:3])
    sessions = [open_session(Path(file).read_bytes(), "cpu", cores, required=False) for file in arguments[3:]]
    port, generator = sessions[0].get_inputs()[0], np.random.default_rng(0)
    free = side if port.name == "image" else side // stride
    shape = (1, *(axis if isinstance(axis, int) else free for axis in port.shape[1:]))
    array: NDArray[Any] = (
        generator.integers(0, 256, shape, np.uint8)
        if port.name == "image"
        else generator.standard_normal(shape, np.float32)
    )
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    bound = pages * resource.getpagesize() + limit
    resource.setrlimit(resource.RLIMIT_AS, (bound, resource.getrlimit(resource.RLIMIT_AS)[1]))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is counted from here
    before, start = _read_status("VmRSS"), time.perf_counter()
    for session in sessions:
        (array,) = session.run(None, {session.get_inputs()[0].name: array})
    document = {"bytes": _read_status("VmHWM") - before, "seconds": time.perf_counter() - start}
    sys.stdout.write(json.dumps(document))


def _read_status(key: str) -> int:
    """Bytes of a line of /proc/self/status."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}")


if __name__ == "__main__":
    main(sys.argv[1:])
