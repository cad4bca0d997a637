"""The longest step of a call: the most work that is done at a stretch without giving Python's lock away."""

import sys
import time
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

MIB = 2**20


ATTEMPTS = 5


def longest_step(function: Callable[[], Any], limit: float = 0.0) -> float:
    """Seconds of processor time between two events of the interpreter (a call, a return), at most.

    It is that of this thread, so other processes hardly count. One call of a C function is one step.

    Args:
        limit: if it is exceeded the function is called again, at most ATTEMPTS times in all: a busy machine has slow
            moments, and a step that is always long is long every time. The least of the calls is returned.
    """
    least = _measure(function)
    for _ in range(ATTEMPTS - 1 if limit else 0):
        if least < limit:
            break
        least = min(least, _measure(function))
    return least


def _measure(function: Callable[[], Any]) -> float:
    longest = 0.0
    last = time.thread_time()

    def observe(_frame: FrameType, _event: str, _argument: Any) -> None:
        nonlocal longest, last
        now = time.thread_time()
        longest = max(longest, now - last)
        last = now

    sys.setprofile(observe)
    try:
        function()
    finally:
        sys.setprofile(None)
    return longest


def peak_memory(function: Callable[[], Any]) -> int:
    """Bytes that Python and numpy have allocated at once while it runs, beside what there was before."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
