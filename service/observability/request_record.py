"""Request record: what metrics, log and traces need to know of one request.

middleware -> scope[RECORD_KEY] -> router (operation), operations (model, stages), error_handlers (reason) -> middleware
"""

from time import perf_counter
from typing import Literal

from starlette.types import Scope

Stage = Literal["receive", "decode", "queue", "run", "encode"]
RECORD_KEY = "request_record"


class RequestRecord:
    """One request. Times are `time.perf_counter` in seconds.

    `operation`: "" for all else, "infer" for /v2's until its model was found. `model`, `version`: "" until a known
    model was named, so that callers cannot invent values. `pixels`: pixels or numbers that were admitted. `key`: the
    name of the API key. `reason`: the problem's title in snake case. `extra_headers`: header lines of an operation's
    response, b"" if it must be sent by ASGI messages.
    """

    # defaults of the class, set when known: a dataclass of these would cost each request a microsecond more
    version = ""
    operation = ""
    model = ""
    status = 0
    reason = ""
    bytes_in = 0
    bytes_out = 0
    request_id = ""
    traceparent = ""
    key = ""
    pixels = 0
    extra_headers = b""

    def __init__(self) -> None:
        self.start_time = self._stage_start = perf_counter()
        self.stages: list[tuple[Stage, float, float]] = []  # stage, start, end

    def start_stage(self) -> None:
        """The next stage begins now, not where the last one ended."""
        self._stage_start = perf_counter()

    def end_stage(self, stage: Stage, end: float | None = None) -> None:
        """Record a stage until `end`, by default now; the next one begins there."""
        if end is None:
            end = perf_counter()
        self.stages.append((stage, self._stage_start, end))
        self._stage_start = end

    @property
    def trace_id(self) -> str:
        """Of the caller's traceparent (W3C Trace Context), "" without one."""
        return self.traceparent[3:35]


def request_record(scope: Scope) -> RequestRecord:
    """The record of the request; where no middleware has begun one, a new record that nobody reads."""
    record = scope.get(RECORD_KEY)
    return record if isinstance(record, RequestRecord) else RequestRecord()
