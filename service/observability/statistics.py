"""What each model has done since the service started: requests, samples, runs and their time.

app -> `with statistics.request(...)`        inference, in any thread -> `ran`        v2 -> `of`
"""

import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from service.model.manifest import Operation
from service.model.runtime import Model


@dataclass(slots=True)
class Counts:
    """Of one operation of one version of one model. Times are nanoseconds, on the wall.

    successes, failures: requests, from their headers to their answer; `samples` those of the successes.
    runs: of the graph; one run may serve several requests, one request may need several. `last`: when the last
    request was answered, milliseconds since 1970; 0 for never.
    """

    successes: int = 0
    success_ns: int = 0
    failures: int = 0
    failure_ns: int = 0
    samples: int = 0
    last: int = 0
    runs: int = 0
    run_ns: int = 0


class Statistics:
    """Counts for every model that was asked; as many as there are packages, whatever is sent."""

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[str, int, Operation], Counts] = defaultdict(Counts)
        self._lock = threading.Lock()

    def of(self, model: Model, operation: Operation) -> Counts:
        return self._counts[model.manifest.name, model.manifest.version, operation]

    def request(self, model: Model, operation: Operation) -> "Request":
        """`with statistics.request(model, operation) as request`: failed if the block raises; on the event loop."""
        return Request(self.of(model, operation))

    def ran(self, model: Model, operation: Operation, nanoseconds: int) -> None:
        """One run is over; from any thread."""
        with self._lock:
            counts = self.of(model, operation)
            counts.runs += 1
            counts.run_ns += nanoseconds


class Request:
    """One request under way; tell it its `samples`."""

    __slots__ = ("_counts", "_started", "samples")

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self.samples = 0

    def __enter__(self) -> Self:
        self._started = time.perf_counter_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        counts, took = self._counts, time.perf_counter_ns() - self._started
        if kind is None:
            counts.successes += 1
            counts.success_ns += took
            counts.samples += self.samples
        else:
            counts.failures += 1
            counts.failure_ns += took
        counts.last = time.time_ns() // 1_000_000
