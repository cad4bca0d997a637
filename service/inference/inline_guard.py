"""Inline guard: a graph's run on the event loop is stopped if it takes much longer than it ever did.

Batcher: with guard as interruption: run -> a thread looks every POLL_INTERVAL -> longer than LIMIT: interruption.stop

A run is done on the event loop because runs of its size have been cheap. A graph with a loop inside may still take for
ever for one input, and nothing else would be served meanwhile, /livez neither.
"""

import threading
from time import monotonic, sleep

from service.interruption import Interruption, interruptible

LIMIT = 1.0  # seconds; runs on the event loop are expected to take 0.5 ms
POLL_INTERVAL = 0.1  # seconds


class InlineGuard:
    """For the runs of one event loop, one at a time. Its thread starts with the first of them.

    All runs share one Interruption until it is stopped: making one for each takes longer than a small run's checks.
    """

    def __init__(self) -> None:
        self._run_start: float | None = None
        self._interruption = Interruption()
        self._context = interruptible(self._interruption)
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def __enter__(self) -> Interruption:
        if self._thread is None and not self._is_closed:
            self._thread = threading.Thread(target=self._watch, name="inline-guard", daemon=True)
            self._thread.start()
        if self._interruption.is_stopped:
            self._interruption = Interruption()
            self._context = interruptible(self._interruption)
        self._context.__enter__()
        self._run_start = monotonic()
        return self._interruption

    def __exit__(self, *_: object) -> None:
        self._run_start = None
        self._context.__exit__()

    def close(self) -> None:
        """End the thread."""
        self._is_closed = True

    def _watch(self) -> None:
        while not self._is_closed:
            interruption, start = self._interruption, self._run_start
            if start is not None and monotonic() - start > LIMIT:
                interruption.stop()
            sleep(POLL_INTERVAL)
