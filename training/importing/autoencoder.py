"""Import of an encoder, a decoder, or both: pictures or vectors, latents of any shape.

graphs -> ports and layout -> batch, height, width free -> range -> wrapped -> parity -> [memory] -> errors -> package
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model import package as packages
from service.model.manifest import Fit, Kind, Manifest, Metric, Operation, Role
from service.model.runtime import Model, reconstruction_error
from training.architectures.standardization import measure_units
from training.data.datasets import Dataset
from training.errors import ImportRefused
from training.evaluation import autoencoders, figures
from training.evaluation.baselines import pca
from training.evaluation.metrics import make_metric
from training.export import package
from training.importing import samples, wrapping
from training.importing.foreign_graph import ForeignGraph, convert_opset
from training.importing.options import ImportOptions
from training.importing.probes import memory, parity, ports, ranges, sizes
from training.importing.probes.pixel_format import RANGES, Layout, PixelFormat, Range, to_bytes
from training.importing.probes.ports import Connection, PictureInput
from training.importing.probes.trial_pictures import draw_pictures
from training.importing.samples import SampleSet

Array = NDArray[Any]
Axes = tuple[int | str, ...]

TRIAL_SAMPLES = 64  # of the given samples, on which ranges are tried
BGR_SHARE = 0.8  # BGR is taken where it leaves less than this share of RGB's error
MIN_SAMPLES = 8  # of which the mean is a baseline that says something
MAX_PCA_NUMBERS = 1 << 27  # samples times numbers of each, float64: 1 GB
MEASURED_AT_ONCE = 1 << 22  # numbers of samples in one run


@dataclass(frozen=True)
class Side:
    """An encoder or a decoder: as it was given, and with free axes."""

    original: Connection
    free: Connection

    @property
    def label(self) -> str:
        return self.original.graph.label


@dataclass(frozen=True)
class AutoencoderGraphs:
    """What was understood.

    Args:
        source, target: how the encoder takes pictures and the decoder answers them; None for vectors.
        sample, latent: axes of the ports after N; a name where they are free.
        shape: of a sample that runs, as stored: (H, W, C) or (D,).
        first_channels: of the encoder's output, of which the rest is the logarithm of a variance.
    """

    encoder: Side | None
    decoder: Side | None
    source: PixelFormat | None
    target: PixelFormat | None
    sample: Axes
    latent: Axes
    shape: tuple[int, ...]
    stride: int
    first_channels: int | None = None

    @property
    def is_picture(self) -> bool:
        return self.source is not None or self.target is not None

    @property
    def has_free_size(self) -> bool:
        return self.is_picture and any(isinstance(axis, str) for axis in self.sample)

    def encode(self, batch: Array, side: Callable[[Side], Connection], *, is_checked: bool = False) -> Array:
        """Latents float32 [N,...] of samples as stored; `is_checked`: finite, and the same each time."""
        if self.encoder is None:
            raise AssertionError("This is a bug: there is an encoder")
        connection = side(self.encoder)
        array = batch if self.source is None else self.source.to_tensor(batch)
        latent = (connection.run_repeatably if is_checked else connection.run)(_reshape(array, connection))
        return np.asarray(latent[:, : self.first_channels], np.float32)

    def decode(self, latent: Array, side: Callable[[Side], Connection], *, is_checked: bool = False) -> Array:
        """Pixels float64 [N,H,W,C] of 0..255, or vectors float32 [N,D]."""
        if self.decoder is None:
            raise AssertionError("This is a bug: there is a decoder")
        connection = side(self.decoder)
        output = (connection.run_repeatably if is_checked else connection.run)(_reshape(latent, connection))
        return (
            output.reshape(len(output), -1).astype(np.float32) if self.target is None else self.target.to_pixels(output)
        )

    def reconstruct(self, batch: Array) -> Array:
        return self.decode(self.encode(batch, _free), _free)

    def wrap(self) -> dict[Role, bytes]:
        """The graphs of the package."""
        graphs: dict[Role, bytes] = {}
        if self.encoder is not None:
            part = _part(self.encoder.free, self.first_channels)
            graphs["encoder"] = wrapping.wrap_encoder(part, self.source, self.sample, self.latent)
        if self.decoder is not None:
            graphs["decoder"] = wrapping.wrap_decoder(_part(self.decoder.free), self.target, self.latent, self.sample)
        return graphs


def run(options: ImportOptions, encoder: ForeignGraph | None, decoder: ForeignGraph | None) -> Path:
    """Import, measure, write; the directory of the new package.

    Raises:
        ImportRefused, ParityError, DataError, DiskError: no package is written.
    """
    report = options.report
    if options.halo is not None:
        raise ImportRefused("--halo is for denoisers; the latent of an image is made of the whole of it")
    autoencoder = understand(options, *_same_opset(encoder, decoder))
    data = None
    if options.samples is not None:
        fit: Fit = "cover" if autoencoder.has_free_size else "contain"
        data = samples.read_sample_set(options.samples, autoencoder.shape, fit, is_picture=autoencoder.is_picture)
        for remark in data.remarks:
            report.add(remark)
    autoencoder = find_range(options, autoencoder, data)

    graphs = autoencoder.wrap()
    operations: tuple[Operation, ...] = (
        *(("encode",) if autoencoder.encoder else ()),
        *(("decode",) if autoencoder.decoder else ()),
    )
    facts = _describe(options, autoencoder, graphs, operations)
    model = parity.open_model(facts, graphs)
    sentence = verify(autoencoder, model, data)
    parity.check_start(model)
    report.add(f"parity with the given graphs: {sentence}")
    pairs = None
    if autoencoder.has_free_size:
        pairs = memory.measure_memory(list(graphs.values()), autoencoder.stride, options.max_pixels, facts.name)
        pixels, size = pairs[-1]
        more = "" if options.max_pixels else "; --max-pixels N measures larger ones"
        report.add(f"images are run whole, up to {pixels / 1e6:.3g} Mpixel, which took {size / 1e6:.0f} MB{more}")
    evaluation: dict[str, Metric] = {}
    drawings: figures.Figures = {}
    errors, curve = None, None
    if data is None or not (autoencoder.encoder and autoencoder.decoder):
        report.add("no operation reconstruct: its errors need an encoder, a decoder and --samples to be measured on")
    else:
        operations = (*operations, "reconstruct")
        evaluation, drawings, errors, curve = _measure(model, data)
        if not autoencoder.is_picture:
            _check_vectors(options, model, data, evaluation["reconstruction_mse"])
        if options.saelens is not None:
            evaluation |= _measure_sparsity(model, data)
    facts = _describe(
        options,
        autoencoder,
        graphs,
        operations,
        data=data,
        evaluation=evaluation,
        errors=errors,
        curve=curve,
        pairs=pairs,
    )
    return package.publish(options.out.parent, facts, graphs, drawings, "", f"package and given graphs: {sentence}.")


# --- ports, sizes ----------------------------------------------------------------------------------------


def understand(options: ImportOptions, encoder: ForeignGraph | None, decoder: ForeignGraph | None) -> AutoencoderGraphs:
    """Ports, layout, free axes, shapes; ranges are not yet known. Raises ImportRefused."""
    _check_names(options, [graph for graph in (encoder, decoder) if graph is not None])
    sides = [None if graph is None else _connect(options, graph) for graph in (encoder, decoder)]
    encoder_side, decoder_side = sides
    if encoder_side is None:
        if decoder_side is None:
            raise AssertionError("This is a bug: there is a graph")
        return _understand_decoder(options, decoder_side)
    candidates = ports.picture_candidates(encoder_side.input, has_noise_map=options.noise_map is not None)
    if not candidates:
        return _understand_vectors(options, encoder_side, decoder_side)
    return _understand_pictures(options, encoder_side, decoder_side)


def _check_names(options: ImportOptions, graphs: Sequence[ForeignGraph]) -> None:
    inputs = {tensor.name for graph in graphs for tensor in graph.inputs}
    outputs = {tensor.name for graph in graphs for tensor in graph.outputs}
    for kind, names, known in (("input", options.constants, inputs), ("output", options.outputs, outputs)):
        wrong = next((name for name in names if name not in known), None)
        if wrong is not None:
            raise ImportRefused(f"there is no {kind} {wrong}; the graphs have {', '.join(sorted(known))}")


def _connect(options: ImportOptions, graph: ForeignGraph) -> Connection:
    names = {tensor.name for tensor in graph.inputs}
    constants = {name: value for name, value in options.constants.items() if name in names}
    for name, value in constants.items():
        text = f"{value.item():g}" if value.size == 1 else f"an array {list(value.shape)}"
        options.report.add(f"{graph.label}: input {name} is always {text}")
    connection = ports.connect(graph, constants, options.outputs)
    if len(graph.outputs) > 1:
        options.report.add(f"{graph.label}: of its outputs {connection.output} is used")
    return connection


def _free_batch(options: ImportOptions, connection: Connection, shape: tuple[int, ...]) -> Connection:
    batch = connection.input.shape[0]
    freed = sizes.free_batch(connection, shape)
    if batch is not None:
        options.report.add(f"{connection.graph.label}: its fixed batch of {batch} became dynamic")
    return freed


def _understand_pictures(options: ImportOptions, encoder: Connection, decoder: Connection | None) -> AutoencoderGraphs:
    report, label = options.report, encoder.graph.label
    picture, latent = ports.find_picture_input(encoder, has_noise_map=options.noise_map is not None)
    _check_latent(label, latent)
    height, width = picture.height, picture.width
    y, x = picture.spatial_axes()
    free_encoder = _free_batch(options, encoder, picture.shape(1, height, width)[1:])
    first_channels = None
    source = PixelFormat(
        picture.layout, picture.channels, RANGES["0..1"], options.order == "bgr", picture.noise_channels,
        options.noise_map or 0.0, encoder.input.dtype,
    )  # fmt: skip
    target, free_decoder = None, None
    if decoder is not None:
        first_channels = _count_mean_channels(options, label, latent, decoder)
        latent = latent[:, :first_channels]
        if latent.ndim == 4 and latent.shape[2] > height and latent.shape[3] > width and not options.is_unchecked:
            raise ImportRefused(
                f"{label} makes a latent {list(latent.shape[1:])} of a picture of {width}x{height}, which is larger: "
                "were --encoder and --decoder exchanged? If it is meant so, give --unchecked"
            )
        sample = _fit_latent(latent, decoder)
        answer = decoder.try_run(sample)
        if isinstance(answer, str):
            raise ImportRefused(f"{decoder.graph.label} fails on the latent {list(latent.shape)} of {label}: {answer}")
        layout = ports.find_output_layout(answer.shape, picture.channels, height, width, picture.layout)
        if layout is None:
            raise ImportRefused(
                f"{decoder.graph.label} answers {list(answer.shape)} to the latent of a picture of {width}x{height} "
                f"with {picture.channels} channels; a decoder answers the encoded size: give the two of one model"
            )
        target = replace(source, layout=layout, noise_channels=0, dtype=np.dtype(np.float32))
        free_decoder = _free_batch(options, decoder, sample.shape[1:])
    is_free = encoder.input.shape[y] is None and encoder.input.shape[x] is None
    if is_free and decoder is not None:
        is_free = all(axis is None for axis in decoder.input.shape[2:]) and len(decoder.input.shape) > 2
    stride, sample_axes, latent_axes = 1, (height, width), tuple(latent.shape[1:])
    if is_free:
        freed = sizes.free(free_encoder, (0, y, x))
        free_encoder = freed
        if free_decoder is not None:
            free_decoder = sizes.free(free_decoder, tuple(range(len(free_decoder.input.shape))))

        def works(height: int, width: int) -> bool:
            noise = np.random.default_rng(2).random(picture.shape(1, height, width))
            code = freed.try_run(noise)
            if isinstance(code, str) or free_decoder is None or target is None:
                return not isinstance(code, str)
            answer = free_decoder.try_run(code[:, :first_channels])
            shape = None if isinstance(answer, str) else answer.shape
            return shape is not None and (
                ports.find_output_layout(shape, picture.channels, height, width, target.layout) is not None
            )

        found = sizes.find_stride(works)
        if found is None:
            raise ImportRefused(
                f"{label} says that it takes any size, and at no stride up to {sizes.STRIDES[-1]} runs on all of its "
                "multiples; export it with a fixed size"
            )
        stride = found
        side = max(stride, samples.DEFAULT_SIDE // stride * stride)
        height, width = side, side
        sample_axes, latent_axes = _name_free_axes(stride, picture, freed, first_channels)  # type: ignore[assignment]
        report.add(f"{label}: takes any size that is a multiple of {stride}; others are padded with their edge")
    else:
        report.add(f"{label}: takes pictures of {width}x{height}")
    return AutoencoderGraphs(
        Side(encoder, free_encoder),
        None if decoder is None or free_decoder is None else Side(decoder, free_decoder),
        source, target, (*sample_axes, picture.channels), latent_axes, (height, width, picture.channels), stride,
        first_channels,
    )  # fmt: skip


def _name_free_axes(
    stride: int, picture: PictureInput, encoder: Connection, first_channels: int | None
) -> tuple[Axes, Axes]:
    """Names of height and width of the sample, and of the axes of the latent that change with them."""
    base = -(-64 // stride) * stride
    latents = [
        encoder.run(np.zeros(picture.shape(1, base + dy, base + dx)))[:, :first_channels].shape
        for dy, dx in ((0, 0), (8 * stride, 0), (0, 8 * stride))
    ]
    names = []
    for axis, size in enumerate(latents[0]):
        is_changed = any(shape[axis] != size for shape in latents[1:])
        names.append(f"latent_{axis}" if is_changed else size)
    prefix = f"{stride}*" if stride > 1 else ""
    return (f"{prefix}h", f"{prefix}w"), tuple(names[1:])


def _count_mean_channels(options: ImportOptions, label: str, latent: Array, decoder: Connection) -> int | None:
    """Half of the encoder's channels where the decoder takes so many: mean and logarithm of the variance of a VAE."""
    wanted = decoder.input.shape[1] if len(decoder.input.shape) > 1 else None
    if wanted is None or latent.shape[1] != 2 * wanted:
        return None
    options.report.add(
        f"{label}: answers {latent.shape[1]} channels, the decoder takes {wanted}: the first are the mean"
    )
    return wanted


def _understand_vectors(options: ImportOptions, encoder: Connection, decoder: Connection | None) -> AutoencoderGraphs:
    label, shape = encoder.graph.label, encoder.input.shape[1:]
    if not shape or any(axis is None for axis in shape):
        raise ImportRefused(
            f"{label} takes {encoder.input.name} {_format(encoder.input.shape)}; it must take pictures [N,C,H,W] of 1 "
            "or 3 channels, or vectors [N,D] of a fixed length: export it with fixed sizes, but for N"
            f"{_suggest_exchange(decoder)}"
        )
    fixed = tuple(int(axis or 1) for axis in shape)
    length = int(np.prod(fixed))
    noise = np.random.default_rng(0).standard_normal((encoder.input.shape[0] or 1, *fixed))
    latent = encoder.run(noise)
    _check_latent(label, latent)
    free_encoder = _free_batch(options, encoder, fixed)
    first_channels, decoder_side = None, None
    if decoder is not None:
        first_channels = _count_mean_channels(options, label, latent, decoder)
        latent = latent[:, :first_channels]
        sample = _fit_latent(latent, decoder)
        answer = decoder.run(sample)
        if answer[0].size != length:
            raise ImportRefused(
                f"{decoder.graph.label} answers {answer[0].size} numbers to the latent of {length}; give the "
                "encoder and the decoder of one model"
            )
        decoder_side = Side(decoder, _free_batch(options, decoder, sample.shape[1:]))
    options.report.add(f"{label}: takes vectors of {length} numbers, as they are")
    return AutoencoderGraphs(
        Side(encoder, free_encoder), decoder_side, None, None, (length,), tuple(latent.shape[1:]), (length,), 1,
        first_channels,
    )  # fmt: skip


def _suggest_exchange(decoder: Connection | None) -> str:
    """A remedy where the decoder takes pictures, and the encoder does not."""
    if decoder is None or not ports.picture_candidates(decoder.input, has_noise_map=False):
        return ""
    return f"; {decoder.graph.label} takes pictures: were --encoder and --decoder exchanged?"


def _understand_decoder(options: ImportOptions, decoder: Connection) -> AutoencoderGraphs:
    """A decoder alone, whose latent has fixed axes."""
    label, shape = decoder.graph.label, decoder.input.shape[1:]
    if not shape:
        raise ImportRefused(f"{label} takes {_format(decoder.input.shape)}; a latent is [N,...]")
    fixed = tuple(axis or 8 for axis in shape)
    answer = decoder.run(np.random.default_rng(0).standard_normal((decoder.input.shape[0] or 1, *fixed)))
    free = _free_batch(options, decoder, fixed)
    has_free_axes = any(axis is None for axis in shape)
    channels = next((c for c in (3, 1) if answer.ndim == 4 and c in (answer.shape[1], answer.shape[3])), None)
    if channels is None:
        if has_free_axes:
            raise ImportRefused(f"{label} takes {_format(decoder.input.shape)}; export it with fixed sizes, but for N")
        length = int(answer[0].size)
        return AutoencoderGraphs(None, Side(decoder, free), None, None, (length,), fixed, (length,), 1)
    layout: Layout = "NCHW" if answer.shape[1] == channels else "NHWC"
    height, width = answer.shape[2:] if layout == "NCHW" else answer.shape[1:3]
    target = PixelFormat(layout, channels, RANGES["0..1"], options.order == "bgr")
    sample: Axes = (height, width, channels)
    latent: Axes = fixed
    stride = 1
    if has_free_axes:
        free = sizes.free(free, tuple(range(len(decoder.input.shape))))
        stride = max(1, height // fixed[-2])
        latent = tuple(axis or f"latent_{index}" for index, axis in enumerate(shape, 1))
        sample = (f"{stride}*h", f"{stride}*w", channels)
    return AutoencoderGraphs(None, Side(decoder, free), None, target, sample, latent, (height, width, channels), stride)


def _check_latent(label: str, latent: Array) -> None:
    if latent.ndim < 2 or latent.dtype.kind not in "f":
        raise ImportRefused(
            f"{label} answers {latent.dtype} {list(latent.shape)}; a latent is float [N,...]: name another output with "
            "--output"
        )


def _fit_latent(latent: Array, decoder: Connection) -> Array:
    """The encoder's latent in the shape of the decoder's input; ImportRefused if it does not fit."""
    shape = decoder.input.shape[1:]
    is_fitting = len(shape) == latent.ndim - 1 and all(
        axis in (None, size) for axis, size in zip(shape, latent.shape[1:], strict=True)
    )
    if is_fitting:
        return latent
    fixed = [int(axis or 0) for axis in shape]
    if all(fixed) and int(np.prod(fixed)) == latent[0].size:
        return latent.reshape(len(latent), *fixed)
    raise ImportRefused(
        f"{decoder.graph.label} takes {_format(decoder.input.shape)}, the encoder answers [N,"
        f"{','.join(map(str, latent.shape[1:]))}]; give the two of one model, or name the encoder's output: --output"
    )


# --- range -----------------------------------------------------------------------------------------------


def find_range(options: ImportOptions, autoencoder: AutoencoderGraphs, data: SampleSet | None) -> AutoencoderGraphs:
    """The graphs with the ranges in which the reconstruction is closest, or as given; raises ImportRefused."""
    if not autoencoder.is_picture:
        return autoencoder
    channels = autoencoder.shape[2]
    every = ranges.all_ranges(channels)
    source, target, report = options.range, options.target_range or options.range, options.report
    if autoencoder.source is not None and autoencoder.source.dtype.kind in "iu":
        source = source or RANGES["0..255"]
    if autoencoder.encoder is None or autoencoder.decoder is None:
        return _range_of_one(options, autoencoder, source, target)
    if target is None:
        target = _read_end(options, autoencoder.decoder)
    clean = draw_pictures(8, *autoencoder.shape) if data is None else data.test[:TRIAL_SAMPLES]
    orders = (
        (False, True) if options.order is None and data is not None and channels == 3 else (options.order == "bgr",)
    )
    results: list[tuple[ranges.Trial, bool]] = []
    for is_bgr in orders:
        candidate = _with_order(autoencoder, is_bgr)
        trials = ranges.try_ranges(
            lambda s, t, candidate=candidate: _try(_with_range(candidate, s, t), clean),  # type: ignore[misc]
            clean, (source,) if source else every, (target,) if target else every,
        )  # fmt: skip
        if trials:
            results.append((trials[0], is_bgr))
    if not results:
        raise ImportRefused(f"{autoencoder.encoder.label} and {autoencoder.decoder.label} answered no picture")
    best, is_bgr = results[0]
    if len(results) > 1 and results[1][0].error < BGR_SHARE * best.error:
        best, is_bgr = results[1]
    _check_reconstruction(options, best, clean, data)
    pictures = "synthetic pictures" if data is None else f"{len(clean)} samples"
    origin = "given" if options.range else "found by trial"
    report.add(f"range {best.name} ({origin}); reconstruction of {pictures}: {best.psnr:.1f} dB")
    if channels == 3:
        why = "given" if options.order else "found by trial" if data is not None else "assumed"
        report.add(f"channel order {'BGR' if is_bgr else 'RGB'} ({why})")
    return _with_range(_with_order(autoencoder, is_bgr), best.source, best.target)


def _check_reconstruction(options: ImportOptions, best: ranges.Trial, clean: Array, data: SampleSet | None) -> None:
    """ImportRefused where what comes out is no picture of what went in."""
    if options.is_unchecked:
        if options.scaling is None:
            options.report.add(f"not checked: {best.describe()}")
        elif not best.is_picture:
            options.report.add(f"no picture is reconstructed, {best.describe()}: have the weights been trained?")
        return
    mean_error = float(np.mean((clean - clean.mean(axis=0)) ** 2))
    if len(clean) < MIN_SAMPLES or mean_error == 0:  # their mean is nearly the samples themselves
        mean_error = np.inf if best.is_picture else 0
    if data is not None and best.error >= mean_error:
        raise ImportRefused(
            f"what comes out is no reconstruction: {best.describe()}, its error is not below that of the mean sample: "
            "give --range or --order as the model's authors use it, or --unchecked"
        )
    if data is None and not best.is_picture:
        raise ImportRefused(
            f"the range cannot be found on synthetic pictures: {best.describe()}; give --samples, a folder of pictures "
            "that the model knows, or --range and --unchecked"
        )


def _range_of_one(
    options: ImportOptions, autoencoder: AutoencoderGraphs, source: Range | None, target: Range | None
) -> AutoencoderGraphs:
    """An encoder alone cannot show its range; a decoder's answers do, in part."""
    if autoencoder.encoder is not None:
        if source is None:
            raise ImportRefused(
                f"{autoencoder.encoder.label} alone does not show its range; give --range {', '.join(RANGES)}, or its "
                "--decoder"
            )
        options.report.add(f"range {source.name} (given; an encoder alone cannot be checked)")
        return _with_range(autoencoder, source, source)
    if autoencoder.decoder is None or autoencoder.target is None:
        raise AssertionError("This is a bug: there is a decoder of pictures")
    if target is None:
        target = _read_end(options, autoencoder.decoder)
    fixed = [axis if isinstance(axis, int) else 8 for axis in autoencoder.latent]
    answer = autoencoder.decoder.free.run(np.random.default_rng(0).standard_normal((8, *fixed)))
    low, high = float(answer.min()), float(answer.max())
    if target is None:
        target = RANGES["0..255"] if high > 8 else RANGES["-1..1"] if low < -0.25 else RANGES["0..1"]
        options.report.add(f"range {target.name} (assumed: its answers to noise lie in {low:.2f}..{high:.2f})")
    pixels = autoencoder.target.with_range(target).to_pixels(answer)
    share = float(np.mean((pixels < -64) | (pixels > 319)))
    if share > 0.5 and not options.is_unchecked:
        raise ImportRefused(
            f"what comes out of {autoencoder.decoder.label} is no picture: its answers lie in {low:.3g}..{high:.3g}, "
            f"with range {target.name} {share:.0%} of its pixels are far outside of 0..255; give another --range, or "
            "--unchecked"
        )
    return _with_range(autoencoder, target, target)


def _read_end(options: ImportOptions, decoder: Side) -> Range | None:
    """The range that the last operator of the decoder bounds its output to: Sigmoid 0..1, Tanh -1..1."""
    nodes = {name: node for node in decoder.free.graph.model.graph.node for name in node.output}
    name = decoder.free.output
    while (node := nodes.get(name)) is not None:
        found = {"Sigmoid": RANGES["0..1"], "Tanh": RANGES["-1..1"]}.get(node.op_type)
        if found is not None:
            options.report.add(f"{decoder.label}: ends in {node.op_type}, so its pixels are in {found.name}")
            return found
        if node.op_type not in ("Identity", "Cast", "Reshape", "Transpose", "Squeeze", "Unsqueeze"):
            return None
        name = node.input[0]
    return None


def _try(autoencoder: AutoencoderGraphs, batch: Array) -> Array | str:
    try:
        return autoencoder.reconstruct(batch)
    except ImportRefused as refusal:
        return str(refusal)


def _with_range(autoencoder: AutoencoderGraphs, source: Range, target: Range) -> AutoencoderGraphs:
    return replace(
        autoencoder,
        source=None if autoencoder.source is None else autoencoder.source.with_range(source),
        target=None if autoencoder.target is None else autoencoder.target.with_range(target),
    )


def _with_order(autoencoder: AutoencoderGraphs, is_bgr: bool) -> AutoencoderGraphs:
    return replace(
        autoencoder,
        source=None if autoencoder.source is None else replace(autoencoder.source, is_bgr=is_bgr),
        target=None if autoencoder.target is None else replace(autoencoder.target, is_bgr=is_bgr),
    )


# --- parity, evaluation, package -------------------------------------------------------------------------


def verify(autoencoder: AutoencoderGraphs, model: Model, data: SampleSet | None) -> str:
    """How far package and given graphs are apart, as a sentence; raises ParityError."""
    parts = []
    generator = np.random.default_rng(3)
    latent: Array | None = None
    if autoencoder.encoder is not None:
        if data is not None:
            batch = data.test[:16]
        elif autoencoder.is_picture:
            drawn = draw_pictures(3, *autoencoder.shape)
            batch = np.concatenate([drawn, generator.integers(0, 256, drawn.shape, np.uint8)])
        else:
            batch = generator.standard_normal((16, *autoencoder.shape)).astype(np.float32)
        latent = autoencoder.encode(batch, _get_original, is_checked=True)
        difference = parity.compare(model.run_graph("encoder", batch), latent, autoencoder.encoder.label)
        parts.append(f"latents by at most {difference:.2g} of their largest magnitude")
    if autoencoder.decoder is not None:
        if latent is None:
            fixed = [axis if isinstance(axis, int) else 8 for axis in autoencoder.latent]
            latent = generator.standard_normal((8, *fixed)).astype(np.float32)
        expected = autoencoder.decode(latent, _get_original, is_checked=True)
        answer = model.run_graph("decoder", latent)
        if autoencoder.target is not None:
            expected = to_bytes(expected)
        difference = parity.compare(answer, expected, autoencoder.decoder.label)
        unit = "grey levels" if autoencoder.target is not None else "of their largest magnitude"
        parts.append(f"decoded samples by at most {difference:.2g} {unit}")
    origin = "noise" if data is None and not autoencoder.is_picture else "samples" if data else "pictures and noise"
    return f"on {origin} they differ in {' and in '.join(parts)}"


def _measure(
    model: Model, data: SampleSet
) -> tuple[dict[str, Metric], figures.Figures, Array, tuple[tuple[int, float], ...] | None]:
    """Metrics beside PCA, figures, errors of the test samples, PCA's curve."""
    step = max(1, MEASURED_AT_ONCE // data.test[0].size)
    batches = [data.test[i : i + step] for i in range(0, len(data.test), step)]
    latents = np.concatenate([model.encode(batch) for batch in batches])
    outputs = np.concatenate([model.decode(latent) for latent in np.array_split(latents, len(batches))])
    units = measure_units(data.reference) if data.test.ndim == 2 else None
    errors = reconstruction_error(data.test, outputs, units)
    components = None
    if data.reference.size <= MAX_PCA_NUMBERS:
        components = pca.fit(data.reference, latents[0].size)
    dataset = Dataset("", "", data.reference, data.reference[:0], data.test)
    metrics = {
        name: metric.model_copy(
            update={"baselines": {key.replace("of train", "of the others"): v for key, v in metric.baselines.items()}}
        )
        for name, metric in autoencoders.measure_reconstruction(errors, dataset, components, units)
    }
    baselines = [(n, v) for n, v in metrics["reconstruction_mse"].baselines.items() if n != "identity"]
    shown = slice(0, figures.COLUMNS)
    rows = [("original", data.test[shown]), ("latent", latents[shown]), ("reconstruction", outputs[shown])]
    drawings = {
        "reconstructions.png": (
            f"Samples, their latents ({' x '.join(map(str, latents.shape[1:]))} numbers) and reconstructions",
            figures.draw_rows(rows),
        ),
        "error_histogram.png": (
            "Reconstruction errors of the samples",
            figures.draw_error_histogram(errors, baselines, metrics["reconstruction_mse"].unit),
        ),
        "latent_map.png": (
            "Samples placed by their latents (t-SNE)",
            figures.draw_latent_map(latents, data.test, 0),
        ),
    }
    return metrics, drawings, errors, None if components is None else pca.error_curve(components, data.test)


def _check_vectors(options: ImportOptions, model: Model, data: SampleSet, metric: Metric) -> None:
    """ImportRefused where what comes out is not nearer to what went in than the mean sample is; a remark of a SAE."""
    mean_error = max(metric.baselines.values())  # of the mean; that of the identity is 0, PCA's is lower
    if len(data.test) < MIN_SAMPLES or metric.value < mean_error:
        return
    sentence = (
        f"what comes out is no reconstruction: its error {metric.value:.4g} is not below that of the mean sample, "
        f"{mean_error:.4g}"
    )
    if options.is_unchecked or options.saelens is not None:
        options.report.add(sentence)
        return
    remedy = "give samples scaled as the model was trained on them"
    low, high = float(data.reference.min()), float(data.reference.max())
    if low >= 0 and 1 < high <= 255:
        scaled = replace(data, test=(data.test / np.float32(255)).astype(np.float32))
        if _explain_variance(model, scaled) > 0:
            remedy = "divided by 255 they come out as they went in: save the samples so, and send such vectors"
    raise ImportRefused(f"{sentence}; {remedy}, or give --unchecked")


def _explain_variance(model: Model, data: SampleSet) -> float:
    """Share of the variance that the reconstruction of the test samples explains."""
    residual = float(((data.test - model.decode(model.encode(data.test)).astype(np.float64)) ** 2).sum())
    variance = float(((data.test - data.test.mean(axis=0, dtype=np.float64)) ** 2).sum())
    return 1 - residual / max(variance, 1e-30)


def _measure_sparsity(model: Model, data: SampleSet) -> dict[str, Metric]:
    """Share of the variance that the reconstruction explains, and how many features are active in a vector."""
    active = float((model.encode(data.test) != 0).sum(axis=1).mean())
    return {
        "explained_variance": make_metric(_explain_variance(model, data), "share of the variance", {}),
        "active_features": make_metric(active, "features of a vector that are not 0", {}),
    }


def _describe(
    options: ImportOptions,
    autoencoder: AutoencoderGraphs,
    graphs: dict[Role, bytes],
    operations: tuple[Operation, ...],
    *,
    data: SampleSet | None = None,
    evaluation: dict[str, Metric] | None = None,
    errors: Array | None = None,
    curve: tuple[tuple[int, float], ...] | None = None,
    pairs: tuple[tuple[int, int], ...] | None = None,
) -> Manifest:
    sides = [side for side in (autoencoder.encoder, autoencoder.decoder) if side is not None]
    names = " and ".join(dict.fromkeys(side.label for side in sides))
    fit = data.fit if data is not None and not autoencoder.has_free_size else None
    is_vectors = data is not None and not autoencoder.is_picture
    columns = package.describe_columns(measure_units(data.reference), None) if data is not None and is_vectors else None
    return package.build_manifest(
        options.out.name, packages.next_version(options.out.parent, options.out.name), _kind(options, autoencoder),
        options.description or f"Autoencoder imported from {names}.", graphs,
        options.make_provenance([side.original.graph for side in sides], data), evaluation or {},
        reconstruction_errors=errors, pca_error=curve, fit=fit, opset=sides[0].original.graph.opset,
        operations=operations, memory=pairs, columns=columns, latent_scaling=options.scaling,
        features=options.features,
    )  # fmt: skip


def _kind(options: ImportOptions, autoencoder: AutoencoderGraphs) -> Kind:
    """By the numbers of a latent beside those of a sample; where they are free, at one size that runs."""
    if options.saelens is not None:
        return "sparse"
    if autoencoder.encoder is not None:
        sample = np.zeros((1, *autoencoder.shape), np.uint8 if autoencoder.is_picture else np.float32)
        count = autoencoder.encode(sample, _free).size
    else:
        count = int(np.prod([axis if isinstance(axis, int) else 8 for axis in autoencoder.latent]))
    return "undercomplete" if count < np.prod(autoencoder.shape) else "overcomplete"


# --- small things ----------------------------------------------------------------------------------------


def _same_opset(
    encoder: ForeignGraph | None, decoder: ForeignGraph | None
) -> tuple[ForeignGraph | None, ForeignGraph | None]:
    """A package's graphs have one opset: the higher one."""
    if encoder is None or decoder is None:
        return encoder, decoder
    opset = max(encoder.opset, decoder.opset)
    return convert_opset(encoder, opset), convert_opset(decoder, opset)


def _part(connection: Connection, first_channels: int | None = None) -> wrapping.Part:
    return wrapping.Part(
        connection.graph, connection.input.name, connection.output, connection.constants, first_channels
    )


def _get_original(side: Side) -> Connection:
    return side.original


def _free(side: Side) -> Connection:
    return side.free


def _reshape(array: Array, connection: Connection) -> Array:
    """The array in the shape of the input's fixed axes, where it has another of as many numbers."""
    shape = connection.input.shape[1:]
    if all(axis is not None for axis in shape) and array.shape[1:] != shape:
        return array.reshape(len(array), *(int(axis or 1) for axis in shape))
    return array


def _format(shape: tuple[int | None, ...]) -> str:
    return "[" + ",".join("?" if axis is None else str(axis) for axis in shape) + "]"
