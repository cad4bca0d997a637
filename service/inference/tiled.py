"""Denoising images of any size, tile by tile; depth, alpha and colour stay the picture's own.

picture -> plan_tasks -> group_tasks -> denoise: cut, to_model_input, model, apply_correction, into the output
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from service.imaging import tiling
from service.imaging.picture import Pixels, apply_correction, to_model_input
from service.imaging.tiling import Tile
from service.model.graph import Port
from service.model.runtime import Model


@dataclass(frozen=True, eq=False)
class TileTask:
    """One tile of one picture [H,W,B], and the array [H,W,B] that its result is written into."""

    pixels: Pixels
    output: Pixels
    tile: Tile


def plan_tasks(model: Model, pixels: Pixels, output: Pixels, side: int) -> list[TileTask]:
    """The tasks of one picture: tiles of about `side` pixels if the model's halo is known, else one for all of it."""
    height, width = pixels.shape[:2]
    halo = model.manifest.halo
    if halo is None:
        return [TileTask(pixels, output, tiling.single_tile(height, width, model.strides))]
    halos = tiling.HALOS_OF_BYTES if model.precision == "int8" else tiling.HALOS
    down, right = (tiling.choose_side(side, halo, stride, halos) for stride in model.strides)
    return [TileTask(pixels, output, tile) for tile in tiling.plan(height, width, (down, right), halo, model.strides)]


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
        to_model_input(task.tile.cut(task.pixels), count_channels(model.sample)) for task in group
    ]  # each [n,h,w,C]
    batch = np.concatenate(inputs)
    size = max(1, numbers // math.prod(batch.shape[1:]))  # a large colour tile: its three grey planes one by one
    denoised = np.concatenate(
        [model.denoise(batch[i : i + size], wide=use_all_cores) for i in range(0, len(batch), size)]
    )
    end = 0
    for task, planes in zip(group, inputs, strict=True):
        start, end = end, end + len(planes)
        core, inner = task.tile.core, task.tile.inner
        core(task.output)[...] = apply_correction(
            core(task.pixels), inner(planes), inner(denoised[start:end]), strength
        )


def count_channels(port: Port) -> int:
    """1 or 3, of a port `image` [N,H,W,C]."""
    count = port.shape[3]
    if not isinstance(count, int):
        raise TypeError("This is a bug: verified image ports have 1 or 3 channels")
    return count
