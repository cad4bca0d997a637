"""The run shape by measurement: which tile, and how many runs side by side, this machine likes best.

models of images of any size -> a page of noise -> tiles of each size, each number of workers -> megapixels a second

Models of one size need no tuning: their samples are their items, and their runs are joined by what arrives.
"""

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from service.imaging.picture import Picture
from service.inference import tiled
from service.inference.engine import Inference, Pages
from service.inference.options import DEFAULT
from service.inference.scheduler import Scheduler
from service.model.runtime import Model

TILES = (256, 384, 512, 768, 1024)
SIDE = 1536  # pixels of the page, along a side: of the largest tile, more than one


@dataclass(frozen=True)
class Shape:
    """A run shape, and the megapixels a second of each model with it."""

    workers: int
    tile: int
    rates: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Geometric mean over models, so that a fast model does not decide alone."""
        return math.exp(sum(math.log(rate) for rate in self.rates) / len(self.rates))


def measured(models: Sequence[Model], cores: int, rounds: int = 3) -> Iterator[Shape]:
    """All shapes, one after another; each the best of `rounds`, since others may use the machine meanwhile.

    Args:
        models: denoisers of images of any size, at least one.
        cores: of this machine, as many as may be used.
    """
    for workers in sorted({1, max(1, cores // 2), cores}):
        for tile in TILES:
            yield Shape(workers, tile, tuple(_rate(model, workers, tile, rounds) for model in models))


def _rate(model: Model, workers: int, tile: int, rounds: int) -> float:
    channels = tiled.channels(model.sample)
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, channels), np.uint8)

    async def go() -> float:
        scheduler = Scheduler(workers)
        inference = Inference(scheduler, pixels.size, 1, tile)
        best = math.inf
        for _ in range(rounds):
            started = time.perf_counter()
            await inference.run(model, "denoise", Pages((Picture(pixels),)), DEFAULT)
            best = min(best, time.perf_counter() - started)
        scheduler.close()
        return SIDE * SIDE / 1e6 / best

    return asyncio.run(go())
