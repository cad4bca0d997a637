"""From what was sent to what the model says: pictures decoded, work cut into items, runs scheduled.

Payload -> read: weigh (headers only) -> decode -> Samples [N,...] of the model's own shape | Pages of any size
Samples: few -> the lane of model and operation, which joins them with others'; many -> items of some samples
Pages -> items of some tiles          items and lanes -> runs -> Result
"""

import math
from collections.abc import Callable, Collection, Sized
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.codecs import arrays, images
from service.codecs.images import Header
from service.errors import InvalidInput, TooLarge
from service.imaging import heatmap
from service.imaging.picture import Picture, blend, flatten_to_uint8
from service.imaging.resize import Fit, resize
from service.inference import tiled
from service.inference.admission import Permit
from service.inference.options import Options
from service.inference.payload import Payload, PayloadPart
from service.inference.scheduler import Lane, Scheduler
from service.inference.tiled import Piece
from service.model.graph import Port
from service.model.manifest import Operation
from service.model.runtime import Array, Model, Reconstruction
from service.observability.statistics import Statistics

ITEM_NUMBERS = 1 << 16  # numbers in one work item: a 28x28 model runs 83 samples at a time, a tile of a page alone
GPU_ITEM_NUMBERS = 1 << 20  # on a GPU, whose runs are for batches: 1,337 such samples, or 16 tiles of 256x256
SHORT_NUMBERS = 1 << 16  # of arrays: to check and convert them takes less than a thread there and back
SHORT_PIXELS = 1 << 12  # of pictures, and twice as many bytes: so does decoding them

Output = Array | Reconstruction
Given = TypeVar("Given", bound=Sized)
Taken = TypeVar("Taken")


@dataclass(frozen=True)
class Samples:
    """A batch [N,...] as the model's port takes it."""

    batch: Array

    @property
    def count(self) -> int:
        return len(self.batch)

    @property
    def uniform(self) -> bool:
        return True


@dataclass(frozen=True)
class Pages:
    """Pictures of any size, depth and colour, to be denoised as they are."""

    pictures: tuple[Picture, ...]

    @property
    def count(self) -> int:
        return len(self.pictures)

    @property
    def uniform(self) -> bool:
        """Whether one array holds them all."""
        return len({(picture.pixels.shape, picture.pixels.dtype) for picture in self.pictures}) == 1


@dataclass(frozen=True)
class Result:
    """What an operation gave: `samples` [N,...], or one array for each page, of which `pictures` have the notes too;
    `error` and `percentile` float64 [N] of reconstruct, and if asked for `heatmaps` (service.imaging.heatmap) and
    `unusual`, bool [N]; `began` and `ended`: its runs, by time.perf_counter."""

    samples: Array | tuple[Array, ...]
    pictures: tuple[Picture, ...] | None = None
    error: NDArray[np.float64] | None = None
    percentile: NDArray[np.float64] | None = None
    began: float = 0.0
    ended: float = 0.0
    heatmaps: NDArray[np.float32] | None = None
    unusual: NDArray[np.bool_] | None = None


@dataclass(slots=True, eq=False)
class _Run:
    """What a thread hands over beside its results: one run, of `size` samples or tiles, of one request or several."""

    began: float
    ended: float
    size: int
    told: bool = False

    @property
    def nanoseconds(self) -> int:
        return round((self.ended - self.began) * 1e9)


class Inference:
    """Runs requests on models through one scheduler.

    Args:
        scheduler: where pictures are decoded and models run.
        max_pixels: of one picture.
        max_batch: samples of one request.
        tile: pixels along a side of the tiles of images of any size.
        max_side: pixels along a side of one picture.
        ran: told of every run: the model's name, and how many samples or tiles.
        statistics: told of every run, in its thread.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        max_pixels: int,
        max_batch: int,
        tile: int,
        max_side: int = images.MAX_SIDE,
        ran: Callable[[str, int], None] | None = None,
        statistics: Statistics | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._max_pixels = max_pixels
        self._max_batch = max_batch
        self._tile = tile
        self._max_side = max_side
        self._ran = ran
        self._statistics = statistics or Statistics()
        self._lanes: dict[tuple[Model, Operation], Lane[Array, tuple[Output, _Run]]] = {}

    async def read(
        self, model: Model, operation: Operation, payload: Payload, options: Options, permit: Permit
    ) -> Samples | Pages:
        """What was sent, decoded and checked; raises the errors of service.errors. `permit` holds what was weighed."""
        port = model.input_port(operation)
        if options.fit is not None and (port.name != "image" or isinstance(port.shape[1], str)):
            raise InvalidInput(f"fit is for models of one image size; {model.manifest.name} {operation} takes any")
        if options.dpi is not None:
            raise InvalidInput("dpi is for PDFs; a picture is taken with the pixels that it has")
        if options.false_alarm_rate is not None:
            model.unusual_above(options.false_alarm_rate)  # it may be finer than the model can tell
        as_pages = operation == "denoise" and model.any_size
        for part in payload.parts:
            if not isinstance(part.data, bytes):
                permit.weigh(part.data.size)
        images_sent = payload.images
        headers: list[Header] = []
        if images_sent:
            headers = await self._weigh(
                images_sent, permit, self._max_batch if as_pages and len(payload.parts) == 1 else 1
            )
        if as_pages:
            work: Samples | Pages = Pages(await self._pages(port, payload, headers))
        else:
            work = Samples(await self._batch(model, port, payload, headers, options.fit))
            model.check(operation, work.batch)
        if work.count > self._max_batch:
            raise TooLarge(
                f"the batch holds {work.count} samples; the limit is {self._max_batch}", limit=self._max_batch
            )
        return work

    async def run(self, model: Model, operation: Operation, work: Samples | Pages, options: Options) -> Result:
        """Raises ModelFailed."""
        if isinstance(work, Pages):
            return await self._denoise(model, work, options.strength)
        batch = work.batch
        size = max(1, item_numbers(model) // math.prod(batch.shape[1:]))
        if len(batch) <= size and model.one_shape(operation):
            made = [await self._lane(model, operation, size).join(batch, len(batch))]
        else:
            items = np.array_split(batch, -(-len(batch) // size))  # of one size, but for one sample
            count = partial(self._statistics.ran, model, operation)
            made = await self._scheduler.run(partial(_timed, partial(model.run, operation), count), items)
        times = self._tell(model, [run for _, run in made])
        result = _joined(batch, [output for output, _ in made], options.strength, times)
        if options.explain is not None:
            result = replace(result, heatmaps=heatmap.squared_errors(batch, np.asarray(result.samples)))
        if options.false_alarm_rate is not None and result.percentile is not None:
            result = replace(result, unusual=result.percentile > model.unusual_above(options.false_alarm_rate))
        return result

    def _tell(self, model: Model, runs: list[_Run]) -> tuple[float, float]:
        """When the runs of a request began and ended; each is told once, though several requests share it."""
        for run in runs:
            if self._ran is not None and not run.told:
                run.told = True
                self._ran(model.manifest.name, run.size)
        if len(runs) == 1:
            return runs[0].began, runs[0].ended
        return min(run.began for run in runs), max(run.ended for run in runs)

    def _lane(self, model: Model, operation: Operation, size: int) -> Lane[Array, tuple[Output, _Run]]:
        key = model, operation
        if key not in self._lanes:
            joined = partial(_run_joined, model, operation, partial(self._statistics.ran, model, operation))
            self._lanes[key] = Lane(self._scheduler, joined, size, on_loop=model.on_cpu)
        return self._lanes[key]

    def keep(self, models: Collection[Model]) -> None:
        """Let go of lanes of all other models: what waits in them is finished, then their memory is free."""
        self._lanes = {key: lane for key, lane in self._lanes.items() if key[0] in models}

    async def _weigh(self, sent: tuple[PayloadPart, ...], permit: Permit, max_pages: int) -> list[Header]:
        def inspect(part: PayloadPart) -> Header:
            return images.inspect(_bytes(part), self._max_pixels, part.label, max_pages, self._max_side)

        short = sum(len(_bytes(part)) for part in sent) <= 2 * SHORT_PIXELS
        headers = [inspect(part) for part in sent] if short else await self._scheduler.run(inspect, sent)
        for header in headers:
            permit.weigh(header.pixels)
        return headers

    async def _pages(self, port: Port, payload: Payload, headers: list[Header]) -> tuple[Picture, ...]:
        read = partial(_pictures, channels=tiled.channels(port))
        work = _with_headers(payload, headers)
        short = _short(payload, headers)
        parts = [read(one) for one in work] if short else await self._scheduler.run(read, work)
        found = tuple(picture for part in parts for picture in part)
        if len(parts) > 1:
            _check_one_shape({picture.pixels.shape[:2] for picture in found})
        return found

    async def _batch(self, model: Model, port: Port, payload: Payload, headers: list[Header], how: Fit | None) -> Array:
        read = partial(_samples, port=port, how=how, name=model.manifest.name)
        work = _with_headers(payload, headers)
        short = _short(payload, headers)
        parts = [read(one) for one in work] if short else await self._scheduler.run(read, work)
        if len(parts) == 1:
            return parts[0]
        _check_one_shape({part.shape[1:] for part in parts})
        return np.concatenate(parts)

    async def _denoise(self, model: Model, work: Pages, strength: float) -> Result:
        """Tile by tile; nothing of a page's size is made but its answer."""
        outputs = tuple(np.empty_like(picture.pixels) for picture in work.pictures)
        pieces: list[Piece] = []
        for picture, output in zip(work.pictures, outputs, strict=True):
            pieces += tiled.pieces(model, picture.pixels, output, self._tile)
        numbers = item_numbers(model)
        items = list(tiled.grouped(pieces, numbers))
        alone = len(items) == 1 and self._scheduler.idle  # then all cores go into its run
        work_on = partial(tiled.denoise, model, strength, numbers, wide=alone)
        count = partial(self._statistics.ran, model, "denoise")
        made = await self._scheduler.run(partial(_timed, work_on, count), items)
        began, ended = self._tell(model, [run for _, run in made])
        done = zip(outputs, work.pictures, strict=True)
        given = tuple(Picture(output, picture.metadata) for output, picture in done)
        return Result(outputs, given, began=began, ended=ended)


def item_numbers(model: Model) -> int:
    """Numbers in one work item of that model: what one run takes at once."""
    return ITEM_NUMBERS if model.on_cpu else GPU_ITEM_NUMBERS


def _timed(
    function: Callable[[Given], Taken], count: Callable[[int], None], item: Given, size: int | None = None
) -> tuple[Taken, _Run]:
    """`function(item)`, and its run of `size`, by default the item's length; `count` is told its nanoseconds."""
    began = perf_counter()
    result = function(item)
    run = _Run(began, perf_counter(), len(item) if size is None else size)
    count(run.nanoseconds)
    return result, run


def _run_joined(
    model: Model, operation: Operation, count: Callable[[int], None], batches: list[Array]
) -> list[tuple[Output, _Run]]:
    """Batches [n,...] of several callers in one run -> the output of each, and that run; `count` as of `_timed`."""
    outputs, run = _timed(partial(_outputs, model, operation), count, batches, sum(map(len, batches)))
    return [(output, run) for output in outputs]


def _outputs(model: Model, operation: Operation, batches: list[Array]) -> list[Output]:
    if len(batches) == 1:
        return [model.run(operation, batches[0])]
    output = model.run(operation, np.concatenate(batches))
    cuts = np.cumsum([len(batch) for batch in batches])[:-1]
    if not isinstance(output, Reconstruction):
        return list(np.split(output, cuts))
    parts = (np.split(part, cuts) for part in (output.output, output.error, output.percentile))
    return [Reconstruction(*part) for part in zip(*parts, strict=True)]


def _short(payload: Payload, headers: list[Header]) -> bool:
    """Whether decoding it takes less than a thread there and back."""
    numbers = 0
    for data, _ in payload.parts:
        if not isinstance(data, bytes):
            numbers += data.size
    return numbers <= SHORT_NUMBERS and sum([header.pixels for header in headers]) <= SHORT_PIXELS


def _with_headers(payload: Payload, headers: list[Header]) -> list[tuple[PayloadPart, Header | None]]:
    if not headers:
        return [(part, None) for part in payload.parts]
    waiting = iter(headers)
    return [(part, next(waiting) if isinstance(part.data, bytes) else None) for part in payload.parts]


def _pictures(sent: tuple[PayloadPart, Header | None], channels: int) -> list[Picture]:
    """One part -> its pictures as they are; images of an array are of the model's channels."""
    part, header = sent
    if header is not None:
        return images.decode(_bytes(part), header, part.label)
    batch = _as_images(_array(part), channels, part.label)
    if batch.size == 0:
        raise InvalidInput(f"the batch is empty (shape {list(batch.shape)}); at least one sample is needed")
    return [Picture(image) for image in batch]


def _samples(sent: tuple[PayloadPart, Header | None], port: Port, how: Fit | None, name: str) -> Array:
    """One part -> [n,...] as the port takes it, one sample or more."""
    part, header = sent
    if port.name != "image":
        numbers = arrays.to_float32(_array(part), part.label)
        return numbers[None] if numbers.ndim == len(port.shape) - 1 else numbers
    channels = tiled.channels(port)
    if header is not None:
        (picture,) = images.decode(_bytes(part), header, part.label)
        pixels: Array = flatten_to_uint8(picture.pixels, channels)[None]
    else:
        pixels = _as_images(_array(part), channels, part.label)
    height, width = port.shape[1:3]
    if isinstance(height, str) or isinstance(width, str) or pixels.shape[1:3] == (height, width) or not pixels.size:
        return pixels
    if how is None:
        raise InvalidInput(
            f"{part.label} is {pixels.shape[2]}x{pixels.shape[1]}, {name} takes {width}x{height}; "
            "add ?fit=contain, ?fit=cover or ?fit=stretch to have it resized",
            width=width,
            height=height,
        )
    return np.stack([resize(image, height, width, how) for image in pixels])


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


def _check_one_shape(shapes: set[tuple[int, ...]]) -> None:
    if len(shapes) > 1:
        found = " and ".join(sorted(str(list(shape)) for shape in shapes)[:3])
        raise InvalidInput(f"the samples of one request must have one shape; there are {found}")


def _joined(batch: Array, outputs: list[Output], strength: float, times: tuple[float, float]) -> Result:
    began, ended = times
    plain = [output for output in outputs if not isinstance(output, Reconstruction)]
    if plain:
        whole = plain[0] if len(plain) == 1 else np.concatenate(plain)
        return Result(blend(batch, whole, strength), began=began, ended=ended)
    made = [output for output in outputs if isinstance(output, Reconstruction)]
    if len(made) == 1:
        return Result(made[0].output, None, made[0].error, made[0].percentile, began, ended)
    return Result(
        np.concatenate([r.output for r in made]),
        None,
        np.concatenate([r.error for r in made]),
        np.concatenate([r.percentile for r in made]),
        began,
        ended,
    )


def _bytes(part: PayloadPart) -> bytes:
    if not isinstance(part.data, bytes):
        raise TypeError("This is a bug: only pictures have headers")
    return part.data


def _array(part: PayloadPart) -> Array:
    if isinstance(part.data, bytes):
        raise TypeError("This is a bug: pictures are for image ports")
    return part.data
