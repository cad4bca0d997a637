"""Axes of a foreign graph made free: a fixed batch, height and width become dynamic where its nodes allow it.

graph -> ports without sizes, Reshape and Resize without fixed ones -> run at other sizes -> free graph, or None
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, shape_inference

from training.importing.foreign_graph import ForeignGraph

Array = NDArray[Any]


def free_axes(graph: ForeignGraph, input_name: str, axes: Collection[int]) -> ForeignGraph:
    """The graph with these axes of an input dynamic, and all axes of its outputs; whether it runs so is to be tried.

    The same axes of further inputs, where they have the same sizes, become dynamic too.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    values = {value.name: value.type.tensor_type.shape.dim for value in model.graph.input}
    sample = values[input_name]
    fixed = {axis: sample[axis].dim_value for axis in axes if sample[axis].dim_value > 0}
    if fixed:
        _free_sizes(model, fixed)
    for dimensions in values.values():
        for axis in axes:
            if axis < len(dimensions) and dimensions[axis].dim_value in (fixed.get(axis), 0):
                dimensions[axis].Clear()
                dimensions[axis].dim_param = f"axis_{axis}"
    for output in model.graph.output:
        for axis, dimension in enumerate(output.type.tensor_type.shape.dim):
            dimension.Clear()
            dimension.dim_param = f"{output.name}_{axis}"
    del model.graph.value_info[:]
    return replace(graph, model=model)


def _free_sizes(model: onnx.ModelProto, fixed: dict[int, int]) -> None:
    """Rewrite what an exporter of fixed sizes leaves: the batch in Reshape, sizes in Resize."""
    constants = _constants(model)
    shapes = _inferred_shapes(model)
    batch = fixed.get(0)
    for index, node in enumerate(model.graph.node):
        if node.op_type == "Reshape" and batch is not None:
            _free_batch(model, node, constants, batch, index)
        elif node.op_type == "Resize" and (2 in fixed or 3 in fixed) and len(node.input) > 3 and node.input[3]:
            _scale_instead(model, node, constants, shapes, index)


def _free_batch(
    model: onnx.ModelProto, node: onnx.NodeProto, constants: dict[str, Array], batch: int, index: int
) -> None:
    """Reshape to [batch, ...] -> [-1, ...], or [0, ...] (as the input) where another axis is -1."""
    shape = constants.get(node.input[1])
    if shape is None or shape.size < 2 or shape[0] != batch:
        return
    free = shape.copy()
    free[0] = -1 if -1 not in shape else 0
    _replace_input(model, node, 1, free, index)


def _scale_instead(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    constants: dict[str, Array],
    shapes: dict[str, tuple[int, ...]],
    index: int,
) -> None:
    """Resize to fixed sizes -> by a factor, where that is the same in every size: a whole number or its inverse."""
    sizes, source = constants.get(node.input[3]), shapes.get(node.input[0])
    if sizes is None or source is None or len(source) != sizes.size or 0 in source:
        return
    scales = sizes / np.array(source, np.float64)
    if not all(float(scale).is_integer() or float(1 / scale).is_integer() for scale in scales):
        return
    _replace_input(model, node, 2, scales.astype(np.float32), index)
    del node.input[3:]


def _replace_input(model: onnx.ModelProto, node: onnx.NodeProto, position: int, values: Array, index: int) -> None:
    name = f"free_{index}_{position}"
    model.graph.initializer.append(numpy_helper.from_array(values, name))
    node.input[position] = name


def _constants(model: onnx.ModelProto) -> dict[str, Array]:
    """Values of initializers, and of nodes Constant, by name."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.dims}
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    values[node.output[0]] = numpy_helper.to_array(attribute.t)
                elif attribute.name == "value_ints":
                    values[node.output[0]] = np.array(attribute.ints, np.int64)
    return values


def _inferred_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Fixed shapes of tensors by name, as onnx infers them; 0 for an axis that is not known."""
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # noqa: BLE001  (of onnx's C++; then none is known)
        return {}
    return {
        value.name: tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
        for value in (*inferred.value_info, *inferred.input)
    }
