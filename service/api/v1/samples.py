"""Wire format of /v1's operation `sample`: no body in, new samples out.

?count=16&seed=1 -> draws from the latent's prior -> Payload        Result -> picture of all | .npy | JSON -> response
"""

import math
import secrets

from starlette.responses import Response

from service.api.v1 import responses
from service.api.v1.negotiation import choose
from service.codecs import arrays, images
from service.codecs.formats import JSON, NPY, WRITABLE_MEDIA_TYPES
from service.codecs.json_documents import json_writer
from service.errors import InvalidInput, NotAcceptable, TooLarge
from service.imaging.contact_sheet import make_contact_sheet
from service.imaging.picture import Picture
from service.inference import cost
from service.inference.engine import Result
from service.inference.inputs import Batch, Images
from service.inference.options import Options
from service.inference.payload import Payload, PayloadPart
from service.model.runtime import Model
from service.server import raw_response

MAX_SHEET_SIDE = 16_383  # pixels: what a WebP can have; of more samples there is no picture
SEEDS = 1_000_000_000  # of which the service chooses one


class SampleFormat:
    """A service.api.wire_format.WireFormat.

    Without Accept pictures are answered as one PNG, in which they lie side by side, and vectors as JSON.

    Args:
        accept: the request's header.
        seconds: the header Request-Deadline.
        max_batch: samples of one request.
    """

    def __init__(self, model: Model, accept: str | None, options: Options, seconds: float | None, max_batch: int):
        self.options, self.seconds = options, seconds
        self._model, self._accept, self._max_batch = model, accept, max_batch
        self._count = 1 if options.count is None else options.count
        self._seed = secrets.randbelow(SEEDS) if options.seed is None else options.seed
        self._payload: Payload | None = None
        self._media_type = ""

    def parsing_cost(self, body: bytes) -> int:  # noqa: ARG002
        return min(self._count, self._max_batch) * self._model.latent_size * cost.NUMBER

    def count_numbers(self, body: bytes) -> int:
        if body.strip():
            raise InvalidInput("sample takes no body; count and seed are parameters: .../sample?count=16&seed=1")
        if self._count > self._max_batch:
            raise TooLarge(f"count is {self._count}; the limit is {self._max_batch}", limit=self._max_batch)
        return self._count * self._model.latent_size

    def parse(self, body: bytes) -> Payload:  # noqa: ARG002
        latents = self._model.draw_latents(self._count, self._seed)
        self._payload = Payload((PayloadPart(latents, "the draws"),), "npy")
        return self._payload

    def negotiate(self, payload: Payload, inputs: Batch | Images) -> None:  # noqa: ARG002
        has_picture = self._model.modality == "image" and self._sheet_side() <= MAX_SHEET_SIDE
        offers = (*(WRITABLE_MEDIA_TYPES if has_picture else ()), JSON, NPY)
        media_type = choose(self._accept, offers)
        if media_type is None:
            raise NotAcceptable(
                f"Accept: {self._accept} cannot be served; sample answers {', '.join(offers)}", offers=list(offers)
            )
        self._media_type = media_type

    def _sheet_side(self) -> int:
        """Pixels along the longer side of the picture of all samples, at most."""
        return math.ceil(math.sqrt(self._count)) * max(int(axis) for axis in self._model.sample.shape[1:3])

    def serialization_cost(self, result: Result) -> int:
        return responses.serialization_cost(result, self._media_type)

    def serialize(self, result: Result) -> Response:
        headers = {**responses.model_headers(self._model), "sample-seed": str(self._seed)}
        samples = responses.to_array(result)
        if self._media_type == NPY:
            body = arrays.write_npy(samples)
        elif self._media_type == JSON:
            if self._payload is None:
                raise AssertionError("This is a bug: a request is parsed before its response is written")
            document = {
                "model": self._model.manifest.name,
                "version": self._model.manifest.version,
                "operation": "sample",
                "seed": self._seed,
                "latents": self._payload.parts[0].data,
                "outputs": samples,
            }
            body = json_writer.write_by_size(document, result.nbytes)
        else:
            body = images.encode(Picture(make_contact_sheet(samples)), self._media_type)
        return raw_response.RawResponse(body, self._media_type, headers)
