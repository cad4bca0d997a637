"""Ports of a foreign graph: which of its tensors is the sample, which the answer, what the others hold, its layout.

inputs, outputs, options -> one input, constants, one output -> run as NCHW and NHWC, grey and colour -> what answers
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import ImportRefused
from training.importing.foreign_graph import ForeignGraph, Runner, Tensor
from training.importing.probes.pixel_format import Layout

Array = NDArray[Any]

SIDES = (64, 128, 256, 512)  # pixels, tried in turn where the size is free
REPEATED = 1e-3  # share of the largest magnitude by which two runs may differ
CONSTANT_REMEDY = "write NAME=NUMBER, or NAME=FILE.npy, such as sigma=0.1"
NO_SIDES = range(1, 5)  # pixels: fixed axes as short are channels
FREE_SIDES = (1.0, 1.5)  # height and width differ, so that an output's axes are told apart


@dataclass(frozen=True)
class Connection:
    """How a graph is run: one array in, one out; all other inputs are constants."""

    graph: ForeignGraph
    runner: Runner
    input: Tensor
    output: str
    constants: Mapping[str, Array]

    def try_run(self, array: Array) -> Array | str:
        """The answer, or the first line of onnxruntime's error. A fixed batch is filled with the first sample."""
        batch = self.input.shape[0] if self.input.shape else None
        count = len(array)
        if batch is not None and count != batch:
            parts = [self._run_padded(array[i : i + batch], batch) for i in range(0, count, batch)]
            wrong = next((part for part in parts if isinstance(part, str)), None)
            return np.concatenate(parts)[:count] if wrong is None else wrong
        return self._run(array)

    def run(self, array: Array) -> Array:
        """The answer; ImportRefused if the graph fails."""
        answer = self.try_run(array)
        if isinstance(answer, str):
            raise ImportRefused(f"{self.graph.label} fails on {self.input.name} {list(array.shape)}: {answer}")
        return answer

    def run_repeatably(self, array: Array) -> Array:
        """The answer; ImportRefused if it is not finite, or another one the next time."""
        answer = self.run(array)
        if not np.isfinite(answer).all():
            raise ImportRefused(
                f"{self.graph.label} answers NaN or infinity to {self.input.name} {list(array.shape)} (tried "
                "are pictures, noise, black and white); where it divides by a norm, add a small number to that"
            )
        difference = np.abs(answer.astype(np.float64) - self.run(array)).max(initial=0)
        if difference > REPEATED * np.abs(answer).max(initial=0):
            raise ImportRefused(
                f"{self.graph.label} answers differently each time, as dropout does, and a VAE that draws its latent; "
                "export it in evaluation mode, or name the output that is the mean: --output NAME"
            )
        return answer

    def _run_padded(self, array: Array, batch: int) -> Array | str:
        padding = np.repeat(array[:1], batch - len(array), axis=0)
        answer = self._run(np.concatenate([array, padding]))
        return answer if isinstance(answer, str) else answer[: len(array)]

    def _run(self, array: Array) -> Array | str:
        try:
            constants = {
                tensor.name: self._expand(tensor, array)
                for tensor in self.graph.inputs
                if tensor.name in self.constants
            }
        except ValueError as error:  # of numpy: the shapes do not fit
            return f"a constant does not fit its input: {error}"
        return self.runner.try_run({self.input.name: array.astype(self.input.dtype), **constants}, self.output)

    def _expand(self, tensor: Tensor, array: Array) -> Array:
        """A constant in the shape of its input: free axes take the sizes of the sample's same axes."""
        shape = [axis or (array.shape[i] if i < array.ndim else 1) for i, axis in enumerate(tensor.shape)]
        if len(shape) == 4 and array.ndim == 4 and tensor.shape[1] is None:
            shape[1] = 1
        value = self.constants[tensor.name].astype(tensor.dtype)
        if not tensor.shape:  # a scalar, or an input whose axes are not stated
            return value.reshape(()) if value.size == 1 else value
        return value.reshape(shape) if value.size == np.prod(shape) else np.broadcast_to(value, shape).copy()


def connect(graph: ForeignGraph, constants: Mapping[str, Array], outputs: Sequence[str]) -> Connection:
    """The one input that is no constant, and the one output; raises ImportRefused, which names all of them.

    Args:
        constants: of this graph's inputs.
        outputs: names that the user gave; at most one is this graph's.
    """
    free = [tensor for tensor in graph.inputs if tensor.name not in constants]
    if not free and constants:
        raise ImportRefused(
            f"{graph.label}: all of its inputs are constants, {', '.join(constants)}; leave out --constant for the one "
            "that takes the samples"
        )
    for tensor in graph.inputs:
        if tensor.name in constants:
            _check_constant(graph, tensor, constants[tensor.name])
    if len(free) != 1:
        shapes = ", ".join(f"{t.name} {_format_shape(t)}" for t in free) or "none that is no constant"
        raise ImportRefused(
            f"{graph.label} has the inputs {shapes}; give all but the sample as constants: "
            f"--constant {free[-1].name if free else 'NAME'}=VALUE"
        )
    names = [tensor.name for tensor in graph.outputs]
    chosen = [name for name in outputs if name in names] or names
    if len(chosen) != 1:
        shapes = ", ".join(f"{tensor.name} {_format_shape(tensor)}" for tensor in graph.outputs)
        raise ImportRefused(f"{graph.label} has the outputs {shapes}; name one with --output {names[0]}")
    for tensor in (free[0], next(output for output in graph.outputs if output.name == chosen[0])):
        if tensor.dtype.kind not in "fiu":
            raise ImportRefused(
                f"{graph.label} has {tensor.name} in {tensor.dtype}; export it with float32 or float16 in and out"
            )
    return Connection(graph, graph.open(), free[0], chosen[0], constants)


def _check_constant(graph: ForeignGraph, tensor: Tensor, value: Array) -> None:
    """ImportRefused if the value cannot be brought to the input's axes."""
    axes = tensor.shape
    is_fitting = value.size == 1 or not axes or (None not in axes and value.size == np.prod([a or 1 for a in axes]))
    if not is_fitting and value.ndim <= len(axes):
        pairs = zip(value.shape[::-1], axes[::-1], strict=False)
        is_fitting = all(size == 1 or axis in (None, size) for size, axis in pairs)
    if not is_fitting:
        raise ImportRefused(
            f"{graph.label}: the constant of {tensor.name} has the shape {list(value.shape)}, the input takes "
            f"{_format_shape(tensor)}; give one number, or an array of that shape"
        )


def parse_constants(texts: Sequence[str]) -> dict[str, Array]:
    """`sigma=0.1` -> {"sigma": 0.1}; `map=map.npy` reads an array."""
    constants: dict[str, Array] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            number = np.load(Path(value), allow_pickle=False) if value.endswith(".npy") else np.float64(value)
        except (OSError, ValueError, EOFError) as error:
            raise ImportRefused(f"--constant {text}: {CONSTANT_REMEDY}") from error
        if not name or np.asarray(number).dtype.kind not in "fiub":
            raise ImportRefused(f"--constant {text}: {CONSTANT_REMEDY}")
        if not np.isfinite(number).all():
            raise ImportRefused(f"--constant {text}: NaN and infinity are no values of an input")
        constants[name] = np.asarray(number)
    return constants


# --- pictures --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PictureInput:
    """An input that takes pictures: `channels` of the picture, `noise_channels` beside them; a size that runs."""

    layout: Layout
    channels: int
    noise_channels: int
    height: int
    width: int

    def spatial_axes(self) -> tuple[int, int]:
        return (2, 3) if self.layout == "NCHW" else (1, 2)

    def shape(self, count: int, height: int, width: int) -> tuple[int, ...]:
        """Of the input tensor."""
        channels = self.channels + self.noise_channels
        return (count, channels, height, width) if self.layout == "NCHW" else (count, height, width, channels)


def picture_candidates(tensor: Tensor, *, has_noise_map: bool) -> list[PictureInput]:
    """Layouts and channel counts that the axes allow; empty if it takes no pictures.

    Those whose number of channels is fixed come first, then NCHW, then colour: [?,?,?,3] may be run as NCHW of width 3.
    """
    if len(tensor.shape) != 4:
        return []
    candidates = []
    layouts: tuple[tuple[Layout, int, int, int], ...] = (("NCHW", 1, 2, 3), ("NHWC", 3, 1, 2))
    for layout, channel_axis, y, x in layouts:
        for channels in (3, 1):
            noise_channels = int(has_noise_map)
            if tensor.shape[channel_axis] not in (None, channels + noise_channels):
                continue
            if any(side in NO_SIDES for side in (tensor.shape[y], tensor.shape[x])):
                continue  # [N,4,?,?] has four channels, and is no picture of height 4
            for side in SIDES:
                height, width = (
                    tensor.shape[axis] or round(side * factor) for axis, factor in zip((y, x), FREE_SIDES, strict=True)
                )
                candidates.append(PictureInput(layout, channels, noise_channels, height, width))
                if tensor.shape[y] is not None and tensor.shape[x] is not None:
                    break
    return sorted(candidates, key=lambda candidate: tensor.shape[1 if candidate.layout == "NCHW" else 3] is None)


def find_picture_input(connection: Connection, *, has_noise_map: bool) -> tuple[PictureInput, Array]:
    """The first candidate that the graph answers, and its answer to noise in 0..1; raises ImportRefused."""
    tensor = connection.input
    candidates = picture_candidates(tensor, has_noise_map=has_noise_map)
    known = connection.graph.sample_shape
    if known is not None:
        candidates = [replace(c, height=known[1], width=known[2]) for c in candidates[:1]] + candidates
    failures: list[str] = []
    for candidate in candidates:
        batch = tensor.shape[0] or 1
        noise = np.random.default_rng(0).random(candidate.shape(batch, candidate.height, candidate.width))
        answer = connection.try_run(noise)
        if not isinstance(answer, str):
            return candidate, connection.run_repeatably(noise)
        failures.append(answer)
    channel_axes = {tensor.shape[axis] for axis in (1, 3)} if len(tensor.shape) == 4 else set()
    if channel_axes & {2, 4} and not has_noise_map:
        raise ImportRefused(
            f"{connection.graph.label} takes {tensor.name} {_format_shape(tensor)}; if one channel is a map of the "
            "noise's strength, give its value: --noise-map 0.1; pictures with transparency are not taken"
        )
    if failures:
        likely = _find_likely(tensor, candidates, failures)
        raise ImportRefused(
            f"{connection.graph.label} fails on every picture that was tried: {likely}; if its nodes hold the size "
            "that it was exported for, export it again with torch.onnx.export(..., dynamo=True, dynamic_shapes=...)"
        )
    if not tensor.shape:
        raise ImportRefused(
            f"{connection.graph.label} does not state the axes of {tensor.name}; export it again, or set them with "
            f"onnx.tools.update_model_dims: {{'{tensor.name}': ['N', 3, 'H', 'W']}}"
        )
    raise ImportRefused(
        f"{connection.graph.label} takes {tensor.name} {_format_shape(tensor)}; give a graph of pictures with 1 (grey) "
        "or 3 (colour) channels, [N,C,H,W] or [N,H,W,C]"
    )


def _find_likely(tensor: Tensor, candidates: Sequence[PictureInput], failures: Sequence[str]) -> str:
    """The failure of the first candidate whose channels the input's axes name."""
    for candidate, failure in zip(candidates, failures, strict=True):
        if tensor.shape[1 if candidate.layout == "NCHW" else 3] is not None:
            return failure
    return failures[0]


def find_output_layout(
    shape: tuple[int, ...], channels: int, height: int, width: int, preferred: Layout
) -> Layout | None:
    """The layout in which an output of that shape is a picture of that size; None if it is in none."""
    fitting = {
        "NCHW": shape[1:] == (channels, height, width),
        "NHWC": shape[1:] == (height, width, channels),
    }
    other: Layout = "NHWC" if preferred == "NCHW" else "NCHW"
    return next((layout for layout in (preferred, other) if fitting[layout]), None)


def _format_shape(tensor: Tensor) -> str:
    return "[" + ",".join("?" if axis is None else str(axis) for axis in tensor.shape) + "]"
