"""Denoising images of any size, tile by tile; depth, alpha and colour stay the picture's own.

picture -> plan_tasks -> group_tasks -> denoise: cut, to_model_input, model, apply_correction, into the output

Of tiles that are blended, the corrections are summed in floats first (WeightedSum).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from service.errors import InvalidInput
from service.imaging.figures import FigureMap, expose
from service.imaging.picture import Picture, Pixels, apply_correction, to_model_input
from service.imaging.tiling import Tile
from service.imaging.value_range import largest_white
from service.inference.options import Figures
from service.model import tiles
from service.model.graph import Port
from service.model.runtime import Model

_BAND_NUMBERS = 1 << 20  # rounded at once
_SUM_BYTES = 4  # of a number of a weighted sum


@dataclass(frozen=True, eq=False)
class TileTask:
    """One tile of one picture [H,W,B], and the array [H,W,B] that its result is written into, or its weighted sum.

    `white` is the value of white in the picture, None the largest; `figures` keeps parts of it as they are;
    with `is_exposed` its gain makes dark paper bright before the model sees it.
    """

    pixels: Pixels
    output: Pixels
    tile: Tile
    white: float | None = None
    weighted_sum: "WeightedSum | None" = None
    figures: FigureMap | None = None
    is_exposed: bool = True

    @property
    def gain(self) -> float:
        """By how much the model's input is multiplied."""
        return self.figures.gain if self.figures is not None and self.is_exposed else 1.0


class WeightedSum:
    """The corrections of `count` blended tiles of `pixels`, applied and written to `output` when the last was added.

    Both are [H,W,B]. A pixel without a correction stays as it is, bit for bit. Tiles may be added from several threads.
    """

    def __init__(self, pixels: Pixels, output: Pixels, count: int) -> None:
        self._pixels, self._output, self._remaining = pixels, output, count
        self._sum = np.zeros(output.shape, np.float32)
        self._lock = Lock()

    def add(self, tile: Tile, result: Pixels) -> None:
        """`result` [h,w,B] of the tile's core."""
        with np.errstate(invalid="ignore"):  # infinity less infinity
            correction = np.subtract(result, tile.core(self._pixels), dtype=np.float64)
        weighted = np.nan_to_num(correction, copy=False) * tile.weights()
        with self._lock:
            tile.core(self._sum)[...] += weighted
            self._remaining -= 1
            if self._remaining:
                return
        rows = max(1, _BAND_NUMBERS // self._sum[0].size)
        for top in range(0, len(self._sum), rows):
            band, correction = self._pixels[top : top + rows], self._sum[top : top + rows]
            self._output[top : top + rows] = band + (correction if band.dtype.kind == "f" else np.rint(correction))


def keeps_figures(model: Model, figures: Figures | None) -> bool:
    """Whether figures stay as they are; raises InvalidInput (422) if the request chooses and the model does not."""
    if model.manifest.keeps_figures:
        return figures != "clean"
    if figures is not None:
        raise InvalidInput(
            f"figures is for models of pages that keep them; {model.manifest.name} {model.manifest.version} "
            "cleans all of a picture"
        )
    return False


def map_figures(model: Model, pictures: Sequence[Picture], figures: Figures | None) -> list[FigureMap | None]:
    """What stays as it is in each picture, and its gain; None: all is cleaned. Raises as `keeps_figures` does."""
    is_kept = keeps_figures(model, figures)
    if not model.manifest.keeps_figures:
        return [None] * len(pictures)
    whites = [picture.white or largest_white(picture.pixels.dtype) for picture in pictures]
    return [
        FigureMap(picture.pixels, white, keeps_figures=is_kept) for picture, white in zip(pictures, whites, strict=True)
    ]


def plan_tasks(
    model: Model,
    picture: Picture,
    output: Pixels,
    side: int,
    figures: FigureMap | None = None,
    *,
    is_exposed: bool = True,
    workers: int = 1,
) -> list[TileTask]:
    """The tasks of one picture: tiles of about `side` pixels if the model's halo is known, else one for all of it.

    `workers`: tasks that run side by side.
    """
    pixels = picture.pixels
    height, width = pixels.shape[:2]
    planned = tiles.plan_tiles(model, height, width, side, workers)
    is_blended = tiles.is_blended(model) and len(planned) > 1
    weighted_sum = WeightedSum(pixels, output, len(planned)) if is_blended else None
    return [TileTask(pixels, output, tile, picture.white, weighted_sum, figures, is_exposed) for tile in planned]


def estimate_memory(model: Model, pixel_counts: Sequence[int], workers: int) -> int:
    """Bytes of working memory for images of so many pixels, of which `workers` run at a time; raises TooLarge."""
    runs = sorted((model.estimate_run_bytes(count) for count in pixel_counts), reverse=True)
    sums = sum(pixel_counts) * 4 * _SUM_BYTES if tiles.is_blended(model) else 0
    return sum(runs[:workers]) + sums


def group_tasks(tasks: Sequence[TileTask], numbers: int) -> Iterator[list[TileTask]]:
    """Work items: one task, or successive small ones of one tile shape, up to `numbers` numbers together."""
    group: list[TileTask] = []
    for task in tasks:
        size = math.prod(task.tile.shape) * task.pixels.shape[2]
        if group and (task.tile.shape != group[0].tile.shape or size * (len(group) + 1) > numbers):
            yield group
            group = []
        group.append(task)
    yield group


def denoise(
    model: Model, strength: float, numbers: int, group: Sequence[TileTask], *, use_all_cores: bool = False
) -> None:
    """Run tasks of one tile shape, `numbers` numbers at a time, and write their outputs; raises ModelFailed.

    `use_all_cores` in each run: see Model.denoise.
    """
    inputs = [
        to_model_input(task.tile.cut(task.pixels), count_channels(model.sample), task.white, model.sample.dtype)
        for task in group
    ]  # each [n,h,w,C]
    batch = np.concatenate([expose(planes, task.gain) for task, planes in zip(group, inputs, strict=True)])
    size = max(1, numbers // math.prod(batch.shape[1:]))  # a large colour tile: its three grey planes one by one
    denoised = np.concatenate(
        [model.denoise(batch[i : i + size], wide=use_all_cores) for i in range(0, len(batch), size)]
    )
    end = 0
    for task, planes in zip(group, inputs, strict=True):
        start, end = end, end + len(planes)
        core, inner = task.tile.core, task.tile.inner
        denoised_core = inner(denoised[start:end])
        result = apply_correction(core(task.pixels), inner(planes), denoised_core, strength, task.white)
        if task.figures is not None:
            y, x = task.tile.y, task.tile.x
            result = task.figures.keep(slice(y.first, y.last), slice(x.first, x.last), result)
        if task.weighted_sum is None:
            core(task.output)[...] = result
        else:
            task.weighted_sum.add(task.tile, result)


def count_channels(port: Port) -> int:
    """1 or 3, of a port `image` [N,H,W,C]."""
    count = port.shape[3]
    if not isinstance(count, int):
        raise TypeError("This is a bug: verified image ports have 1 or 3 channels")
    return count
