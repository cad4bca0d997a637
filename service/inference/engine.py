"""Inference: from a model's input to its result, in runs that the scheduler orders.

Batch:  small -> the batcher of model and operation, which joins it with others; large -> items of some samples
Images -> items of some tiles          items and batchers -> runs -> Result
"""

import math
from collections.abc import Callable, Collection, Sequence, Sized
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.imaging import heatmap
from service.imaging.bit_depth import reduce_bits
from service.imaging.figures import FigureMap
from service.imaging.picture import Picture, blend
from service.inference import cost, tiled
from service.inference.batching import Batcher
from service.inference.inputs import Batch, Images
from service.inference.operations import OPERATIONS
from service.inference.options import Options
from service.inference.progress import Progress
from service.inference.scheduler import Scheduler
from service.inference.tiled import TileTask
from service.model.manifest import Operation
from service.model.measures import sparse
from service.model.runtime import Array, Model, Reconstruction, Verdict
from service.observability.statistics import Statistics

CPU_ITEM_NUMBERS = 1 << 16  # in one work item: a 28x28 model runs 83 samples at a time, a tile of a page alone
GPU_ITEM_NUMBERS = 1 << 20  # on a GPU, whose runs are for batches: 1,337 such samples, or 16 tiles of 256x256

Output = Array | Reconstruction
_Item = TypeVar("_Item", bound=Sized)
_Result = TypeVar("_Result")


@dataclass(slots=True, eq=False)  # frozen, its making would take a microsecond more in each request
class Result:
    """The outputs of an operation.

    Args:
        samples: [N,...], or for Images one array [H,W,B] for each.
        pictures: for Images: `samples` with the metadata that came with them.
        error, percentile: float64 [N], of reconstruct.
        run_start, run_end: of its runs, by time.perf_counter.
        explained_variance: float64 [N], of reconstruct by a sparse model of vectors (service.model.measures.sparse).
        largest: (indices, values) [N,k] in place of the samples, if a top was given.
        heatmaps: if they were asked for (service.imaging.heatmap).
        verdict: if a false alarm rate was given.
    """

    samples: Array | tuple[Array, ...]
    pictures: tuple[Picture, ...] | None = None
    error: NDArray[np.float64] | None = None
    percentile: NDArray[np.float64] | None = None
    run_start: float = 0.0
    run_end: float = 0.0
    heatmaps: NDArray[np.float32] | None = None
    explained_variance: NDArray[np.float64] | None = None
    largest: tuple[NDArray[np.int64], Array] | None = None
    verdict: Verdict | None = None

    @property
    def size(self) -> int:
        """Numbers of the samples."""
        samples = self.samples
        return sum([sample.size for sample in samples]) if isinstance(samples, tuple) else samples.size

    @property
    def nbytes(self) -> int:
        """Bytes of the samples."""
        samples = self.samples
        return sum([sample.nbytes for sample in samples]) if isinstance(samples, tuple) else samples.nbytes


@dataclass(slots=True, eq=False)
class _Run:
    """One run of a graph: `size` samples or tiles, of one request or several. Times by time.perf_counter."""

    start: float
    end: float
    size: int
    is_recorded: bool = False

    @property
    def nanoseconds(self) -> int:
        return round((self.end - self.start) * 1e9)


class Inference:
    """Runs requests on models through one scheduler.

    Args:
        scheduler: where models run.
        tile: pixels along a side of the tiles of images of any size.
        on_run: called on the event loop once for every run: the model's name, and how many samples or tiles.
        statistics: records every run, in its thread.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        tile: int,
        on_run: Callable[[str, int], None] | None = None,
        statistics: Statistics | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._tile = tile
        self._on_run = on_run
        self._statistics = statistics or Statistics()
        self._batchers: dict[tuple[Model, Operation], Batcher[Array, tuple[Output, _Run]]] = {}

    async def run(
        self,
        model: Model,
        operation: Operation,
        inputs: Batch | Images,
        options: Options,
        progress: Progress | None = None,
    ) -> Result:
        """The operation's result; raises ModelFailed. `progress` advances while images are denoised tile by tile."""
        if isinstance(inputs, Images):
            if options.strength > 1:
                denoised = await self._denoise_twice(model, inputs, options, progress)
            else:
                maps = tiled.map_figures(model, inputs.pictures, options.figures)
                denoised = await self._denoise(model, inputs, options.strength, maps, progress)
            return await self._reduce_bits(denoised, options)
        if options.strength > 1:
            return await self._denoise_twice(model, inputs, options)
        samples = inputs.samples
        size = max(1, max_item_numbers(model) // math.prod(samples.shape[1:]))
        if len(samples) <= size and model.has_fixed_shape(operation):
            outcomes = [await self._get_batcher(model, operation, size).submit(samples, len(samples))]
        else:
            items = np.array_split(samples, -(-len(samples) // size))  # of equal size, but for one sample
            record = partial(self._statistics.record_run, model, operation)
            function = partial(OPERATIONS[operation].function, model)
            outcomes = await self._scheduler.run(partial(_run_timed, function, record), items)
        start, end = self._record_runs(model, [run for _, run in outcomes])
        result = _combine(samples, [output for output, _ in outcomes], options.strength, start, end)
        if operation == "encode" and options.latents is not None and model.manifest.latent_scaling is not None:
            result = replace(result, samples=model.manifest.latent_scaling.scale(np.asarray(result.samples)))
        if model.explains_variance and operation == "reconstruct" and model.units is not None:
            measure = partial(sparse.measure_explained_variance, samples, mean=model.units.mean)
            explained = await self._scheduler.call(measure, np.asarray(result.samples), samples.size * cost.NUMBER)
            result = replace(result, explained_variance=explained)
        if options.explain is not None:
            output = np.asarray(result.samples)
            differences = None if model.units is None else model.units.differences(samples, output)
            result = replace(result, heatmaps=heatmap.squared_errors(samples, output, differences))
        if options.false_alarm_rate is not None:
            result = replace(result, verdict=await self._judge(model, samples, result, options.false_alarm_rate, size))
        return result

    async def _judge(
        self, model: Model, samples: Array, result: Result, false_alarm_rate: float, size: int
    ) -> Verdict | None:
        """The verdict on a reconstruction, `size` samples at a time; scores may need further runs of the encoder."""
        if result.error is None or result.percentile is None:
            return None
        output = np.asarray(result.samples)
        items = [
            (samples[places], Reconstruction(output[places], result.error[places], result.percentile[places]))
            for places in np.array_split(np.arange(len(samples)), -(-len(samples) // size))
        ]

        def judge(item: tuple[Array, Reconstruction]) -> Verdict:
            return model.judge(*item, false_alarm_rate)

        verdicts = await self._scheduler.run(judge, items)
        return Verdict(
            np.concatenate([verdict.is_unusual for verdict in verdicts]),
            np.concatenate([verdict.percentile for verdict in verdicts]),
            verdicts[0].score,
        )

    def drop_unused_batchers(self, models: Collection[Model]) -> None:
        """Drop the batchers of all models but these: their pending items are finished, then their memory is free."""
        self._batchers = {key: batcher for key, batcher in self._batchers.items() if key[0] in models}

    def _record_runs(self, model: Model, runs: list[_Run]) -> tuple[float, float]:
        """Start and end of a request's runs; each run is reported once, though several requests share it."""
        for run in runs:
            if self._on_run is not None and not run.is_recorded:
                run.is_recorded = True
                self._on_run(model.manifest.name, run.size)
        if len(runs) == 1:
            return runs[0].start, runs[0].end
        return min(run.start for run in runs), max(run.end for run in runs)

    def _get_batcher(self, model: Model, operation: Operation, size: int) -> Batcher[Array, tuple[Output, _Run]]:
        key = model, operation
        if key not in self._batchers:
            function = partial(_run_batch, model, operation, partial(self._statistics.record_run, model, operation))
            self._batchers[key] = Batcher(self._scheduler, function, size, allow_inline=model.on_cpu)
        return self._batchers[key]

    async def _denoise_twice(
        self, model: Model, inputs: Batch | Images, options: Options, progress: Progress | None = None
    ) -> Result:
        """The denoised inputs are denoised again; of the second correction `strength` - 1 is applied."""
        if isinstance(inputs, Images):
            maps = tiled.map_figures(model, inputs.pictures, options.figures)
            first = await self._denoise(model, inputs, 1.0, maps, progress)
            second = await self._denoise(
                model, Images(first.pictures or ()), options.strength - 1, maps, progress, is_exposed=False
            )
        else:
            first = await self.run(model, "denoise", inputs, replace(options, strength=1.0))
            denoised = Batch(np.asarray(first.samples))
            second = await self.run(model, "denoise", denoised, replace(options, strength=options.strength - 1))
        return replace(second, run_start=first.run_start)

    async def _reduce_bits(self, result: Result, options: Options) -> Result:
        """The pictures with the bits that the request asks for, or that their files had."""
        pictures = result.pictures or ()
        if options.bits is None and not any(picture.metadata.bits in (1, 2, 4) for picture in pictures):
            return result
        reduced = tuple(await self._scheduler.run(partial(reduce_bits, bits=options.bits), pictures))
        return replace(result, samples=tuple(picture.pixels for picture in reduced), pictures=reduced)

    async def _denoise(
        self,
        model: Model,
        inputs: Images,
        strength: float,
        maps: Sequence[FigureMap | None],
        progress: Progress | None,
        *,
        is_exposed: bool = True,
    ) -> Result:
        """Tile by tile; the outputs are the only arrays of the images' size that are made."""
        outputs = tuple(np.empty_like(picture.pixels) for picture in inputs.pictures)
        tasks: list[TileTask] = []
        for picture, output, figures in zip(inputs.pictures, outputs, maps, strict=True):
            tasks += tiled.plan_tasks(
                model, picture, output, self._tile, figures, is_exposed=is_exposed, workers=self._scheduler.workers
            )
        numbers = max_item_numbers(model)
        items = list(tiled.group_tasks(tasks, numbers))
        use_all_cores = len(items) == 1 and self._scheduler.is_idle
        denoise = partial(tiled.denoise, model, strength, numbers, use_all_cores=use_all_cores)
        record = partial(self._statistics.record_run, model, "denoise")
        on_item = None if progress is None else partial(progress.advance, inputs.pixels / len(items))
        outcomes = await self._scheduler.run(partial(_run_timed, denoise, record), items, on_item=on_item)
        start, end = self._record_runs(model, [run for _, run in outcomes])
        pairs = zip(outputs, inputs.pictures, strict=True)
        denoised = tuple(replace(picture, pixels=output) for output, picture in pairs)
        return Result(outputs, denoised, run_start=start, run_end=end)


def max_item_numbers(model: Model) -> int:
    """Pixels or numbers in one work item of that model, which one run takes at once."""
    return CPU_ITEM_NUMBERS if model.on_cpu else GPU_ITEM_NUMBERS


def _run_timed(
    function: Callable[[_Item], _Result], record: Callable[[int], None], item: _Item, size: int | None = None
) -> tuple[_Result, _Run]:
    """`function(item)`, and its run of `size`, by default the item's length; `record` takes its nanoseconds."""
    start = perf_counter()
    result = function(item)
    run = _Run(start, perf_counter(), len(item) if size is None else size)
    record(run.nanoseconds)
    return result, run


def _run_batch(
    model: Model, operation: Operation, record: Callable[[int], None], batches: list[Array]
) -> list[tuple[Output, _Run]]:
    """Batches [n,...] of several callers in one run -> each output, and that run; `record` as for `_run_timed`."""
    outputs, run = _run_timed(partial(_run_and_split, model, operation), record, batches, sum(map(len, batches)))
    return [(output, run) for output in outputs]


def _run_and_split(model: Model, operation: Operation, batches: list[Array]) -> list[Output]:
    function = OPERATIONS[operation].function
    if len(batches) == 1:
        return [function(model, batches[0])]
    output = function(model, np.concatenate(batches))
    cuts = np.cumsum([len(batch) for batch in batches])[:-1]
    if not isinstance(output, Reconstruction):
        return list(np.split(output, cuts))
    parts = (np.split(part, cuts) for part in (output.output, output.error, output.percentile))
    return [Reconstruction(*part) for part in zip(*parts, strict=True)]


def _combine(samples: Array, outputs: list[Output], strength: float, start: float, end: float) -> Result:
    """The outputs of a request's runs, in order -> its result."""
    plain = [output for output in outputs if not isinstance(output, Reconstruction)]
    if plain:
        combined = plain[0] if len(plain) == 1 else np.concatenate(plain)
        return Result(blend(samples, combined, strength), run_start=start, run_end=end)
    reconstructions = [output for output in outputs if isinstance(output, Reconstruction)]
    if len(reconstructions) == 1:
        (single,) = reconstructions
        return Result(single.output, None, single.error, single.percentile, start, end)
    return Result(
        np.concatenate([r.output for r in reconstructions]),
        None,
        np.concatenate([r.error for r in reconstructions]),
        np.concatenate([r.percentile for r in reconstructions]),
        start,
        end,
    )
