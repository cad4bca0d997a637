"""Preprocessing: a payload decoded and checked, as the model takes it.

Payload -> headers -> pixels reserved -> decode -> Batch [N,...] of the model's own shape | Images of any size
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from service.codecs import arrays, images
from service.codecs.images import Header
from service.errors import InvalidInput, TooLarge
from service.imaging.picture import Picture, with_white
from service.imaging.resize import Fit
from service.inference import cost, tiled
from service.inference.admission import Permit
from service.inference.operations import OPERATIONS
from service.inference.options import DEFAULT, Options
from service.inference.payload import Payload, PayloadPart
from service.inference.scheduler import Scheduler
from service.model.files import image_samples
from service.model.graph import Port
from service.model.manifest import LatentScaling, Operation
from service.model.runtime import Array, Model

_UINT8 = (np.dtype(np.uint8),)
_PICTURE_DTYPES = tuple(map(np.dtype, ("uint8", "uint16", "int16", "uint32", "int32", "float32", "float64")))
REMEDY_OF_FILES = "; a form with Accept: application/x-ndjson is answered file by file"
_HEADER_BYTES = 1 << 12  # of an image file, beside its pixels
_Source = tuple[PayloadPart, Header | None]  # a part, and the header that was read from it if it is an image


@dataclass(frozen=True)
class Batch:
    """Samples [N,...] as the model's port takes them."""

    samples: Array

    @property
    def count(self) -> int:
        return len(self.samples)

    @property
    def is_uniform(self) -> bool:
        return True


@dataclass(frozen=True)
class Images:
    """Pictures of any size, depth and colour, to be denoised as they are."""

    pictures: tuple[Picture, ...]

    @property
    def count(self) -> int:
        return len(self.pictures)

    @property
    def pixels(self) -> int:
        """Of all pictures."""
        return sum([picture.pixels.shape[0] * picture.pixels.shape[1] for picture in self.pictures])

    @property
    def is_uniform(self) -> bool:
        """Whether one array holds them all."""
        return len({(picture.pixels.shape, picture.pixels.dtype) for picture in self.pictures}) == 1


class Preprocessor:
    """Decodes payloads within limits.

    Args:
        scheduler: where images are decoded.
        max_pixels: of one image.
        max_batch: samples of one request.
        max_side: pixels along a side of one image.
    """

    def __init__(self, scheduler: Scheduler, max_pixels: int, max_batch: int, max_side: int = images.MAX_SIDE) -> None:
        self._scheduler = scheduler
        self._max_pixels = max_pixels
        self._max_batch = max_batch
        self._max_side = max_side

    async def prepare(
        self, model: Model, operation: Operation, payload: Payload, options: Options, permit: Permit
    ) -> Batch | Images:
        """The model's input, decoded and checked; its pixels and numbers are reserved in `permit`.

        Raises:
            ServiceError: those of service.errors below 500.
        """
        port = model.input_port(operation)
        if options is not DEFAULT:
            _check_options(model, operation, port, options)
        takes_pages = OPERATIONS[operation].takes_pages(model)
        if not permit.pixels:  # the numbers of large JSON are reserved before they are parsed
            permit.reserve_pixels(sum([data.size for data, _ in payload.parts if not isinstance(data, bytes)]))
        image_parts = payload.images
        headers: list[Header] = []
        if image_parts:
            max_pages = self._max_batch if takes_pages and len(payload.parts) == 1 else 1
            headers = await self._inspect(image_parts, permit, max_pages)
        if takes_pages:
            inputs: Batch | Images = Images(await self._decode_pictures(port, payload, headers, options.white))
        else:
            mode = options.fit or model.manifest.fit
            inputs = Batch(await self._decode_samples(model, port, payload, headers, mode, options.white))
            if operation == "decode" and (options.latents is not None or payload.is_scaled):
                inputs = Batch(_get_scaling(model).unscale(inputs.samples))
            model.check_batch(operation, inputs.samples)
            output_size = model.latent_size if operation == "encode" else model.sample_size
            permit.reserve_pixels_up_to(len(inputs.samples) * output_size)
        if inputs.count > self._max_batch:
            raise TooLarge(
                f"the batch holds {inputs.count} samples; the limit is {self._max_batch}", limit=self._max_batch
            )
        if model.manifest.memory is not None or model.manifest.overlap is not None:
            shapes = (
                [picture.pixels.shape for picture in inputs.pictures]
                if isinstance(inputs, Images)
                else [inputs.samples.shape[1:]] * inputs.count
            )
            counts = [model.count_pixels(operation, shape) for shape in shapes]
            permit.reserve_pixels_up_to(sum(counts))  # a latent becomes a picture
            permit.reserve_memory(tiled.estimate_memory(model, counts, self._scheduler.workers))
        return inputs

    async def _inspect(self, parts: tuple[PayloadPart, ...], permit: Permit, max_pages: int) -> list[Header]:
        def inspect(part: PayloadPart) -> Header:
            return images.inspect(_require_bytes(part), self._max_pixels, part.label, max_pages, self._max_side)

        size = sum([len(part.data) for part in parts])
        headers = await self._scheduler.run(inspect, parts, size * cost.IMAGE_BYTE)
        for header in headers:
            permit.reserve_pixels(header.pixels)
        return headers

    async def _decode_pictures(
        self, port: Port, payload: Payload, headers: list[Header], white: float | None
    ) -> tuple[Picture, ...]:
        decode = partial(_to_pictures, channels=tiled.count_channels(port), white=white)
        groups = await self._scheduler.run(
            decode, _pair_with_headers(payload, headers), _estimate_decoding_cost(payload, headers)
        )
        decoded = tuple(picture for group in groups for picture in group)
        if len(groups) > 1:
            _check_same_shape({picture.pixels.shape[:2] for picture in decoded}, REMEDY_OF_FILES)
        return decoded

    async def _decode_samples(
        self, model: Model, port: Port, payload: Payload, headers: list[Header], mode: Fit | None, white: float | None
    ) -> Array:
        cost_of_decoding = _estimate_decoding_cost(payload, headers)
        if not headers and len(payload.parts) == 1 and cost.is_inline(cost_of_decoding):  # the most frequent case
            return _to_samples((payload.parts[0], None), port, mode, white, model.manifest.name)
        decode = partial(_to_samples, port=port, mode=mode, white=white, model_name=model.manifest.name)
        batches = await self._scheduler.run(decode, _pair_with_headers(payload, headers), cost_of_decoding)
        if len(batches) == 1:
            return batches[0]
        _check_same_shape({batch.shape[1:] for batch in batches})
        return np.concatenate(batches)


def _check_options(model: Model, operation: Operation, port: Port, options: Options) -> None:
    if options.fit is not None and (port.name != "image" or isinstance(port.shape[1], str)):
        raise InvalidInput(f"fit is for models of one image size; {model.manifest.name} {operation} takes any")
    if options.dpi is not None:
        raise InvalidInput("dpi is for PDFs; a picture is taken with the pixels that it has")
    if options.bits is not None and not OPERATIONS[operation].takes_pages(model):
        raise InvalidInput(f"bits is for models that denoise images of any size; {model.manifest.name} has 8")
    tiled.keeps_figures(model, options.figures)
    if options.white is not None and port.name != "image":
        raise InvalidInput(f"white is for pictures; {model.manifest.name} {operation} takes numbers")
    if options.latents is not None:
        _get_scaling(model)
    if options.top is not None and (not model.latent_size or len(model.latent.shape if model.latent else ()) != 2):
        raise InvalidInput(f"top is for latents [N,D]; {model.manifest.name} has others")
    if options.false_alarm_rate is not None:
        model.unusual_threshold(options.false_alarm_rate)  # raises if the model cannot tell so small a rate


def _get_scaling(model: Model) -> LatentScaling:
    scaling = model.manifest.latent_scaling
    if scaling is None:
        raise InvalidInput(
            f"{model.manifest.name} has no factors by which latents are scaled; autoencoders of diffusion models have"
        )
    return scaling


def _estimate_decoding_cost(payload: Payload, headers: list[Header]) -> int:
    """Nanoseconds; bytes count as far as they are more than so many pixels have."""
    if not headers:  # arrays
        return sum([data.size for data, _ in payload.parts if not isinstance(data, bytes)]) * cost.NUMBER
    numbers = size = 0
    for data, _ in payload.parts:
        if isinstance(data, bytes):
            size += len(data)
        else:
            numbers += data.size
    pixels = sum([header.pixels for header in headers])
    surplus = max(0, size - 4 * pixels - _HEADER_BYTES)
    return numbers * cost.NUMBER + pixels * cost.PIXEL + surplus * cost.IMAGE_BYTE


def _pair_with_headers(payload: Payload, headers: list[Header]) -> list[_Source]:
    if not headers:
        return [(part, None) for part in payload.parts]
    remaining = iter(headers)
    return [(part, next(remaining) if isinstance(part.data, bytes) else None) for part in payload.parts]


def _to_pictures(source: _Source, channels: int, white: float | None) -> list[Picture]:
    """One part -> its pictures, with one white; those of an array have the model's channels, or are grey."""
    part, header = source
    if header is not None:
        return images.decode(_require_bytes(part), header, part.label, white)
    array = _require_array(part)
    batch = _as_images(array, 1 if _is_grey(array) else channels, part.label, _PICTURE_DTYPES)
    if batch.size == 0:
        raise InvalidInput(f"the batch is empty (shape {list(batch.shape)}); at least one sample is needed")
    return with_white([Picture(image) for image in batch], part.label, white)


def _is_grey(array: Array) -> bool:
    """Whether an array has the shape [H,W], [H,W,1], [N,H,W] or [N,H,W,1]; a last axis of 2 to 4 is one of colours."""
    return (
        array.ndim == 2 or (array.ndim in (3, 4) and array.shape[-1] == 1) or (array.ndim == 3 and array.shape[2] > 4)
    )


def _to_samples(source: _Source, port: Port, mode: Fit | None, white: float | None, model_name: str) -> Array:
    """One part -> [n,...] as the port takes it, at least one sample."""
    part, header = source
    if port.name != "image":
        numbers = arrays.to_floats(_require_array(part), port.dtype, part.label)
        return numbers[None] if numbers.ndim == len(port.shape) - 1 else numbers
    channels = tiled.count_channels(port)
    if header is not None:
        (picture,) = images.decode(_require_bytes(part), header, part.label, white)
        pixels: Array = image_samples.make_image(picture, channels)[None]
    else:
        if white is not None:
            raise InvalidInput(f"white is for image files; {part.label} is an array, whose pixels are 0 to 255")
        pixels = _as_images(_require_array(part), channels, part.label)
    height, width = port.shape[1:3]
    if isinstance(height, str) or isinstance(width, str) or pixels.shape[1:3] == (height, width) or not pixels.size:
        return pixels
    if mode is None:
        raise InvalidInput(
            f"{part.label} is {pixels.shape[2]}x{pixels.shape[1]}, {model_name} takes {width}x{height}; "
            "add ?fit=contain, ?fit=cover or ?fit=stretch to have it resized",
            width=width,
            height=height,
        )
    return np.stack([image_samples.fit_image(image, height, width, mode) for image in pixels])


def _as_images(array: Array, channels: int, label: str, dtypes: tuple[np.dtype[Any], ...] = _UINT8) -> Array:
    """[H,W], [H,W,C], [N,H,W] (grey) or [N,H,W,C] -> [N,H,W,C], of one of the `dtypes`."""
    if array.dtype not in dtypes:  # its name would take 2 us to make
        allowed = "uint8, 0 to 255" if len(dtypes) == 1 else ", ".join(map(str, dtypes))
        raise InvalidInput(f"{label} has dtype {array.dtype}; pixels are {allowed}")
    if array.ndim == 2 and channels == 1:
        return array[None, :, :, None]
    if array.ndim == 3 and array.shape[2] == channels:
        return array[None]
    if array.ndim == 3 and channels == 1:
        return array[:, :, :, None]
    if array.ndim == 4 and array.shape[3] == channels:
        return array
    shapes = "[H,W], [N,H,W] or [N,H,W,1]" if channels == 1 else "[H,W,3] or [N,H,W,3]"
    raise InvalidInput(f"{label} has shape {list(array.shape)}; images are {shapes}")


def _check_same_shape(shapes: set[tuple[int, ...]], remedy: str = "") -> None:
    if len(shapes) > 1:
        examples = " and ".join(sorted(str(list(shape)) for shape in shapes)[:3])
        raise InvalidInput(f"the samples of one request must have one shape; there are {examples}{remedy}")


def _require_bytes(part: PayloadPart) -> bytes:
    if not isinstance(part.data, bytes):
        raise TypeError("This is a bug: only images have headers")
    return part.data


def _require_array(part: PayloadPart) -> Array:
    if isinstance(part.data, bytes):
        raise TypeError("This is a bug: images are for image ports")
    return part.data
