"""Tiles of a model: how it is run on an image of any size, in serving and where an import measures its seams.

height, width -> plan_tiles -> tile.cut -> model -> tile.inner -> tile.core of the output | summed with tile.weights
"""

import numpy as np

from service.imaging import tiling
from service.imaging.tiling import Tile
from service.model.runtime import Array, Model

SIDE = 512  # pixels along a side, unless a setting says otherwise


def plan_tiles(model: Model, height: int, width: int, side: int, workers: int = 1) -> list[Tile]:
    """Tiles of about `side` pixels if the model's halo is known, else one for all of the image; `workers`: see plan."""
    halo = model.manifest.halo
    if halo is None:
        return [tiling.single_tile(height, width, model.strides)]
    halos = tiling.count_halos_of_bytes(halo) if model.precision == "int8" else tiling.HALOS
    down, right = (tiling.choose_side(side, halo, stride, halos) for stride in model.strides)
    return tiling.plan(height, width, (down, right), halo, model.strides, is_blended=is_blended(model), workers=workers)


def is_blended(model: Model) -> bool:
    """Whether its tiles pass into each other gradually."""
    return model.manifest.overlap == "blended"


def denoise_in_tiles(model: Model, image: Array, side: int = SIDE) -> Array:
    """uint8 [H,W,C] -> uint8 [H,W,C], tile by tile in this thread; raises ModelFailed."""
    total = np.zeros(image.shape, np.float32)
    height, width = image.shape[:2]
    for tile in plan_tiles(model, height, width, side):
        output = tile.inner(model.denoise(tile.cut(image)[None]))[0]
        tile.core(total)[...] += output * tile.weights()
    return np.rint(total).astype(image.dtype)
