"""The command `tune`: measure which tile and which number of parallel runs are fastest on this machine.

models of images of any size -> a page of noise -> each tile, each number of workers -> megapixels per second

Models of one image size need no tuning: each of their samples is one item, and arriving items are batched.
"""

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from service.cli.errors import NothingToTune
from service.imaging.picture import Picture
from service.inference import tiled
from service.inference.engine import Inference
from service.inference.inputs import Images
from service.inference.options import DEFAULT
from service.inference.scheduler import Scheduler
from service.model.providers import count_usable_cores
from service.model.runtime import Model
from service.repository.loader import PackageLoader
from service.repository.store import open_store
from service.settings import Settings, write_file

TILES = (256, 384, 512, 768, 1024)  # pixels along a side
SIDE = 1536  # pixels along a side of the page: more than one of the largest tile


@dataclass(frozen=True)
class RunShape:
    """A run shape, and each model's throughput with it in megapixels per second."""

    workers: int
    tile: int
    rates: tuple[float, ...]

    @property
    def mean_rate(self) -> float:
        """Geometric mean over models, so that a fast model does not decide alone."""
        return math.exp(sum(math.log(rate) for rate in self.rates) / len(self.rates))


def tune(settings: Settings) -> int:
    """Print the throughput of every run shape; write the best one to the settings file. The exit code is 0.

    Raises:
        NothingToTune: no model takes images of any size.
        SettingsError: the settings file cannot be written.
    """
    store = open_store(settings.models)
    loader = PackageLoader(
        store,
        settings.provider,
        required=settings.require_provider,
        precision=settings.precision,
        cores=count_usable_cores(),
    )
    registry = loader.load_all()
    denoisers = [model for model in map(registry.get, registry.names) if model.any_size]
    if not denoisers:
        raise NothingToTune(f"nothing to tune: {settings.models} holds no model of images of any size")
    names = [model.manifest.name for model in denoisers]
    print("megapixels per second\nworkers  tile" + "".join(f"{name:>14}" for name in names))
    shapes = []
    for shape in benchmark(denoisers, count_usable_cores()):
        print(f"{shape.workers:7}{shape.tile:6}" + "".join(f"{rate:14.2f}" for rate in shape.rates), flush=True)
        shapes.append(shape)
    best = max(shapes, key=lambda shape: shape.mean_rate)
    path = write_file({"workers": best.workers, "tile": best.tile})
    print(f"best: workers = {best.workers}, tile = {best.tile}; written to {path}")
    return 0


def benchmark(models: Sequence[Model], cores: int, repeats: int = 3) -> Iterator[RunShape]:
    """Measure all run shapes in turn; a rate is the best of `repeats`, since other programs may use the machine.

    Args:
        models: denoisers of images of any size, at least one.
        cores: number of cores that may be used.
        repeats: measurements of each shape.
    """
    for workers in sorted({1, max(1, cores // 2), cores}):
        for tile in TILES:
            yield RunShape(workers, tile, tuple(_measure_rate(model, workers, tile, repeats) for model in models))


def _measure_rate(model: Model, workers: int, tile: int, repeats: int) -> float:
    channels = tiled.count_channels(model.sample)
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, channels), np.uint8)

    async def measure() -> float:
        scheduler = Scheduler(workers)
        inference = Inference(scheduler, tile)
        best = math.inf
        for _ in range(repeats):
            start = time.perf_counter()
            await inference.run(model, "denoise", Images((Picture(pixels),)), DEFAULT)
            best = min(best, time.perf_counter() - start)
        scheduler.close()
        return SIDE * SIDE / 1e6 / best

    return asyncio.run(measure())
