"""Interruption: work in a thread is told to stop when nobody waits for its result any more.

request ends early -> Interruption.stop -> callbacks of what runs in the thread (libvips, onnxruntime) -> it raises

A Python thread cannot be ended from outside; the libraries that do long work can be asked to. The scheduler runs each
job inside `interruptible`, and the code that calls such a library looks up the thread's Interruption. Where there is
none, that work is not stopped.
"""

import threading
from collections.abc import Callable


class Interruption:
    """Stops the work of one request. `stop` and `call_on_stop` may be called from any thread."""

    __slots__ = ("_callbacks", "is_stopped")

    def __init__(self) -> None:
        self.is_stopped = False
        self._callbacks: list[Callable[[], None]] = []

    def stop(self) -> None:
        """Call the callbacks of all work that runs. They must not block and must not raise."""
        self.is_stopped = True
        for callback in tuple(self._callbacks):
            callback()

    def call_on_stop(self, callback: Callable[[], None]) -> "_Registration":
        """`with interruption.call_on_stop(f)`: inside the block `stop` calls f; at once if it was called before."""
        return _Registration(self, self._callbacks, callback)


class _Registration:
    """A callback of an Interruption. A class, since a generator takes three times as long and every run has one."""

    __slots__ = ("_callback", "_callbacks", "_interruption")

    def __init__(
        self, interruption: Interruption, callbacks: list[Callable[[], None]], callback: Callable[[], None]
    ) -> None:
        self._interruption, self._callbacks, self._callback = interruption, callbacks, callback

    def __enter__(self) -> None:
        self._callbacks.append(self._callback)
        if self._interruption.is_stopped:  # only after the line above: `stop` may be called in between
            self._callback()

    def __exit__(self, *_: object) -> None:
        self._callbacks.remove(self._callback)


_thread = threading.local()


def current_interruption() -> Interruption | None:
    """That of the job that this thread runs; None outside of `interruptible`."""
    interruption: Interruption | None = getattr(_thread, "interruption", None)
    return interruption


class interruptible:  # noqa: N801  (used as a function, in a `with` statement)
    """`with interruptible(interruption)`: inside the block it is this thread's `current_interruption()`."""

    __slots__ = ("_interruption",)

    def __init__(self, interruption: Interruption) -> None:
        self._interruption = interruption

    def __enter__(self) -> None:
        _thread.interruption = self._interruption

    def __exit__(self, *_: object) -> None:
        _thread.interruption = None
