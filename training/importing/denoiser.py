"""Import of a denoiser: a graph that takes pictures and answers pictures of the same size.

graph -> ports and layout -> batch, height, width free -> stride -> range -> wrapped -> parity -> reach | memory | seams
  -> measured on samples -> package
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model import package as packages
from service.model.manifest import Manifest, Metric
from service.model.runtime import Model
from service.model.tiles import SIDE, denoise_in_tiles
from training.data.patches import RestorationData
from training.errors import ImportRefused
from training.evaluation import denoisers, restorations
from training.evaluation.figures import Figures
from training.export import package
from training.importing import samples, wrapping
from training.importing.foreign_graph import ForeignGraph
from training.importing.options import ImportOptions
from training.importing.probes import memory, parity, ports, ranges, receptive_field, sizes
from training.importing.probes.pixel_format import PixelFormat, Range, to_bytes
from training.importing.probes.ports import Connection, PictureInput
from training.importing.probes.trial_pictures import SIGMA, add_noise, draw_pictures
from training.importing.samples import Photos

Array = NDArray[Any]

MAX_STRIDE = 64  # to which tiles are aligned, where the stride alone does not make them exact
RESIDUAL_SHARE = 0.7  # the output is noise where subtracting it leaves less than this share of the other error,
RESIDUAL_GAIN = 0.9  # and less than this share of the noise: a graph that answers nearly 0 leaves all of it
MARGIN = 16  # pixels along the edges, by which no range is judged
UNCHANGED = 0.1  # dB
FARTHEST = 8  # a tile's halo may not be so many times wider than what was asked for


@dataclass(frozen=True)
class DenoiserGraph:
    """A denoiser that was understood.

    Args:
        original, free: as it was given, and with free axes.
        size: (H, W) if it takes one size only.
        is_residual: the graph answers the noise, which is subtracted from the picture.
    """

    original: Connection
    free: Connection
    picture: PictureInput
    source: PixelFormat
    target: PixelFormat
    stride: int
    size: tuple[int, int] | None
    is_residual: bool = False

    def run(self, pixels: Array) -> Array:
        """uint8 or float [N,H,W,C] of 0..255 -> float64 [N,H,W,C] of 0..255, neither clipped nor rounded."""
        return self.finish(pixels, self.free.run(self.source.to_tensor(pixels)))

    def finish(self, pixels: Array, answer: Array) -> Array:
        """What the graph answered to pixels of 0..255 -> the picture, of 0..255, neither clipped nor rounded."""
        return pixels - self.target.to_differences(answer) if self.is_residual else self.target.to_pixels(answer)

    def restore(self, image: Array) -> NDArray[np.float32]:
        """uint8, or float in 0..1, [H,W,C] of any size -> float32 in 0..1."""
        pixels = image.astype(np.float64) * (1 if image.dtype == np.uint8 else 255)
        height, width = image.shape[:2]
        bottom, right = -height % self.stride, -width % self.stride
        padded = np.pad(pixels, ((0, bottom), (0, right), (0, 0)), mode="edge")
        output = self.run(padded[None])[0, :height, :width]
        return np.asarray((output / 255).clip(0, 1), np.float32)

    def wrap(self, stride: int) -> bytes:
        axes: tuple[int | str, ...] = (
            self.size or (f"{stride}*h", f"{stride}*w") if stride > 1 else self.size or ("h", "w")
        )
        part = wrapping.Part(self.free.graph, self.free.input.name, self.free.output, self.free.constants)
        return wrapping.wrap_images(part, self.source, self.target, "denoised", axes, is_residual=self.is_residual)


def run(options: ImportOptions, graph: ForeignGraph) -> Path:
    """Import, measure, write; the directory of the new package.

    Raises:
        ImportRefused, ParityError, DataError, DiskError: no package is written.
    """
    report = options.report
    denoiser = understand(options, graph)
    photos = None
    if options.samples is not None:
        photos = samples.read_photos(options.samples, denoiser.picture.channels, denoiser.size)
        for remark in photos.remarks:
            report.add(remark)
    denoiser = find_range(options, denoiser, photos)

    stride = denoiser.stride
    facts = _describe(options, denoiser, stride)
    model = parity.open_model(facts, {"denoiser": denoiser.wrap(stride)})
    difference = verify(denoiser, model, photos)
    parity.check_start(model)
    report.add(f"parity with the given graph: at most {difference:.0f} grey levels apart on {_name_pictures(photos)}")
    if denoiser.size is None:
        model = _find_reach(options, denoiser)
    elif options.halo is not None:
        raise ImportRefused(f"--halo is for graphs of any size; {graph.label} takes one size only")

    evaluation, figures = _measure(denoiser, photos)
    facts = model.manifest.model_copy(
        update={"evaluation": evaluation, "imported": options.make_provenance([graph], photos)}
    )
    sentence = (
        f"the package and the graph as it was given differ on {_name_pictures(photos)} by at most {difference:.0f} "
        f"grey level{'s' * (difference != 1)}."
    )
    graphs = {"denoiser": denoiser.wrap(model.strides[0])}
    return package.publish(options.out.parent, facts, graphs, figures, "", sentence)  # type: ignore[arg-type]


# --- ports, sizes ----------------------------------------------------------------------------------------


def understand(options: ImportOptions, graph: ForeignGraph) -> DenoiserGraph:
    """Ports, layout, free axes and stride; the range is not yet known. Raises ImportRefused."""
    report, label = options.report, graph.label
    original = _connect(options, graph)
    picture, answer = ports.find_picture_input(original, has_noise_map=options.noise_map is not None)
    layout = _check_output(original, picture, answer)
    free = original if original.input.shape[0] is None else sizes.free_batch(
        original, picture.shape(1, picture.height, picture.width)[1:]
    )  # fmt: skip
    if original.input.shape[0] is not None:
        report.add(f"{label}: its fixed batch of {original.input.shape[0]} became dynamic")
    y, x = picture.spatial_axes()
    size: tuple[int, int] | None = None
    stride = 1
    if options.has_fixed_size:
        size = picture.height, picture.width
    else:
        try:
            free = sizes.free(free, (0, y, x))
        except ImportRefused as refusal:
            raise _refuse_size(label, original, picture) from refusal
        found = sizes.find_stride(partial(_works, free, picture))
        if found is None:
            raise _refuse_size(label, original, picture)
        stride = found
        if original.input.shape[y] is not None:
            report.add(f"{label}: its fixed size of {picture.width}x{picture.height} became dynamic")
        report.add(f"{label}: takes any size that is a multiple of {stride}; others are padded with their edge")
    source = PixelFormat(
        picture.layout, picture.channels, ranges.all_ranges(1)[0], options.order == "bgr", picture.noise_channels,
        options.noise_map or 0.0, original.input.dtype,
    )  # fmt: skip
    target = replace(source, layout=layout, noise_channels=0, dtype=np.dtype(np.float32))
    if picture.channels == 3:
        report.add(
            f"{label}: channel order {'BGR' if source.is_bgr else 'RGB'}{' (assumed)' * (options.order is None)}"
        )
    return DenoiserGraph(original, free, picture, source, target, stride, size, options.is_residual)


def _connect(options: ImportOptions, graph: ForeignGraph) -> Connection:
    names = {tensor.name for tensor in graph.inputs}
    unknown = set(options.constants) - names
    if unknown:
        raise ImportRefused(f"{graph.label} has no input {min(unknown)}; its inputs are {', '.join(sorted(names))}")
    output_names = {tensor.name for tensor in graph.outputs}
    wrong = [name for name in options.outputs if name not in output_names]
    if wrong:
        raise ImportRefused(
            f"{graph.label} has no output {wrong[0]}; its outputs are {', '.join(sorted(output_names))}"
        )
    for name, value in options.constants.items():
        text = f"{value.item():g}" if value.size == 1 else f"an array {list(value.shape)}"
        options.report.add(f"{graph.label}: input {name} is always {text}")
    return ports.connect(graph, options.constants, options.outputs)


def _check_output(original: Connection, picture: PictureInput, answer: Array) -> Any:
    """The layout of the output; ImportRefused if it is not a picture of the input's size."""
    layout = ports.find_output_layout(answer.shape, picture.channels, picture.height, picture.width, picture.layout)
    if layout is not None:
        return layout
    label = original.graph.label
    spatial = answer.shape[2:] if picture.layout == "NCHW" else answer.shape[1:3]
    if answer.ndim == 4 and len(spatial) == 2 and spatial[0] > picture.height and spatial[0] % picture.height == 0:
        raise ImportRefused(
            f"{label} makes {spatial[1]}x{spatial[0]} of {picture.width}x{picture.height}: it is for super-resolution; "
            "a denoiser answers the size that it is given, so give a model of scale 1"
        )
    raise ImportRefused(
        f"{label} answers {list(answer.shape)} to a picture of {picture.width}x{picture.height} with "
        f"{picture.channels} channels; a denoiser answers the same: give "
        "--encoder and --decoder for an autoencoder, or --output NAME"
    )


def _works(free: Connection, picture: PictureInput, height: int, width: int) -> bool:
    noise = np.random.default_rng(2).random(picture.shape(1, height, width))
    answer = free.try_run(noise)
    return not isinstance(answer, str) and (
        ports.find_output_layout(answer.shape, picture.channels, height, width, picture.layout) is not None
    )


def _refuse_size(label: str, original: Connection, picture: PictureInput) -> ImportRefused:
    name = original.input.name
    y, x = picture.spatial_axes()
    if original.input.shape[y] is None:
        return ImportRefused(
            f"{label} runs on {picture.width}x{picture.height}, and at no stride up to {sizes.STRIDES[-1]} on all of "
            "its multiples; import it for that one size with --fixed-size"
        )
    return ImportRefused(
        f"{label} takes {picture.width}x{picture.height} only, its nodes hold that size; export it again with "
        f"torch.onnx.export(..., dynamic_axes={{'{name}': {{0: 'N', {y}: 'H', {x}: 'W'}}}}), or import it for that one "
        "size with --fixed-size"
    )


# --- range -----------------------------------------------------------------------------------------------


def find_range(options: ImportOptions, denoiser: DenoiserGraph, photos: Photos | None) -> DenoiserGraph:
    """The denoiser with the range in which what comes out is closest; ImportRefused if it is no picture in any."""
    label, channels = denoiser.original.graph.label, denoiser.picture.channels
    clean = _trial_pictures(denoiser, photos)
    noisy = add_noise(clean)
    if denoiser.source.dtype.kind in "iu":
        noisy = to_bytes(noisy).astype(np.float64)
    margin = min(MARGIN, min(clean.shape[1:3]) // 8)  # zeros beyond the edge are another grey in each range
    rows, columns = (slice(margin, side - margin) for side in clean.shape[1:3])
    clean = clean[:, rows, columns]

    def run(source: Range, target: Range, *, is_residual: bool = options.is_residual) -> Array | str:
        candidate = replace(_with_ranges(denoiser, source, target), is_residual=is_residual)
        answer = candidate.free.try_run(candidate.source.to_tensor(noisy))
        return answer if isinstance(answer, str) else candidate.finish(noisy, answer)[:, rows, columns]

    every = ranges.all_ranges(channels)
    if denoiser.source.dtype.kind in "iu":
        every = tuple(r for r in every if r.name == "0..255")
    sources = (options.range,) if options.range else every
    targets = (options.target_range,) if options.target_range else (options.range,) if options.range else every
    trials = ranges.try_ranges(run, clean, sources, targets)
    if not trials:
        raise ImportRefused(f"{label} answered none of the trial pictures of {clean.shape[2]}x{clean.shape[1]}")
    best = trials[0]
    noise_error = float(np.mean((noisy[:, rows, columns].clip(0, 255) - clean) ** 2))
    is_residual = options.is_residual
    if not is_residual and denoiser.source.dtype.kind == "f":
        for source in sources:
            target = next((t for t in targets if t == source), None)  # picture and noise have one unit
            if target is None:
                continue
            for trial in ranges.try_ranges(partial(run, is_residual=True), clean, (source,), (target,)):
                share = ranges.TIE if is_residual else RESIDUAL_SHARE
                if trial.error < min(share * best.error, RESIDUAL_GAIN * noise_error):
                    best, is_residual = trial, True
    if not best.is_picture and not options.is_unchecked:
        raise ImportRefused(_describe_fault(options, label, best, run, clean))
    before = 10 * np.log10(255**2 / noise_error)
    if is_residual:
        origin = "given" if options.is_residual else "found by trial"
        options.report.add(f"{label}: answers the noise ({origin}), which is subtracted from the picture")
    origin = "given" if options.range else "found by trial"
    options.report.add(
        f"{label}: range {best.name} ({origin}); noise of sigma {SIGMA} on {_name_pictures(photos)}: {before:.1f} dB "
        f"before, {best.psnr:.1f} dB after"
    )
    if not best.is_picture:
        options.report.add(f"{label}: not checked: {best.describe()}")
    elif abs(best.psnr - before) < UNCHANGED:
        options.report.add(
            f"{label}: it leaves such noise as it is; is it meant for another kind of noise, or of picture?"
        )
    elif best.psnr < before:
        options.report.add(f"{label}: it makes such noise worse; is it meant for another kind of noise, or of picture?")
    return replace(_with_ranges(denoiser, best.source, best.target), is_residual=is_residual)


def _with_ranges(denoiser: DenoiserGraph, source: Range, target: Range) -> DenoiserGraph:
    return replace(denoiser, source=denoiser.source.with_range(source), target=denoiser.target.with_range(target))


def _describe_fault(
    options: ImportOptions, label: str, best: ranges.Trial, run: Callable[..., Array | str], clean: Array
) -> str:
    """Why what comes out is no picture, and which range makes one, if any does."""
    sentence = f"what comes out of {label} is no picture: {best.describe()}"
    if options.range is not None:
        every = ranges.all_ranges(clean.shape[3])
        better = next(iter(ranges.try_ranges(run, clean, every, every)), None)
        if better is not None and better.is_picture:
            return f"{sentence}; with range {better.name} it is {better.correlation:.2f}: leave --range out"
    return (
        f"{sentence}; give --range, --order or --noise-map as the model's authors use it, --residual if it answers the "
        "noise, or --unchecked if its output is meant to differ from its input"
    )


def _trial_pictures(denoiser: DenoiserGraph, photos: Photos | None) -> NDArray[np.uint8]:
    """Up to four pictures uint8 [N,H,W,C] of one size that the graph takes."""
    height, width = denoiser.size or (max(1, 128 // denoiser.stride) * denoiser.stride,) * 2
    drawn = draw_pictures(4, height, width, denoiser.picture.channels)
    if photos is None:
        return drawn
    images = [image.clean for image in photos.test if image.clean.shape[0] >= height and image.clean.shape[1] >= width]
    return np.stack([image[:height, :width] for image in images[:4]]) if images else drawn


def _name_pictures(photos: Photos | None) -> str:
    return "synthetic pictures" if photos is None else "the samples"


# --- parity ----------------------------------------------------------------------------------------------


def verify(denoiser: DenoiserGraph, model: Model, photos: Photos | None) -> float:
    """The largest difference in grey levels from the graph as it was given; raises ParityError."""
    pictures = _trial_pictures(denoiser, photos)
    if denoiser.original.input.shape[denoiser.picture.spatial_axes()[0]] is not None:  # it answers its own size only
        pictures = draw_pictures(4, denoiser.picture.height, denoiser.picture.width, denoiser.picture.channels)
    generator = np.random.default_rng(3)
    noise = generator.integers(0, 256, pictures[:2].shape, np.uint8)
    flat = np.stack([np.full(pictures[0].shape, level, np.uint8) for level in (0, 255)])  # a division by 0, perhaps
    batch = np.concatenate([to_bytes(add_noise(pictures)), noise, flat])
    expected = denoiser.finish(batch, denoiser.original.run_repeatably(denoiser.source.to_tensor(batch)))
    return parity.compare(model.denoise(batch), to_bytes(expected), denoiser.original.graph.label)


# --- reach, memory, seams --------------------------------------------------------------------------------


def _find_reach(options: ImportOptions, denoiser: DenoiserGraph) -> Model:
    """The model with a halo for exact tiles, or with the memory of whole images, or with blended tiles."""
    report, label = options.report, denoiser.original.graph.label
    channels, stride = denoiser.picture.channels, denoiser.stride
    while stride <= max(MAX_STRIDE, denoiser.stride):
        reach = receptive_field.measure_reach(denoiser.run, channels, stride)
        if reach is None:
            break
        candidate = parity.open_model(
            _describe(options, denoiser, stride, halo=reach), {"denoiser": denoiser.wrap(stride)}
        )
        seam, _ = _measure_seams(candidate, channels)
        if seam <= parity.GREY_LEVELS:
            aligned = "" if stride == denoiser.stride else f", aligned to {stride}"
            report.add(
                f"{label}: an output pixel looks {reach} pixels far (measured), so tiles{aligned} are exact: "
                f"{seam} grey levels from the whole image"
            )
            if options.halo is not None:
                report.add(f"{label}: --halo {options.halo} is not needed")
            return candidate
        stride *= 2  # windows of attention, for example: exact if tiles are aligned to them
    layers = receptive_field.name_global_layers(denoiser.original.graph)
    report.add(f"{label}: an output pixel depends on pixels more than {receptive_field.MAX_REACH} away, by {layers}")
    if options.halo is None:
        return _measure_whole(options, denoiser)
    facts = _describe(options, denoiser, denoiser.stride, halo=options.halo, overlap="blended")
    blended = parity.open_model(facts, {"denoiser": denoiser.wrap(denoiser.stride)})
    largest, mean = _measure_seams(blended, channels)
    report.add(
        f"{label}: tiles that overlap by --halo {options.halo} differ from the whole image by {mean:.2f} grey levels "
        f"on average, at most {largest}"
    )
    return blended


def _measure_whole(options: ImportOptions, denoiser: DenoiserGraph) -> Model:
    label = denoiser.original.graph.label
    graph = denoiser.wrap(denoiser.stride)
    pairs = memory.measure_memory([graph], denoiser.stride, options.max_pixels, label)
    pixels, size = pairs[-1]
    options.report.add(
        f"{label}: images are run whole, up to {pixels / 1e6:.3g} Mpixel, which took {size / 1e6:.0f} MB "
        "(--max-pixels measures larger ones, --halo forces tiles)"
    )
    return parity.open_model(_describe(options, denoiser, denoiser.stride, pairs=pairs), {"denoiser": graph})


def _measure_seams(model: Model, channels: int) -> tuple[int, float]:
    """Largest and mean difference of tiles from the whole image, in grey levels, on a noisy picture."""
    side = _tile_side(model)
    picture = to_bytes(add_noise(draw_pictures(1, side + side // 2, side + side // 3, channels, seed=5)))
    whole = model.denoise(picture)[0].astype(int)
    differences = np.abs(denoise_in_tiles(model, picture[0], side) - whole)
    return int(differences.max()), float(differences.mean())


def _tile_side(model: Model) -> int:
    """Pixels along the tiles that are compared: exact ones may be small, blended ones are as the service's are."""
    return SIDE if model.manifest.overlap == "blended" else max(96, 14 * (model.manifest.halo or 0))


# --- package ---------------------------------------------------------------------------------------------


def _describe(
    options: ImportOptions,
    denoiser: DenoiserGraph,
    stride: int,
    *,
    halo: int | None = None,
    overlap: Any = None,
    pairs: tuple[tuple[int, int], ...] | None = None,
) -> Manifest:
    graph = denoiser.original.graph
    return package.build_manifest(
        options.out.name, packages.next_version(options.out.parent, options.out.name), "denoising",
        options.description or f"Denoiser imported from {graph.label}.", {"denoiser": denoiser.wrap(stride)},
        options.make_provenance([graph]), {}, halo=halo, overlap=overlap, memory=pairs, opset=graph.opset,
        fit=None if denoiser.size is None else "contain",
    )  # fmt: skip


def _measure(denoiser: DenoiserGraph, photos: Photos | None) -> tuple[dict[str, Metric], Figures]:
    """Noise of three strengths beside classical filters, and pictures; nothing without samples."""
    if photos is None:
        return {}, {}
    data = RestorationData("", "", np.empty(0, np.uint8), False, photos.reference, photos.test)
    evaluation = dict(denoisers.measure(denoiser.restore, data))
    return evaluation, restorations.draw_figures(denoiser.restore, photos.test)
