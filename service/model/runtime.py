"""A package, opened: arrays in, arrays out, nothing of HTTP.

package -> sessions (service.model.providers) -> encode | decode | reconstruct | denoise

Thread-safe: onnxruntime sessions may run from many threads and release the interpreter lock while they do.

A graph with dynamic H and W may want multiples of a stride; its port says so (`8*h`). Images of other sizes are
padded with their own edge and the answer is cropped: off the stride, the runtime itself fails.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.errors import InvalidInput, ModelFailed, OperationMissing
from service.model.errors import PackageError
from service.model.graph import Port
from service.model.manifest import Operation, Role
from service.model.package import Modality, Package
from service.model.providers import Precision, Provider, SessionFailed, eight_bit_instructions, obtained, open_session

Array = NDArray[Any]


@dataclass(frozen=True)
class Reconstruction:
    """`output` like the input [N,...]; `error` float64 [N]; `percentile` float64 [N], 0..100, of held-out data."""

    output: Array
    error: NDArray[np.float64]
    percentile: NDArray[np.float64]


class Model:
    """onnxruntime sessions of one package.

    Args:
        package: verified by service.model.package.read.
        provider: execution provider to ask for.
        cores: threads inside a wide run; all others have one, and several run side by side.
        required: refuse a provider other than the one asked for (service.model.providers.ProviderMissing).
        precision: `auto` runs a denoiser in eight-bit whole numbers where the package has such a graph, the CPU runs
            it, and the CPU has instructions for it; `fp32` never does; `int8` asks for no instructions. No other
            provider runs it: a GPU that was asked for is never left for it.
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
        graphs = dict(package.graphs)
        quantized = graphs.pop("denoiser-int8", None)
        self._sessions = {role: open_session(graph, provider, 1, required=required) for role, graph in graphs.items()}
        self.provider = " and ".join(sorted({obtained(session) for session in self._sessions.values()}))
        self.precision: Literal["fp32", "int8"] = "fp32"
        if quantized is not None and self.on_cpu and _eight_bits(precision):
            self.precision = "int8"
            self._sessions["denoiser"] = open_session(quantized, "cpu", 1, required=False)
        below, right = (_stride(axis) for axis in (*self.sample.shape[1:3], 1, 1)[:2])
        self.strides = (below, right)
        self._wide: onnxruntime.InferenceSession | None = None
        if self.any_size and cores > 1 and self.on_cpu and "denoiser" in graphs:
            graph = quantized if quantized is not None and self.precision == "int8" else graphs["denoiser"]
            self._wide = open_session(graph, "cpu", cores, required=False)

    @property
    def on_cpu(self) -> bool:
        """Whether every graph runs on the CPU."""
        return self.provider == "cpu"

    @property
    def any_size(self) -> bool:
        """Whether images of all heights and widths are taken."""
        return self.modality == "image" and all(isinstance(axis, str) for axis in self.sample.shape[1:3])

    def one_shape(self, operation: Operation) -> bool:
        """Whether all samples that `operation` takes have one shape, so that any of them make a batch."""
        return not any(isinstance(axis, str) for axis in self.input_port(operation).shape[1:])

    def input_port(self, operation: Operation) -> Port:
        """The port that `operation` feeds; raises OperationMissing (409) if the package does not offer it."""
        if operation not in self.manifest.operations:
            raise OperationMissing(
                f"{self.manifest.name} has no operation {operation}; it has {', '.join(self.manifest.operations)}",
                operations=list(self.manifest.operations),
            )
        if operation == "decode":
            if self.latent is None:
                raise AssertionError("This is a bug: verified packages that decode have a latent port")
            return self.latent
        return self.sample

    def check(self, operation: Operation, batch: Array) -> None:
        """Refuse what a graph cannot take: InvalidInput (422) names what was given and what is wanted.

        Args:
            batch: [N,...] of the dtype and shape of `input_port(operation)`, N at least 1, all numbers finite.
        """
        port = self.input_port(operation)
        if batch.dtype == _UINT8 and port.dtype == "uint8" and batch.shape[1:] == port.shape[1:] and batch.size:
            return  # as most are
        if batch.dtype != port.dtype:
            raise InvalidInput(f"dtype is {batch.dtype}, {port.name} wants {port.dtype}")
        wanted = port.shape[1:]
        if batch.ndim != len(port.shape) or any(
            isinstance(want, int) and want != got for want, got in zip(wanted, batch.shape[1:], strict=True)
        ):
            raise InvalidInput(f"shape is {list(batch.shape)}, {port.name} wants {_shape(port)}")
        if batch.size == 0:
            raise InvalidInput(f"the batch is empty (shape {list(batch.shape)}); at least one sample is needed")
        if batch.dtype.kind == "f" and not np.isfinite(batch).all():
            raise InvalidInput(f"{port.name} holds NaN or infinity; all numbers must be finite")

    def encode(self, batch: Array) -> NDArray[np.float32]:
        """`image` uint8 [N,H,W,C] or `vector` float32 [N,D] -> `latent` float32 [N,...]."""
        self.check("encode", batch)
        return self.run_graph("encoder", self._padded(batch))

    def decode(self, latent: Array) -> Array:
        """`latent` float32 [N,...] -> `image` uint8 [N,H,W,C] or `vector` float32 [N,D]."""
        self.check("decode", latent)
        return self.run_graph("decoder", latent)

    def reconstruct(self, batch: Array) -> Reconstruction:
        """decode(encode(x)), with each sample's reconstruction error and its percentile among held-out data."""
        self.check("reconstruct", batch)
        output = _cropped(self.run_graph("decoder", self.run_graph("encoder", self._padded(batch))), batch)
        error = reconstruction_error(batch, output)
        return Reconstruction(output, error, self._percentile(error))

    def unusual_above(self, false_alarm_rate: float) -> float:
        """The percentile, 0..100, above which an error is too large for what the model knows; raises InvalidInput.

        Of samples like the held-out ones a share of `false_alarm_rate` is above, whatever the errors' distribution:
        it is the held-out error of rank (n + 1)(1 - rate) (split conformal prediction,
        Vovk et al. 2005; Lei et al., JASA 113 (2018), section 2.2). n samples tell no rate below 1 / (n + 1).
        """
        held_out = self.manifest.training.data.test
        if false_alarm_rate * (held_out + 1) < 1:
            raise InvalidInput(
                f"false_alarm_rate is {false_alarm_rate:g}; {self.manifest.name} was tested on {held_out} samples, "
                f"which tell rates from {1 / (held_out + 1):.2g}"
            )
        rank = (held_out + 1) * (1 - false_alarm_rate)  # 1 is the least error, held_out the largest
        return 100 * (rank - 1) / max(1, held_out - 1)

    def denoise(self, batch: Array, *, wide: bool = False) -> Array:
        """Corrupted `image` uint8 [N,H,W,C] or `vector` float32 [N,D] -> clean, same shape and dtype.

        `wide`: with all cores in this run, for images of any size on the CPU: quicker for who is alone here.
        """
        self.check("denoise", batch)
        padded = self._padded(batch)
        if "denoiser" in self._sessions:
            return _cropped(self.run_graph("denoiser", padded, wide=wide), batch)
        return _cropped(self.run_graph("decoder", self.run_graph("encoder", padded)), batch)

    @property
    def providers(self) -> dict[Role, str]:
        """What each graph's session really runs on: cpu, cuda, tensorrt, openvino."""
        return {role: obtained(session) for role, session in self._sessions.items()}

    def typical(self, role: Role, side: int = 64) -> Array:
        """Zeros as that graph takes them: one sample; free heights and widths are `side`, rounded up to the stride."""
        port = self.latent if role == "decoder" else self.sample
        if port is None:
            raise AssertionError("This is a bug: a decoder has a latent port")
        shape = [
            axis if isinstance(axis, int) else -(-side // _stride(axis)) * _stride(axis) for axis in port.shape[1:]
        ]
        return np.zeros((1, *shape), port.dtype)

    def warm_up(self, side: int = 64) -> None:
        """Every session runs once, on what is typical: memory is taken, algorithms are chosen; raises ModelFailed."""
        for role in self._sessions:
            self.run_graph(role, self.typical(role, side))
        if self._wide is not None:
            self.run_graph("denoiser", self.typical("denoiser", side), wide=True)

    def run(self, operation: Operation, batch: Array) -> Array | Reconstruction:
        """The operation by name."""
        return getattr(self, operation)(batch)  # type: ignore[no-any-return]

    def run_graph(self, role: Role, batch: Array, *, wide: bool = False) -> Array:
        """One graph, as it is: `batch` [N,...] as its port takes it, sides multiples of the strides."""
        session = self._wide if wide and self._wide is not None else self._sessions[role]
        try:
            (output,) = session.run(None, {session.get_inputs()[0].name: batch})
        except Exception as failure:  # onnxruntime's exceptions share no other base class
            raise ModelFailed(
                f"{self.manifest.name} version {self.manifest.version} failed in its {role} on shape "
                f"{list(batch.shape)}; this is a fault of the model or of the service"
            ) from failure
        return np.asarray(output)

    def _padded(self, batch: Array) -> Array:
        """Images [N,H,W,C] -> [N,H',W',C], H' and W' the next multiples of the strides; others as they are."""
        if self.modality == "vector":
            return batch
        below, right = (-size % stride for size, stride in zip(batch.shape[1:3], self.strides, strict=True))
        if below == right == 0:
            return batch
        return np.pad(batch, ((0, 0), (0, below), (0, right), (0, 0)), mode="edge")

    def _percentile(self, error: NDArray[np.float64]) -> NDArray[np.float64]:
        quantiles = self.manifest.reconstruction_error_quantiles
        if quantiles is None:
            raise AssertionError("This is a bug: verified packages that reconstruct have quantiles")
        return np.interp(error, quantiles, np.linspace(0, 100, len(quantiles)))


_UINT8 = np.dtype(np.uint8)


def rejection_reason(folder: str, error: PackageError | SessionFailed | ModelFailed | OSError) -> str:
    """Why the package in `folder` is not served, in a sentence."""
    if isinstance(error, PackageError):
        return str(error)
    if isinstance(error, ModelFailed):
        return f"{folder} fails when it is run: {error.detail}"
    if isinstance(error, OSError):
        return f"{folder} cannot be read: {error.strerror}"
    return f"{folder} cannot be opened by onnxruntime: {error}"


def reconstruction_error(batch: Array, output: Array) -> NDArray[np.float64]:
    """Mean squared error of each sample, float64 [N]: pixels in 0..1 (uint8 / 255), vectors in their own units."""
    scale = 255.0 if batch.dtype == np.uint8 else 1.0
    difference = (batch.astype(np.float64) - output.astype(np.float64)) / scale
    return np.asarray(np.mean(difference.reshape(len(batch), -1) ** 2, axis=1))


def _eight_bits(precision: Precision) -> bool:
    return precision == "int8" or (precision == "auto" and eight_bit_instructions())


def _cropped(output: Array, batch: Array) -> Array:
    """[N,H',W',C] -> [N,H,W,C] of `batch`, C order."""
    if output.shape == batch.shape:
        return output
    return np.ascontiguousarray(output[:, : batch.shape[1], : batch.shape[2]])


def _stride(axis: int | str) -> int:
    """8 for `8*h` (or `h*8`), as torch's exporter writes multiples; 1 for a fixed size or a plain name."""
    found = re.fullmatch(r"(\d+)\*\w+|\w+\*(\d+)", str(axis).replace(" ", ""))
    return max(1, int(found[1] or found[2])) if found else 1


def _shape(port: Port) -> str:
    return "[" + ", ".join(["N", *(str(d) for d in port.shape[1:])]) + "]"
