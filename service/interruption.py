"""Interruption: work in a thread is told to stop when nobody waits for its result any more.

request ends early -> Interruption.stop -> callbacks of what runs in the thread (libvips, onnxruntime) -> it raises

A Python thread cannot be ended from outside; the libraries that do long work can be asked to. The scheduler runs each
job inside `interruptible`, and the code that calls such a library looks up the thread's Interruption. Where there is
none, that work is not stopped.
"""

import threading
from collections.abc import Callable
from typing import Any


class Interruption:
    """Stops the work of one request. `stop` and `call_on_stop` may be called from any thread.

    `run_options` is for the code that runs graphs: made and registered once, used by all runs in this interruption.
    """

    __slots__ = ("_callbacks", "is_stopped", "run_options")

    def __init__(self) -> None:
        self.is_stopped = False
        self.run_options: Any = None
        self._callbacks: list[Callable[[], None]] = []

    def stop(self) -> None:
        """Call the callbacks of all work that runs. They must not block and must not raise."""
        self.is_stopped = True
        for callback in tuple(self._callbacks):
            callback()

    def register(self, callback: Callable[[], None]) -> None:
        """`stop` calls `callback` from now on; at once if it was called before."""
        self._callbacks.append(callback)
        if self.is_stopped:  # only after the line above: `stop` may be called in between
            callback()

    def unregister(self, callback: Callable[[], None]) -> None:
        self._callbacks.remove(callback)

    def call_on_stop(self, callback: Callable[[], None]) -> "_Registration":
        """`with interruption.call_on_stop(f)`: inside the block `stop` calls f; at once if it was called before."""
        return _Registration(self, callback)


class _Registration:
    """A callback of an Interruption, for the time of a `with` block."""

    __slots__ = ("_callback", "_interruption")

    def __init__(self, interruption: Interruption, callback: Callable[[], None]) -> None:
        self._interruption, self._callback = interruption, callback

    def __enter__(self) -> None:
        self._interruption.register(self._callback)

    def __exit__(self, *_: object) -> None:
        self._interruption.unregister(self._callback)


_thread = threading.local()


def current_interruption() -> Interruption | None:
    """That of the job that this thread runs; None outside of `interruptible`."""
    interruption: Interruption | None = getattr(_thread, "interruption", None)
    return interruption


def check_interruption() -> None:
    """Raises InterruptedError once nobody waits for the work of this thread; for work in slices."""
    interruption = current_interruption()
    if interruption is not None and interruption.is_stopped:
        raise InterruptedError


class interruptible:  # noqa: N801  (used as a function, in a `with` statement)
    """`with interruptible(interruption)`: inside the block it is this thread's `current_interruption()`."""

    __slots__ = ("_interruption",)

    def __init__(self, interruption: Interruption) -> None:
        self._interruption = interruption

    def __enter__(self) -> None:
        _thread.interruption = self._interruption

    def __exit__(self, *_: object) -> None:
        _thread.interruption = None
