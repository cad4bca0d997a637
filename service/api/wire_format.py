"""How a question is written and its answer is; what happens in between is the same for all (service.app).

bytes -> Dialect.read -> Payload, options ... Result -> Dialect.render -> response

Two exist: Native here, for /v1 (pictures, forms, JSON, .npy); Tensors in service.api.v2.tensors, for /v2.
"""

from dataclasses import dataclass
from typing import Protocol

from starlette.responses import Response

from service.api.v1 import body as requests
from service.api.v1 import responses
from service.inference.engine import Pages, Result, Samples
from service.inference.options import Options
from service.inference.payload import Payload
from service.model.manifest import Operation
from service.model.runtime import Model


class Dialect(Protocol):
    """One request's. `options` and `seconds` (that it may take, None for the service's own) hold after `read`."""

    options: Options
    seconds: float | None

    def short(self, body: bytes) -> bool:
        """Whether `read` takes less than a thread there and back."""

    def read(self, body: bytes) -> Payload:
        """Take the body apart; raises the errors below 429 of service.errors."""

    def agree(self, payload: Payload, work: Samples | Pages) -> None:
        """Settle the answer's form before the work is done; NotAcceptable (406) if there is none."""

    def short_answer(self, result: Result) -> bool:
        """Whether `render` takes less than a thread there and back."""

    def render(self, result: Result) -> Response:
        """The answer's bytes."""


@dataclass(slots=True)
class Native:
    """Media types in, media types out: by Content-Type and Accept."""

    model: Model
    operation: Operation
    content_type: str | None
    accept: str | None
    options: Options
    seconds: float | None
    max_batch: int
    _payload: Payload | None = None
    _media_type: str = ""

    def short(self, body: bytes) -> bool:
        return requests.short(body, self.content_type)

    def read(self, body: bytes) -> Payload:
        return requests.read(body, self.content_type, self.model, self.operation, self.max_batch)

    def agree(self, payload: Payload, work: Samples | Pages) -> None:
        self._payload = payload
        drawn = self.options.explain is not None
        self._media_type = responses.negotiate(self.accept, self.model, self.operation, payload, work, drawn=drawn)

    def short_answer(self, result: Result) -> bool:
        return responses.short(result, self._media_type)

    def render(self, result: Result) -> Response:
        if self._payload is None:
            raise AssertionError("This is a bug: the answer's form is settled before the work is done")
        return responses.render(result, self._media_type, self.model, self.operation, self._payload)
