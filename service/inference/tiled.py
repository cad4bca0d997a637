"""Pictures of any size through a denoiser, tile by tile; depth, alpha and colour stay the picture's own.

picture -> pieces -> grouped -> denoise: cut, to_model_input, model, apply_correction, into the output
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
class Piece:
    """One tile of one picture [H,W,B], and the array [H,W,B] that takes it when it is done."""

    pixels: Pixels
    output: Pixels
    tile: Tile


def pieces(model: Model, pixels: Pixels, output: Pixels, side: int) -> list[Piece]:
    """All of a picture: in tiles of about `side` pixels if the model's halo is known, else in one piece."""
    height, width = pixels.shape[:2]
    halo = model.manifest.halo
    if halo is None:
        return [Piece(pixels, output, tiling.single_tile(height, width, model.strides))]
    halos = tiling.HALOS_OF_BYTES if model.precision == "int8" else tiling.HALOS
    down, right = (tiling.choose_side(side, halo, stride, halos) for stride in model.strides)
    return [Piece(pixels, output, tile) for tile in tiling.plan(height, width, (down, right), halo, model.strides)]


def grouped(all_pieces: Sequence[Piece], numbers: int) -> Iterator[list[Piece]]:
    """What is run at once: one piece, or small ones of one shape that follow each other, up to `numbers` numbers."""
    group: list[Piece] = []
    for piece in all_pieces:
        size = math.prod(piece.tile.shape) * piece.pixels.shape[2]
        if group and (piece.tile.shape != group[0].tile.shape or size * (len(group) + 1) > numbers):
            yield group
            group = []
        group.append(piece)
    yield group


def denoise(model: Model, strength: float, numbers: int, group: Sequence[Piece], *, wide: bool = False) -> None:
    """Run pieces of one tile shape, `numbers` numbers at a time, and write their outputs; raises ModelFailed.

    `wide`: all cores in each run (see Model.denoise).
    """
    given = [to_model_input(piece.tile.cut(piece.pixels), channels(model.sample)) for piece in group]  # each [n,h,w,C]
    batch = np.concatenate(given)
    size = max(1, numbers // math.prod(batch.shape[1:]))  # a large colour tile: its three grey pages one by one
    denoised = np.concatenate([model.denoise(batch[i : i + size], wide=wide) for i in range(0, len(batch), size)])
    end = 0
    for piece, planes in zip(group, given, strict=True):
        start, end = end, end + len(planes)
        core, inner = piece.tile.core, piece.tile.inner
        core(piece.output)[...] = apply_correction(
            core(piece.pixels), inner(planes), inner(denoised[start:end]), strength
        )


def channels(port: Port) -> int:
    """1 or 3, of a port `image` [N,H,W,C]."""
    count = port.shape[3]
    if not isinstance(count, int):
        raise TypeError("This is a bug: verified image ports have 1 or 3 channels")
    return count
