"""Wire formats: how a request's body is parsed and its result serialized.

body bytes -> WireFormat.parse -> Payload, options -> inference -> Result -> WireFormat.serialize -> response

There are three: service.api.v1.format (media types), service.api.v2.tensors (Open Inference Protocol) and
service.api.diffusers.format (raw tensors). Everything between parsing and serializing is the same for all.
"""

from typing import Protocol

from starlette.responses import Response

from service.inference.engine import Result
from service.inference.inputs import Batch, Images
from service.inference.options import Options
from service.inference.payload import Payload


class WireFormat(Protocol):
    """The wire format of one request.

    `options` and `seconds` (the request's own deadline; None: the service's) are final after `parse`.
    """

    options: Options
    seconds: float | None

    def parsing_cost(self, body: bytes) -> int:
        """Cost of `parse` (service.inference.cost)."""

    def count_numbers(self, body: bytes) -> int:
        """Numbers of a large JSON body, at most, before any is parsed; 0 for all others. Raises as `parse`."""

    def parse(self, body: bytes) -> Payload:
        """Raises the errors of service.errors with a status below 429."""

    def negotiate(self, payload: Payload, inputs: Batch | Images) -> None:
        """Choose the response's media type before inference; raises NotAcceptable (406)."""

    def serialization_cost(self, result: Result) -> int:
        """Cost of `serialize` (service.inference.cost)."""

    def serialize(self, result: Result) -> Response:
        """The response with status 200."""
