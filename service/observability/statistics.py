"""Statistics of each model since the service started: requests, samples, runs and their time.

app -> `with statistics.time_request(...)`    inference, in any thread -> `record_run`    v2 -> `counts`
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
    """Of one operation of one version of one model. Times are nanoseconds of elapsed time.

    successes, failures: requests, from their headers to their answer; `samples` those of the successes.
    runs: of the graph; one run may serve several requests, one request may need several.
    last_request_ms: when the last request was answered, milliseconds since 1970; 0 for never.
    """

    successes: int = 0
    success_ns: int = 0
    failures: int = 0
    failure_ns: int = 0
    samples: int = 0
    last_request_ms: int = 0
    runs: int = 0
    run_ns: int = 0


class Statistics:
    """Counts of every model that has had a request. Callers cannot add keys: there are as many as packages."""

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[str, int, Operation], Counts] = defaultdict(Counts)  # by name, version
        self._lock = threading.Lock()

    def counts(self, model: Model, operation: Operation) -> Counts:
        return self._counts[model.manifest.name, model.manifest.version, operation]

    def time_request(self, model: Model, operation: Operation) -> "RequestTimer":
        """`with statistics.time_request(model, operation) as timer`: a failure if the block raises; on the loop."""
        return RequestTimer(self.counts(model, operation))

    def record_run(self, model: Model, operation: Operation, nanoseconds: int) -> None:
        """Count a run that took so many nanoseconds; from any thread."""
        with self._lock:
            counts = self.counts(model, operation)
            counts.runs += 1
            counts.run_ns += nanoseconds


class RequestTimer:
    """Context manager that measures one request; set `samples` in the block."""

    __slots__ = ("_counts", "_start", "samples")

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self.samples = 0

    def __enter__(self) -> Self:
        self._start = time.perf_counter_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        counts, elapsed_ns = self._counts, time.perf_counter_ns() - self._start
        if kind is None:
            counts.successes += 1
            counts.success_ns += elapsed_ns
            counts.samples += self.samples
        else:
            counts.failures += 1
            counts.failure_ns += elapsed_ns
        counts.last_request_ms = time.time_ns() // 1_000_000
