"""Runtime: a package opened with onnxruntime; arrays in, arrays out.

package -> sessions (service.model.providers) -> encode | decode | reconstruct | denoise | generate

Thread-safe: onnxruntime sessions may run from many threads and release the interpreter lock while they do. A run ends
early when its thread is interrupted (service.interruption): onnxruntime looks for that between two nodes.

What a graph returns is checked, its shape and that its numbers are finite: a graph that breaks its contract for one
input fails that run, and no caller gets another's rows.

A graph with dynamic H and W may need multiples of a stride, which its port declares (`8*h`). Images of other sizes
are padded with their edge and the output is cropped: onnxruntime fails on other sizes.
"""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.errors import InvalidInput, ModelFailed, OperationMissing, TooLarge
from service.interruption import current_interruption
from service.model.errors import PackageError
from service.model.graph import Port
from service.model.manifest import Column, Operation, Role
from service.model.measures import scores
from service.model.measures.standard_units import StandardUnits
from service.model.package import Modality, Package
from service.model.providers import (
    Precision,
    Provider,
    SessionFailed,
    actual_provider,
    open_session,
)
from service.model.variants import ComputedPrecision, Variant, choose_fastest, list_variants

CPU_PROVIDERS = {"cpu", "openvino"}
MEASURED_SIDE = 256  # pixels along a side of the tile by which the fastest variant is found
PAIR_SIDE, MAX_PAIR_NUMBERS = 32, 1 << 16  # pixels along free sides, numbers of a sample, of the pair in `warm_up`

Array = NDArray[Any]


@dataclass(frozen=True)
class Reconstruction:
    """`output` like the input [N,...]; `error` float64 [N]; `percentile` float64 [N], 0..100, of held-out data."""

    output: Array
    error: NDArray[np.float64]
    percentile: NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """Whether samples are unusual: `is_unusual` bool [N]; `percentile` float64 [N], 0..100, of the score named."""

    is_unusual: NDArray[np.bool_]
    percentile: NDArray[np.float64]
    score: str


class Model:
    """onnxruntime sessions of one package.

    Args:
        package: verified by service.model.package.read.
        provider: the requested execution provider.
        cores: threads of a wide run, and of encoders and decoders that run on whole images of any size; all other runs
            have one thread, and several run at the same time.
        required: raise service.model.providers.ProviderMissing if a session uses another provider.
        precision: of a denoiser on the CPU; everything else is fp32. `auto` uses its int8 graph if the package has one
            and the CPU has instructions for it; `fp32` never uses it; `int8` uses it without such instructions too;
            `bf16` is OpenVINO's. Where there is a choice, a denoiser of images of any size is measured.

    `column_names` of a vector's numbers; None: they have none, or not each its own.
    `sample_size` and `latent_size` are the numbers of one sample and of its latent, 0 for those of dynamic shape;
    `features` of the latent's are features (service.model.measures.sparse).
    `run_seconds`: of each variant that was measured, for one tile; empty if there was no choice.
    """

    def __init__(
        self,
        package: Package,
        provider: Provider = "auto",
        cores: int = 1,
        *,
        required: bool = False,
        precision: Precision = "auto",
    ) -> None:
        self.manifest = package.manifest
        self.sample: Port = package.sample
        self.latent: Port | None = package.latent
        self.modality: Modality = package.modality
        columns = package.manifest.columns
        self.units = None if columns is None else StandardUnits.of_columns(columns)
        self.column_names = _find_column_names(columns)
        self.score = package.score
        self.sample_size = self.sample.count_numbers()
        self.latent_size = self.latent.count_numbers() if self.latent is not None else 0
        self.features = package.manifest.features or self.latent_size
        self.explains_variance = package.manifest.kind == "sparse" and self.units is not None
        graphs = dict(package.graphs)
        int8_graph = graphs.pop("denoiser-int8", None)
        height_stride, width_stride = (_parse_stride(axis) for axis in (*self.sample.shape[1:3], 1, 1)[:2])
        self.strides = (height_stride, width_stride)
        is_denoiser = "denoiser" in graphs
        has_choice = is_denoiser and self.sample.dtype == "uint8"  # bf16 has eight bits, too few for 16
        variants = list_variants(provider, precision if has_choice else "fp32", has_int8_graph=int8_graph is not None)
        open_variant = partial(
            _open_variant,
            graphs,
            int8_graph,
            cores=cores,
            required=required,
            is_whole=package.manifest.memory is not None,
        )
        self.run_seconds: dict[Variant, float] = {}
        if len(variants) > 1 and is_denoiser and self.any_size:
            candidates = {variant: open_variant(variant) for variant in variants}
            tile = self.make_input("denoiser", MEASURED_SIDE)
            runs = {variant: partial(sessions["denoiser"].run, tile) for variant, sessions in candidates.items()}
            variant, self.run_seconds = choose_fastest(runs, cores)
            self._sessions = candidates[variant]
        else:
            variant = variants[0]
            self._sessions = open_variant(variant)
        providers = {actual_provider(session.session) for session in self._sessions.values()}
        self.provider = " and ".join(sorted(providers))
        self.on_cpu = providers <= CPU_PROVIDERS  # whether every graph runs on the CPU
        is_as_chosen = self.on_cpu if variant.precision == "int8" else providers == {"openvino"}
        self.precision: ComputedPrecision = variant.precision if is_as_chosen else "fp32"
        self._wide_session: _Session | None = None
        if self.any_size and cores > 1 and self.on_cpu and is_denoiser:
            graph = int8_graph if int8_graph is not None and self.precision == "int8" else graphs["denoiser"]
            self._wide_session = _open(
                graph,
                "openvino" if providers == {"openvino"} else "cpu",
                cores,
                required=False,
                precision=self.precision,
            )

    @property
    def any_size(self) -> bool:
        """Whether the model takes images of all heights and widths."""
        return self.modality == "image" and all(isinstance(axis, str) for axis in self.sample.shape[1:3])

    def estimate_run_bytes(self, pixels: int) -> int:
        """Bytes that one run on an image of so many pixels takes, by the manifest; 0 if it was not measured.

        Raises:
            TooLarge: the image is larger than any that was measured (413).
        """
        memory = self.manifest.memory
        if memory is None:
            return 0
        limit = memory[-1][0]
        if pixels > limit:
            raise TooLarge(
                f"the image has {pixels / 1e6:.3g} Mpixel; {self.manifest.name} runs on whole images, and was measured "
                f"up to {limit / 1e6:.3g} Mpixel when it was imported: send a smaller one, or import the model again "
                f"with --max-pixels{', or with --halo for tiles' * (self.manifest.kind == 'denoising')}",
                limit=limit,
            )
        sizes, run_bytes = zip(*memory, strict=True)
        return int(np.interp(pixels, sizes, run_bytes))

    def count_pixels(self, operation: Operation, shape: tuple[int, ...]) -> int:
        """Pixels of the image that a sample or latent [...] of that shape is or becomes, of a model of any size."""
        if operation in ("decode", "sample"):
            axes = self.input_port(operation).shape[1:]
            free = [size for size, axis in zip(shape, axes, strict=True) if isinstance(axis, str)]
            return math.prod(free) * math.prod(self.strides)
        return math.prod(shape[:2])

    def has_fixed_shape(self, operation: Operation) -> bool:
        """Whether all inputs of `operation` have the same shape, so that any of them can be batched."""
        return bool(self.latent_size if self.input_port(operation) is self.latent else self.sample_size)

    def input_port(self, operation: Operation) -> Port:
        """The input port of `operation`; raises OperationMissing (409) if the package does not offer it."""
        if operation not in self.manifest.operations:
            raise OperationMissing(
                f"{self.manifest.name} has no operation {operation}; it has {', '.join(self.manifest.operations)}",
                operations=list(self.manifest.operations),
            )
        if operation == "decode" or operation == "sample":
            if self.latent is None:
                raise AssertionError("This is a bug: verified packages that decode have a latent port")
            return self.latent
        return self.sample

    def check_batch(self, operation: Operation, batch: Array) -> None:
        """Raise InvalidInput (422), which names the actual and the expected, if the graph cannot take `batch`.

        Args:
            batch: [N,...] of the dtype and shape of `input_port(operation)`, N at least 1, all numbers finite.
        """
        port = self.input_port(operation)
        if batch.dtype == _UINT8 and port.dtype == "uint8" and batch.shape[1:] == port.shape[1:] and batch.size:
            return  # the most frequent case
        if batch.dtype != port.dtype:
            raise InvalidInput(f"dtype is {batch.dtype}, {port.name} wants {port.dtype}")
        expected = port.shape[1:]
        if batch.ndim != len(port.shape) or any(
            isinstance(axis, int) and axis != size for axis, size in zip(expected, batch.shape[1:], strict=True)
        ):
            raise InvalidInput(f"shape is {list(batch.shape)}, {port.name} wants {_format_shape(port)}")
        if batch.size == 0:
            raise InvalidInput(f"the batch is empty (shape {list(batch.shape)}); at least one sample is needed")
        if batch.dtype.kind == "f" and not np.isfinite(batch).all():
            raise InvalidInput(f"{port.name} holds NaN or infinity; all numbers must be finite")

    def encode(self, batch: Array) -> NDArray[np.float32]:
        """`image` uint8 [N,H,W,C] or `vector` [N,D] of its port's dtype -> `latent` float32 [N,...]."""
        self.check_batch("encode", batch)
        return self.run_graph("encoder", self._pad_to_stride(batch))

    def decode(self, latent: Array) -> Array:
        """`latent` float32 [N,...] -> `image` uint8 [N,H,W,C] or `vector` [N,D] of its port's dtype."""
        self.check_batch("decode", latent)
        return self.run_graph("decoder", latent)

    def generate(self, latent: Array) -> Array:
        """Draws from the prior, float32 [N,...] -> samples as `decode` answers them."""
        self.check_batch("sample", latent)
        return self.run_graph("decoder", latent)

    def draw_latents(self, count: int, seed: int) -> NDArray[np.float32]:
        """`count` draws from the latent's prior, the standard normal distribution: float32 [count,...].

        The same seed draws the same latents; a larger count begins with those of a smaller one. The package offers
        `sample`, so its latent has a fixed shape.
        """
        shape = self.input_port("sample").shape[1:]
        generator = np.random.Generator(np.random.PCG64(seed))
        return generator.standard_normal((count, *map(int, shape)), np.float32)

    def reconstruct(self, batch: Array) -> Reconstruction:
        """decode(encode(x)), with each sample's reconstruction error and its percentile among held-out data."""
        self.check_batch("reconstruct", batch)
        output = _crop_to(self._autoencode(self._pad_to_stride(batch)), batch)
        error = reconstruction_error(batch, output, self.units)
        return Reconstruction(output, error, self._find_percentile(error))

    @property
    def score_name(self) -> str:
        """By what samples are called unusual."""
        return "error" if self.manifest.score is None else self.manifest.score.name

    def judge(self, batch: Array, reconstruction: Reconstruction, false_alarm_rate: float) -> Verdict:
        """Whether samples are unusual, by the package's score, or without one by the reconstruction error.

        Args:
            batch: samples as `reconstruct` took them.
            reconstruction: what it answered.
        Raises:
            InvalidInput: the package was tested on too few samples for so small a rate.
            ModelFailed: the encoder fails on the reconstructions.
        """
        threshold = self.unusual_threshold(false_alarm_rate)
        entry = self.manifest.score
        if self.score is None or entry is None:
            percentile = reconstruction.percentile
        else:
            values = self.score.compute(self.trace_pathway(batch, reconstruction.output, self.score.needs_latents))
            percentile = scores.percentile(values, entry.quantiles)
        return Verdict(percentile > threshold, percentile, self.score_name)

    def trace_pathway(self, batch: Array, output: Array, needs_latents: bool = True) -> scores.Pathway:
        """What scores are computed from; latents [N,0] if they are not needed."""
        if self.units is not None:
            samples = self.units.standardize(batch)
        else:
            samples = batch.astype(np.float64) / _largest_number(batch)
        differences = _find_differences(batch, output, self.units)
        latents = latents_again = np.zeros((len(batch), 0))
        if needs_latents:
            latents, latents_again = (
                self.run_graph("encoder", images).reshape(len(batch), -1).astype(np.float64)
                for images in (batch, output)
            )
        return scores.Pathway(samples, differences, latents, latents_again)

    def unusual_threshold(self, false_alarm_rate: float) -> float:
        """The percentile, 0..100, of the score, above which a sample is unusual; raises InvalidInput.

        Of samples like the held-out ones, a share of `false_alarm_rate` is above it, for every distribution of scores:
        it is the held-out score of rank (n + 1)(1 - rate) (split conformal prediction,
        Vovk et al. 2005; Lei et al., JASA 113 (2018), section 2.2). n samples allow no rate below 1 / (n + 1).
        """
        sample_count = self.manifest.held_out_samples if self.manifest.score is None else self.manifest.score.samples
        if false_alarm_rate * (sample_count + 1) < 1:
            raise InvalidInput(
                f"false_alarm_rate is {false_alarm_rate:g}; {self.manifest.name} was tested on {sample_count} samples, "
                f"which tell rates from {1 / (sample_count + 1):.2g}"
            )
        rank = (sample_count + 1) * (1 - false_alarm_rate)  # 1 is the least error, sample_count the largest
        return 100 * (rank - 1) / max(1, sample_count - 1)

    def denoise(self, batch: Array, *, wide: bool = False) -> Array:
        """Corrupted `image` uint8 [N,H,W,C] or `vector` [N,D] -> clean, same shape and dtype.

        `wide`: use all cores for this run, for images of any size on the CPU: faster if no other request runs.
        """
        self.check_batch("denoise", batch)
        padded_batch = self._pad_to_stride(batch)
        if "denoiser" in self._sessions:
            return _crop_to(self.run_graph("denoiser", padded_batch, wide=wide), batch)
        return _crop_to(self._autoencode(padded_batch), batch)

    def _autoencode(self, padded_batch: Array) -> Array:
        output = self.run_graph("decoder", self.run_graph("encoder", padded_batch))
        if output.shape != padded_batch.shape:  # of a model of any size, whose ports do not say which size comes back
            raise self._failure("encoder and decoder", f"{list(padded_batch.shape)} with {list(output.shape)}")
        return output

    def _failure(self, role: str, fault: str) -> ModelFailed:
        return ModelFailed(
            f"{self.manifest.name} version {self.manifest.version}: its {role} answered {fault}; "
            "this is a fault of the model"
        )

    @property
    def providers(self) -> dict[Role, str]:
        """The provider that each graph's session really uses: cpu, cuda, tensorrt, openvino."""
        return {role: actual_provider(session.session) for role, session in self._sessions.items()}

    def make_input(self, role: Role, side: int = 64) -> Array:
        """Zeros [1,...] for the graph's input port; free heights and widths of the image are `side`, or a little more.

        They are multiples of the stride; those of a latent are so many times smaller.
        """
        port = self.latent if role == "decoder" else self.sample
        if port is None:
            raise AssertionError("This is a bug: a decoder has a latent port")
        side = max(1, side // max(self.strides)) if role == "decoder" else side
        shape = [
            axis if isinstance(axis, int) else -(-side // _parse_stride(axis)) * _parse_stride(axis)
            for axis in port.shape[1:]
        ]
        return np.zeros((1, *shape), port.dtype)

    def warm_up(self, side: int = 64) -> None:
        """Run every session, so that it allocates memory and selects algorithms; raises ModelFailed.

        Once with one sample, and once with two if samples are small enough to be joined with those of others.
        """
        for role in self._sessions:
            self.run_graph(role, self.make_input(role, side))
            sample = self.make_input(role, PAIR_SIDE)
            if sample.size <= MAX_PAIR_NUMBERS:
                self.run_graph(role, np.concatenate([sample, sample]))
        if self._wide_session is not None:
            self.run_graph("denoiser", self.make_input("denoiser", side), wide=True)

    def run_graph(self, role: Role, batch: Array, *, wide: bool = False) -> Array:
        """Run one graph; its output is checked.

        Args:
            batch: [N,...] as its port takes it, heights and widths multiples of the strides.
        Raises:
            ModelFailed: it fails, was interrupted, or its output has another shape than its port says for N samples of
                that size, or holds NaN or infinity.
        """
        session = self._wide_session if wide and self._wide_session is not None else self._sessions[role]
        try:
            (output,) = session.run(batch)
        except Exception as failure:  # onnxruntime's exceptions share no other base class
            raise ModelFailed(
                f"{self.manifest.name} version {self.manifest.version} failed in its {role} on shape "
                f"{list(batch.shape)}; this is a fault of the model or of the service"
            ) from failure
        array = np.asarray(output)
        fault = self._find_fault(role, batch, array)
        if fault is not None:
            raise self._failure(role, fault)
        return array

    def _find_fault(self, role: Role, batch: Array, output: Array) -> str | None:
        """What is wrong with a graph's output for `batch`; None if it is what its port promises."""
        port = self.latent if role == "encoder" else self.sample
        if port is None:
            raise AssertionError("This is a bug: an encoder has a latent port")
        expected = batch.shape[1:] if role == "denoiser" else port.shape[1:]
        is_right = output.ndim and len(output) == len(batch)
        if not is_right or (output.shape[1:] != expected and not _has_shape(output, expected)):
            axes = ", ".join(str(axis) for axis in (len(batch), *expected))
            return f"{list(batch.shape)} with {list(output.shape)} instead of [{axes}]"
        if port.dtype not in ("uint8", "uint16") and not _is_finite(output):
            return "with NaN or infinity"
        return None

    def _pad_to_stride(self, batch: Array) -> Array:
        """Images [N,H,W,C] -> [N,H',W',C], H' and W' the next multiples of the strides; others as they are."""
        if self.modality == "vector":
            return batch
        bottom, right = (-size % stride for size, stride in zip(batch.shape[1:3], self.strides, strict=True))
        if bottom == right == 0:
            return batch
        return np.pad(batch, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="edge")

    def _find_percentile(self, error: NDArray[np.float64]) -> NDArray[np.float64]:
        quantiles = self.manifest.reconstruction_error_quantiles
        if quantiles is None:
            raise AssertionError("This is a bug: verified packages that reconstruct have quantiles")
        return np.interp(error, quantiles, np.linspace(0, 100, len(quantiles)))


_UINT8 = np.dtype(np.uint8)
_FEW_NUMBERS = 4096
_FATAL = 4  # onnxruntime's severity; otherwise it writes a line about every run that is interrupted


@dataclass(frozen=True)
class _Session:
    """A session with the names of its ports, which onnxruntime makes anew each time that it is asked for them."""

    session: onnxruntime.InferenceSession
    input_name: str
    output_names: list[str]

    def run(self, batch: Array) -> Any:
        """The outputs of one run; it ends early if this thread is interrupted."""
        inputs = {self.input_name: batch}
        interruption = current_interruption()
        if interruption is None:
            return self.session.run(self.output_names, inputs)
        options = interruption.run_options
        if options is None:
            options = onnxruntime.RunOptions()
            options.log_severity_level = _FATAL
            interruption.register(functools.partial(setattr, options, "terminate", True))
            interruption.run_options = options
        return self.session.run(self.output_names, inputs, options)


def _open_variant(
    graphs: Mapping[Role, bytes],
    int8_graph: bytes | None,
    variant: Variant,
    *,
    cores: int,
    required: bool,
    is_whole: bool,
) -> dict[Role, _Session]:
    """A session for each graph, for `cores` runs side by side; int8 only if they really run on the CPU.

    Args:
        is_whole: encoders and decoders take whole images of any size, which is long work: a run uses all cores.
    """
    sessions = {
        role: _open(
            graph,
            variant.provider,
            *((cores, 1) if is_whole and role != "denoiser" else (1, cores)),
            required=required,
            precision=variant.precision,
        )
        for role, graph in graphs.items()
    }
    providers = {actual_provider(session.session) for session in sessions.values()}
    if int8_graph is not None and variant.precision == "int8" and providers <= CPU_PROVIDERS:
        provider: Provider = "openvino" if providers == {"openvino"} else "cpu"
        sessions["denoiser"] = _open(int8_graph, provider, 1, cores, required=False)
    return sessions


def _open(
    graph: bytes,
    provider: Provider,
    threads: int,
    parallel_runs: int = 1,
    *,
    required: bool,
    precision: ComputedPrecision = "fp32",
) -> _Session:
    session = open_session(
        graph, provider, threads, required=required, parallel_runs=parallel_runs,
        precision="bf16" if precision == "bf16" else "fp32",
    )  # fmt: skip
    (port,) = session.get_inputs()
    return _Session(session, port.name, [port.name for port in session.get_outputs()])


def _has_shape(batch: Array, expected: tuple[int | str, ...]) -> bool:
    """Whether each sample has that shape; an axis with a name may have any size from 1 on."""
    return batch.ndim == len(expected) + 1 and all(
        size == axis if isinstance(axis, int) else size > 0
        for size, axis in zip(batch.shape[1:], expected, strict=True)
    )


def _is_finite(numbers: Array) -> bool:
    """Whether all are finite: for few numbers by their sum of squares, which is faster and may overflow."""
    if numbers.size <= _FEW_NUMBERS and math.isfinite(np.vdot(numbers, numbers)):
        return True
    return bool(np.isfinite(numbers).all())


def rejection_reason(key: str, error: PackageError | SessionFailed | ModelFailed | OSError) -> str:
    """Why the package `key` ("<name>/<version>") is not served, in one sentence."""
    if isinstance(error, PackageError):
        return str(error)
    if isinstance(error, ModelFailed):
        return f"{key} fails when it is run: {error.detail}"
    if isinstance(error, OSError):
        return f"{key} cannot be read: {error.strerror}"
    return f"{key} cannot be opened by onnxruntime: {error}"


def _find_column_names(columns: Sequence[Column] | None) -> tuple[str, ...] | None:
    names = tuple(column.name for column in columns or () if column.name)
    return names if columns and len(set(names)) == len(columns) else None


def reconstruction_error(batch: Array, output: Array, units: StandardUnits | None = None) -> NDArray[np.float64]:
    """Mean squared error of each sample, float64 [N], in the units of `_find_differences`."""
    return np.asarray(np.mean(_find_differences(batch, output, units) ** 2, axis=1))


def _find_differences(batch: Array, output: Array, units: StandardUnits | None) -> NDArray[np.float64]:
    """float64 [N,D]: pixels in 0..1 (uint8 / 255), vectors in standard deviations of `units`, or in their own units."""
    if units is not None:
        return units.differences(batch, output)
    difference = (batch.astype(np.float64) - output.astype(np.float64)) / _largest_number(batch)
    return np.asarray(difference.reshape(len(batch), -1))


def _largest_number(batch: Array) -> float:
    """What becomes 1: 255 of pixels, 65535 of those of 16 bits."""
    return float(np.iinfo(batch.dtype).max) if batch.dtype.kind == "u" else 1.0


def _crop_to(output: Array, batch: Array) -> Array:
    """[N,H',W',C] -> [N,H,W,C] with the shape of `batch`, C order."""
    if output.shape == batch.shape:
        return output
    return np.ascontiguousarray(output[:, : batch.shape[1], : batch.shape[2]])


def _parse_stride(axis: int | str) -> int:
    """8 for `8*h` (or `h*8`), as torch's exporter writes multiples; 1 for a fixed size or a plain name."""
    match = re.fullmatch(r"(\d+)\*\w+|\w+\*(\d+)", str(axis).replace(" ", ""))
    return max(1, int(match[1] or match[2])) if match else 1


def _format_shape(port: Port) -> str:
    return "[" + ", ".join(["N", *(str(d) for d in port.shape[1:])]) + "]"
