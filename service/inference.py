"""From what was sent to what the model says: pictures decoded, samples stacked, runs scheduled.

Sent -> weigh (headers only) -> decode -> fit -> batch [N,...] -> items -> runs -> Result
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service import codec, images
from service.admission import Permit
from service.errors import InvalidInput, TooLarge
from service.graph import Port
from service.images import Fit
from service.manifest import Operation
from service.model import Array, Model, Reconstruction
from service.requests import Part, Sent
from service.scheduler import Scheduler

ITEM_NUMBERS = 1 << 16  # numbers in one work item: a 28x28 model runs 83 samples at a time, a megapixel page alone


@dataclass(frozen=True)
class Result:
    """What an operation gave for a batch: `output` [N,...]; `error` and `percentile` float64 [N] of reconstruct."""

    output: Array
    error: NDArray[np.float64] | None = None
    percentile: NDArray[np.float64] | None = None


class Inference:
    """Runs requests on models through one scheduler.

    Args:
        scheduler: where pictures are decoded and models run.
        max_pixels: of one picture.
        max_batch: samples of one request.
    """

    def __init__(self, scheduler: Scheduler, max_pixels: int, max_batch: int) -> None:
        self._scheduler = scheduler
        self._max_pixels = max_pixels
        self._max_batch = max_batch

    async def run(self, model: Model, operation: Operation, sent: Sent, fit: Fit | None, permit: Permit) -> Result:
        """Raises the errors of service.errors; the permit then still holds what was weighed."""
        port = model.input_port(operation)
        if fit is not None and (port.name != "image" or isinstance(port.shape[1], str)):
            raise InvalidInput(f"fit is for models of one image size; {model.manifest.name} {operation} takes any")
        await self._weigh(sent, permit)
        batch = await self._batch(model, port, sent, fit)
        model.check(operation, batch)
        size = max(1, ITEM_NUMBERS // math.prod(batch.shape[1:]))
        items = [batch[i : i + size] for i in range(0, len(batch), size)]
        results = await self._scheduler.run(partial(model.run, operation), items)
        return _joined(results)

    async def _weigh(self, sent: Sent, permit: Permit) -> None:
        for part in sent.parts:
            if not isinstance(part.data, bytes):
                permit.weigh(part.data.size)
        for pixels in await self._scheduler.run(self._inspect, sent.pictures):
            permit.weigh(pixels)

    def _inspect(self, part: Part) -> int:
        return images.inspect(_bytes(part), self._max_pixels, part.which)

    async def _batch(self, model: Model, port: Port, sent: Sent, fit: Fit | None) -> Array:
        name = model.manifest.name
        read = partial(_samples, port=port, fit=fit, name=name)
        parts = await self._scheduler.run(read, sent.parts)
        shapes = {part.shape[1:] for part in parts}
        if len(shapes) > 1:
            found = " and ".join(sorted(str(list(shape)) for shape in shapes)[:3])
            raise InvalidInput(f"the samples of one request must have one shape; there are {found}")
        batch = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if len(batch) > self._max_batch:
            raise TooLarge(
                f"the batch holds {len(batch)} samples; the limit is {self._max_batch}", limit=self._max_batch
            )
        return batch


def _samples(part: Part, port: Port, fit: Fit | None, name: str) -> Array:
    """One part -> [n,...] as the port takes it, one sample or more."""
    if port.name != "image":
        numbers = codec.to_float32(_array(part), part.which)
        return numbers[None] if numbers.ndim == len(port.shape) - 1 else numbers
    channels = port.shape[3]
    if not isinstance(channels, int):
        raise TypeError("This is a bug: verified image ports have 1 or 3 channels")
    if isinstance(part.data, bytes):
        pixels = images.decode(part.data, channels, part.which)[None]
    else:
        pixels = _as_images(part.data, channels, part.which)
    height, width = port.shape[1:3]
    if isinstance(height, str) or isinstance(width, str) or pixels.shape[1:3] == (height, width) or not pixels.size:
        return pixels
    if fit is None:
        raise InvalidInput(
            f"{part.which} is {pixels.shape[2]}x{pixels.shape[1]}, {name} takes {width}x{height}; "
            "add ?fit=contain, ?fit=cover or ?fit=stretch to have it resized",
            width=width,
            height=height,
        )
    return np.stack([images.fit(image, height, width, fit) for image in pixels])


def _as_images(array: Array, channels: int, which: str) -> Array:
    """[H,W], [H,W,C], [N,H,W] (grey) or [N,H,W,C] -> uint8 [N,H,W,C]."""
    if array.dtype != np.uint8:
        raise InvalidInput(f"{which} has dtype {array.dtype}; pixels are uint8, 0 to 255")
    if array.ndim == 2 and channels == 1:
        return array[None, :, :, None]
    if array.ndim == 3 and array.shape[2] == channels:
        return array[None]
    if array.ndim == 3 and channels == 1:
        return array[:, :, :, None]
    if array.ndim == 4 and array.shape[3] == channels:
        return array
    takes = "[H,W], [N,H,W] or [N,H,W,1]" if channels == 1 else "[H,W,3] or [N,H,W,3]"
    raise InvalidInput(f"{which} has shape {list(array.shape)}; images are {takes}")


def _joined(results: list[Array | Reconstruction]) -> Result:
    plain = [r for r in results if not isinstance(r, Reconstruction)]
    if plain:
        return Result(np.concatenate(plain))
    made = [r for r in results if isinstance(r, Reconstruction)]
    return Result(
        np.concatenate([r.output for r in made]),
        np.concatenate([r.error for r in made]),
        np.concatenate([r.percentile for r in made]),
    )


def _bytes(part: Part) -> bytes:
    if not isinstance(part.data, bytes):
        raise TypeError("This is a bug: only pictures have headers")
    return part.data


def _array(part: Part) -> Array:
    if isinstance(part.data, bytes):
        raise TypeError("This is a bug: pictures are for image ports")
    return part.data
