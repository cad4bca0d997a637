"""Wire format of /v1: media types, chosen by Content-Type and Accept.

body bytes -> service.api.v1.body -> Payload        Result -> service.api.v1.responses -> response
"""

from dataclasses import dataclass

from starlette.responses import Response

from service.api.v1 import responses
from service.api.v1.body import count_table_numbers, outline_json, parse_body, parsing_cost
from service.codecs.json_documents.large_json import Outline
from service.inference import cost
from service.inference.engine import Result
from service.inference.inputs import Batch, Images
from service.inference.options import Options
from service.inference.payload import Payload
from service.model.manifest import Operation
from service.model.runtime import Model


@dataclass(slots=True)
class V1Format:
    """A service.api.wire_format.WireFormat.

    Args:
        content_type, accept: the request's headers.
        seconds: the header Request-Deadline.
        max_batch: images or files of one request.
    """

    model: Model
    operation: Operation
    content_type: str | None
    accept: str | None
    options: Options
    seconds: float | None
    max_batch: int
    _outline: Outline | None = None
    _payload: Payload | None = None
    _media_type: str = ""

    def parsing_cost(self, body: bytes) -> int:
        return parsing_cost(body, self.content_type)

    def count_numbers(self, body: bytes) -> int:
        self._outline = outline_json(body, self.content_type)
        if self._outline is not None:
            return self._outline.numbers
        return count_table_numbers(body, self.content_type, self.model, self.operation, self.max_batch)

    def parse(self, body: bytes) -> Payload:
        outline, self._outline = self._outline, None  # it holds the body
        return parse_body(body, self.content_type, self.model, self.operation, self.max_batch, outline)

    def negotiate(self, payload: Payload, inputs: Batch | Images) -> None:
        self._payload = payload
        is_heatmap = self.options.explain is not None
        self._media_type = responses.negotiate(
            self.accept, self.model, self.operation, payload, inputs, is_heatmap=is_heatmap
        )

    def serialization_cost(self, result: Result) -> int:
        chosen = 0 if self.options.top is None else result.size * cost.CHOSEN_NUMBER
        return chosen + responses.serialization_cost(result, self._media_type)

    def serialize(self, result: Result) -> Response:
        if self._payload is None:
            raise AssertionError("This is a bug: the response's media type is negotiated before inference")
        if self.options.top is not None:
            result = responses.choose_largest(result, self.model, self.options.top)
        is_scaled = self.operation == "encode" and self.options.latents is not None
        return responses.serialize(
            result, self._media_type, self.model, self.operation, self._payload, is_scaled=is_scaled
        )
