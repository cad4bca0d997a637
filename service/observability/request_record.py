"""What is known of one request for metrics, the log and traces: begun by service.api.middleware, filled in on its way.

middleware -> scope["seen"] -> router (address), app (model, stages), error_handlers (reason) -> middleware reads it
"""

from time import perf_counter
from typing import Literal

from starlette.types import Scope

Stage = Literal["receive", "decode", "queue", "run", "encode"]
KEY = "seen"


class Seen:
    """One request. Times are `time.perf_counter` in seconds.

    `operation`: "" for all else, "infer" for /v2's until its model was found. `model`, `version`: "" until a known
    model was named, so that callers cannot invent values. `pixels`: pixels or numbers that were let in. `key`: its
    name. `reason`: the problem's title in snake case. `more`: lines of headers for an operation's answer, b"" if it
    must be sent by messages.
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
    more = b""

    def __init__(self) -> None:
        self.started = perf_counter()
        self.stages: list[tuple[Stage, float, float]] = []

    @property
    def trace_id(self) -> str:
        """Of the caller's traceparent (W3C Trace Context), "" without one."""
        return self.traceparent[3:35]


def of(scope: Scope) -> Seen:
    """The request's; an unobserved one of its own where nothing stands in front."""
    found = scope.get(KEY)
    return found if isinstance(found, Seen) else Seen()
