"""Free memory: data that would not fit are refused before they are read.

bytes -> less than /proc/meminfo, the control group and `ulimit -v` leave? -> DataError
"""

import contextlib
import sys
from pathlib import Path

from training.errors import DataError

GIB = 2**30
_CONTROL_GROUP = Path("/sys/fs/cgroup")


def check_memory(size: int, label: str) -> None:
    """DataError if `size` bytes are more than `free_memory`; `label` names the data in the sentence."""
    free = free_memory()
    if size > free:
        raise DataError(
            f"{label} needs {size / GIB:.3g} GiB of memory, {free / GIB:.3g} are free; give less data, or more memory"
        )


def free_memory() -> int:
    """Bytes that this process can take: the least of what the machine, the control group and the limit leave."""
    candidates = [sys.maxsize, *_read_machine(), *_read_control_group(), *_read_limit()]
    return max(0, min(candidates))


def _read_machine() -> list[int]:
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        return [int(text.split("MemAvailable:")[1].split()[0]) * 1024]
    return []


def _read_control_group() -> list[int]:
    with contextlib.suppress(OSError, ValueError, IndexError):
        limit = (_CONTROL_GROUP / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            used = int((_CONTROL_GROUP / "memory.current").read_text(encoding="ascii"))
            statistics = (_CONTROL_GROUP / "memory.stat").read_text(encoding="ascii")
            reclaimable = int(statistics.split("inactive_file ")[1].split()[0])  # files that were read
            return [int(limit) - used + reclaimable]
    return []


def _read_limit() -> list[int]:
    """What `ulimit -v` leaves of the address space."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return []
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return [limit - pages * resource.getpagesize()]
    return [limit]
