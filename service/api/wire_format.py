"""Wire formats: how a request's body is parsed and its result serialized.

body bytes -> WireFormat.parse -> Payload, options -> inference -> Result -> WireFormat.serialize -> response

There are two: service.api.v1.format (media types) and service.api.v2.tensors (Open Inference Protocol). Everything
between parsing and serializing is the same for both.
"""

from typing import Protocol

from starlette.responses import Response

from service.inference.engine import Pages, Result, Samples
from service.inference.options import Options
from service.inference.payload import Payload


class WireFormat(Protocol):
    """The wire format of one request.

    `options` and `seconds` (the request's own deadline; None: the service's) are final after `parse`.
    """

    options: Options
    seconds: float | None

    def parses_inline(self, body: bytes) -> bool:
        """Whether `parse` is cheaper than a hand-off to a worker thread."""

    def parse(self, body: bytes) -> Payload:
        """Raises the errors of service.errors with a status below 429."""

    def negotiate(self, payload: Payload, work: Samples | Pages) -> None:
        """Choose the response's media type before inference; raises NotAcceptable (406)."""

    def serializes_inline(self, result: Result) -> bool:
        """Whether `serialize` is cheaper than a hand-off to a worker thread."""

    def serialize(self, result: Result) -> Response:
        """The response with status 200."""
