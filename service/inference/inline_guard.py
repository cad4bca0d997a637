"""Inline guard: a graph's run on the event loop is stopped if it takes much longer than it ever did.

Batcher: with guard as interruption: run -> a thread looks every POLL_INTERVAL -> longer than LIMIT: interruption.stop

A run is done on the event loop because runs of its size have been cheap. A graph with a loop inside may still take for
ever for one input, and nothing else would be served meanwhile, /livez neither.
"""

import threading
from time import monotonic, sleep
from types import TracebackType

from service.interruption import Interruption, interruptible

LIMIT = 1.0  # seconds; runs on the event loop are expected to take 0.5 ms
POLL_INTERVAL = 0.1  # seconds


class InlineGuard:
    """For the runs of one event loop, one at a time. Its thread starts with the first of them."""

    def __init__(self) -> None:
        self._run: tuple[float, Interruption] | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def __enter__(self) -> Interruption:
        if self._thread is None and not self._is_closed:
            self._thread = threading.Thread(target=self._watch, name="inline-guard", daemon=True)
            self._thread.start()
        interruption = Interruption()
        self._run = monotonic(), interruption
        self._context = interruptible(interruption)
        self._context.__enter__()
        return interruption

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run = None
        self._context.__exit__(kind, error, trace)

    def close(self) -> None:
        """End the thread."""
        self._is_closed = True

    def _watch(self) -> None:
        while not self._is_closed:
            run = self._run
            if run is not None and monotonic() - run[0] > LIMIT:
                run[1].stop()
            sleep(POLL_INTERVAL)
