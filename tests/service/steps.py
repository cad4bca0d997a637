"""The longest step of a call: the most work that is done at a stretch without giving Python's lock away."""

import sys
import time
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

MIB = 2**20


def longest_step(function: Callable[[], Any]) -> float:
    """Seconds of processor time between two events of the interpreter (a call, a return), at most.

    It is that of this thread, so other processes do not count. One call of a C function is one step.
    """
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
