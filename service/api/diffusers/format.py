"""Wire format of the remote protocol of diffusers: raw tensors and pictures, described by the query.

decode: tensor bytes -> latents, unscaled -> Payload        Result -> picture | tensor [N,C,H,W] | uint8 [N,H,W,C]
encode: tensor bytes | picture -> Payload                   Result -> latents, scaled -> tensor bytes

`shape` and `dtype` of a tensor that is answered are headers.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.responses import Response

from service.api.diffusers import tensors
from service.api.diffusers.query import Query
from service.api.v1.responses import model_headers
from service.codecs import images
from service.codecs.formats import JPEG, PNG, detect_image_format
from service.errors import InvalidInput, UnsupportedMediaType
from service.imaging.picture import Picture
from service.inference import cost
from service.inference.engine import Result
from service.inference.inputs import Batch, Images
from service.inference.options import DEFAULT, Options
from service.inference.payload import Payload, PayloadPart
from service.model.manifest import Operation
from service.model.runtime import Model
from service.server.raw_response import RawResponse

TENSOR = "tensor/binary"
_MEDIA_TYPES = {"png": PNG, "jpg": JPEG}
_LABEL = "the tensor"


@dataclass(slots=True)
class DiffusersFormat:
    """A service.api.wire_format.WireFormat.

    Args:
        accept: the header; with `tensor/binary` a picture is answered as a tensor of 0..1.
        seconds: the header Request-Deadline.
    """

    model: Model
    operation: Operation
    query: Query
    accept: str | None
    seconds: float | None
    options: Options = DEFAULT

    @property
    def answers_picture(self) -> bool:
        is_decoded = self.operation == "decode" and self.query.output_type == "pil"
        return is_decoded and not (self.accept or "").startswith(TENSOR)

    def parsing_cost(self, body: bytes) -> int:
        return len(body) * cost.NUMBER

    def count_numbers(self, body: bytes) -> int:  # noqa: ARG002  (there is no JSON)
        return 0

    def parse(self, body: bytes) -> Payload:
        query = self.query
        if query.shape is None:
            if not detect_image_format(body):
                raise UnsupportedMediaType(
                    "the body is no picture; send one as a file, or a tensor with shape and dtype",
                    media_types=[PNG, JPEG],
                )
            return Payload((PayloadPart(body, "image"),), "image")
        tensor = tensors.read(body, query.shape, query.dtype)
        if self.operation == "encode":
            return Payload((PayloadPart(tensors.to_pixels(tensor), _LABEL),), "npy")
        latents = self._unpack(tensor)
        if self.answers_picture and latents.ndim == len(self.model.input_port("decode").shape) and len(latents) > 1:
            raise InvalidInput(
                f"{len(latents)} pictures do not fit into one file; use output_type=pt, and partial_postprocess=True "
                "for uint8"
            )
        if query.scaling is not None:
            latents = query.scaling.unscale(latents)
        return Payload((PayloadPart(latents, _LABEL),), "npy")

    def _unpack(self, tensor: Any) -> Any:
        port = self.model.input_port("decode")
        if tensor.ndim != 3 or len(port.shape) != 4:
            return tensor
        if self.query.height is None or self.query.width is None:
            raise InvalidInput("packed latents [N,L,C] need height and width of the picture, in pixels")
        return tensors.unpack(tensor, self.query.height, self.query.width, self.model.strides[0])

    def negotiate(self, payload: Payload, inputs: Batch | Images) -> None:
        """The query has chosen."""

    def serialization_cost(self, result: Result) -> int:
        return result.nbytes * (cost.PIXEL if self.answers_picture else cost.NUMBER)

    def serialize(self, result: Result) -> Response:
        samples, query = np.asarray(result.samples), self.query
        if self.answers_picture:
            media_type = _MEDIA_TYPES[query.image_format]
            return RawResponse(images.encode(Picture(samples[0]), media_type), media_type, model_headers(self.model))
        if self.operation == "encode":
            if query.scaling is not None:
                samples = query.scaling.scale(samples)
        elif query.output_type == "pil":
            samples = tensors.from_pixels(samples, 0)
        elif not query.is_partial:
            samples = tensors.from_pixels(samples, -1)
        dtype = "uint8" if samples.dtype == np.uint8 else query.dtype
        headers = {"shape": json.dumps(samples.shape), "dtype": dtype, **model_headers(self.model)}
        return RawResponse(tensors.write(samples, dtype), TENSOR, headers)
