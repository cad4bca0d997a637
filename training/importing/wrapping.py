"""Wrapping: the arithmetic between the ports of the package format and a foreign graph becomes nodes of one graph.

image uint8 [N,H,W,C] -> Cast, scale, order, layout, noise map -> foreign graph -> the same backwards, Round, Clip
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from training.importing.foreign_graph import ForeignGraph
from training.importing.probes.pixel_format import PixelFormat

Array = NDArray[Any]
Axis = int | str

PREFIX = "given/"  # of all names of the foreign graph, so that none collides with a port's


@dataclass(frozen=True)
class Part:
    """What of a foreign graph is used.

    Args:
        graph: its axes already free (training.importing.probes.axes).
        input, output: names of its two tensors.
        constants: name -> value of every further input; a value [...] is expanded over the batch (and, where the input
            is an image, over its height and width).
        first_channels: so many channels (axis 1) of the output are used, None: all.
    """

    graph: ForeignGraph
    input: str
    output: str
    constants: Mapping[str, Array] = field(default_factory=dict)
    first_channels: int | None = None


@dataclass
class _Builder:
    """Nodes and initializers around the foreign graph; every method adds a node and returns its output's name."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(operator, list(inputs), [name], name=f"wrap_{len(self.nodes)}", **attributes)
        )
        return name

    def constant(self, values: Any, dtype: Any) -> str:
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def cast(self, name: str, dtype: np.dtype[Any]) -> str:
        return self.add("Cast", name, to=helper.np_dtype_to_tensor_dtype(dtype))

    def reverse_channels(self, name: str) -> str:
        """[N,H,W,3] with its channels in reverse order."""
        return self.add("Gather", name, self.constant([2, 1, 0], np.int64), axis=3)


_FLOAT = np.dtype(np.float32)


def wrap_images(
    part: Part, source: PixelFormat, target: PixelFormat, port: str, axes: Sequence[Axis], *, is_residual: bool = False
) -> bytes:
    """A graph `image` uint8 [N,H,W,C] -> `port` uint8 [N,H,W,C].

    Args:
        axes: H and W.
        is_residual: the foreign graph's output is subtracted from the image.
    """
    builder = _Builder()
    graph_input = _pixels_to_tensor(builder, "image", source)
    answer = _place(builder, part, graph_input, "image", source)
    output = _tensor_to_pixels(builder, answer, target, port, "image" if is_residual else None)
    shape = ["N", *axes, source.channels]
    return _finish(builder, part, ("image", np.uint8, shape), (output, np.uint8, shape))


def wrap_encoder(part: Part, source: PixelFormat | None, sample: Sequence[Axis], latent: Sequence[Axis]) -> bytes:
    """A graph `image` | `vector` -> `latent` float32.

    Args:
        source: of images; None for vectors.
        sample, latent: axes of the ports after N.
    """
    builder = _Builder()
    name, dtype = ("vector", np.float32) if source is None else ("image", np.uint8)
    tensor = _numbers_to_tensor(builder, part, name) if source is None else _pixels_to_tensor(builder, name, source)
    output = builder.cast(_place(builder, part, tensor, name, source), _FLOAT)
    builder.add("Identity", output, output="latent")
    return _finish(builder, part, (name, dtype, ["N", *sample]), ("latent", np.float32, ["N", *latent]))


def wrap_decoder(part: Part, target: PixelFormat | None, latent: Sequence[Axis], sample: Sequence[Axis]) -> bytes:
    """A graph `latent` float32 -> `image` | `vector`; as wrap_encoder."""
    builder = _Builder()
    output = _place(builder, part, _numbers_to_tensor(builder, part, "latent"), "latent", None)
    if target is not None:
        name = _tensor_to_pixels(builder, output, target, "image")
        return _finish(builder, part, ("latent", np.float32, ["N", *latent]), (name, np.uint8, ["N", *sample]))
    flat = builder.add("Reshape", builder.cast(output, _FLOAT), builder.constant([-1, *sample], np.int64))
    builder.add("Identity", flat, output="vector")
    return _finish(builder, part, ("latent", np.float32, ["N", *latent]), ("vector", np.float32, ["N", *sample]))


def _pixels_to_tensor(builder: _Builder, name: str, pixels: PixelFormat) -> str:
    scale, shift = pixels.factors
    tensor = builder.cast(name, _FLOAT)
    if not (scale == 1).all():
        tensor = builder.add("Mul", tensor, builder.constant(scale, np.float32))
    if shift.any():
        tensor = builder.add("Add", tensor, builder.constant(shift, np.float32))
    if pixels.is_bgr:
        tensor = builder.reverse_channels(tensor)
    if pixels.noise_channels:
        size = builder.add("Shape", tensor, start=0, end=3)
        shape = builder.add("Concat", size, builder.constant([pixels.noise_channels], np.int64), axis=0)
        level = builder.constant([pixels.noise_level], np.float32)
        tensor = builder.add("Concat", tensor, builder.add("Expand", level, shape), axis=3)
    if pixels.layout == "NCHW":
        tensor = builder.add("Transpose", tensor, perm=[0, 3, 1, 2])
    return tensor if pixels.dtype == _FLOAT else builder.cast(tensor, pixels.dtype)


def _tensor_to_pixels(
    builder: _Builder, tensor: str, pixels: PixelFormat, port: str, minuend: str | None = None
) -> str:
    """`port`, uint8: the tensor as pixels, or what it leaves of the image `minuend`."""
    scale, shift = pixels.factors
    tensor = builder.cast(tensor, _FLOAT)
    if pixels.layout == "NCHW":
        tensor = builder.add("Transpose", tensor, perm=[0, 2, 3, 1])
    if pixels.is_bgr:
        tensor = builder.reverse_channels(tensor)
    if shift.any() and minuend is None:
        tensor = builder.add("Sub", tensor, builder.constant(shift, np.float32))
    if not (scale == 1).all():
        tensor = builder.add("Div", tensor, builder.constant(scale, np.float32))
    if minuend is not None:
        tensor = builder.add("Sub", builder.cast(minuend, _FLOAT), tensor)
    bounds = builder.constant(0, np.float32), builder.constant(255, np.float32)
    clipped = builder.add("Clip", builder.add("Round", tensor), *bounds)
    return builder.add("Cast", clipped, output=port, to=onnx.TensorProto.UINT8)


def _numbers_to_tensor(builder: _Builder, part: Part, name: str) -> str:
    """A port of numbers, in the shape and dtype of the graph's input."""
    given = next(tensor for tensor in part.graph.inputs if tensor.name == part.input)
    if given.dtype != _FLOAT:
        name = builder.cast(name, given.dtype)
    if all(axis is not None for axis in given.shape[1:]):
        name = builder.add("Reshape", name, builder.constant([-1, *given.shape[1:]], np.int64))
    return name


def _place(builder: _Builder, part: Part, tensor: str, port: str, pixels: PixelFormat | None) -> str:
    """The foreign graph's nodes behind `tensor`; the name of its output."""
    graph = _add_prefix(part.graph.model.graph)
    builder.add("Identity", tensor, output=PREFIX + part.input)
    for name, value in part.constants.items():
        _expand_constant(builder, part, name, value, port, pixels)
    builder.nodes += graph.node
    builder.initializers += graph.initializer
    output = PREFIX + part.output
    if part.first_channels is not None:
        ends = builder.constant([part.first_channels], np.int64)
        output = builder.add("Slice", output, builder.constant([0], np.int64), ends, builder.constant([1], np.int64))
    return output


def _expand_constant(
    builder: _Builder, part: Part, name: str, value: Array, port: str, pixels: PixelFormat | None
) -> None:
    """A further input as a constant: free axes take N, and the height and width of the port `image`."""
    given = next(tensor for tensor in part.graph.inputs if tensor.name == name)
    fixed = [axis for axis in given.shape if axis is not None]
    if len(fixed) == len(given.shape):
        if value.size == np.prod(fixed):
            value = value.reshape(fixed)
        elif fixed:
            value = np.broadcast_to(value, fixed)
        builder.add("Identity", builder.constant(value, given.dtype), output=PREFIX + name)
        return
    constant = builder.constant(value, given.dtype)
    shape = builder.add("Shape", port)
    picture_axes = {"NCHW": {0: 0, 2: 1, 3: 2}, "NHWC": {0: 0, 1: 1, 2: 2}}[pixels.layout] if pixels else {0: 0}
    sizes = []
    for index, axis in enumerate(given.shape):
        if axis is None and index in picture_axes:
            sizes.append(builder.add("Gather", shape, builder.constant([picture_axes[index]], np.int64), axis=0))
        else:
            sizes.append(builder.constant([axis or 1], np.int64))
    builder.add("Expand", constant, builder.add("Concat", *sizes, axis=0), output=PREFIX + name)


def _finish(
    builder: _Builder, part: Part, source: tuple[str, Any, Sequence[Axis]], target: tuple[str, Any, Sequence[Axis]]
) -> bytes:
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape))
        for name, dtype, shape in (source, target)
    ]
    nodes, initializers = _prune(builder, target[0])
    graph = helper.make_graph(nodes, "model", [values[0]], [values[1]], initializers)
    graph.sparse_initializer.extend(_add_prefix(part.graph.model.graph).sparse_initializer)
    model = helper.make_model(graph, opset_imports=list(part.graph.model.opset_import))
    model.ir_version = helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)
    return model.SerializeToString(deterministic=True)


def _add_prefix(given: onnx.GraphProto) -> onnx.GraphProto:
    """A copy with PREFIX before all names, in subgraphs too, which read the tensors of the graph around them."""
    graph = onnx.GraphProto()
    graph.CopyFrom(given)
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = PREFIX + value.name
    for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)):
        tensor.name = PREFIX + tensor.name
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [PREFIX + name if name else "" for name in names]  # "" is an optional one that is not given
        for attribute in node.attribute:
            if attribute.HasField("g"):
                attribute.g.CopyFrom(_add_prefix(attribute.g))
            for subgraph in attribute.graphs:
                subgraph.CopyFrom(_add_prefix(subgraph))
    return graph


def _prune(builder: _Builder, output: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Only what the output needs: a graph that has several outputs leaves nodes behind."""
    needed, nodes = {output}, []
    for node in reversed(builder.nodes):
        if needed & set(node.output):
            nodes.append(node)
            needed |= _used_names(node)
    return nodes[::-1], [tensor for tensor in builder.initializers if tensor.name in needed]


def _used_names(node: onnx.NodeProto) -> set[str]:
    """Names that the node reads, in its subgraphs too."""
    names = set(node.input)
    for attribute in node.attribute:
        for subgraph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            names |= {output.name for output in subgraph.output}
            for inner in subgraph.node:
                names |= _used_names(inner)
    return names
