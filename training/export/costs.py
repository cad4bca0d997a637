"""Costs of a package, counted in its ONNX graphs: parameters, bytes, multiply-adds of one sample.

graphs -> shapes inferred for N = 1 -> MatMul, Gemm, Conv, ConvTranspose -> Cost
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper, shape_inference

FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16}
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Cost:
    """`parameters`: numbers in float initializers; `multiply_adds`: those of matrix products and convolutions."""

    parameters: int
    bytes: int
    multiply_adds: int


def count_costs(graphs: Iterable[bytes]) -> Cost:
    """The sum over ONNX graphs whose only dynamic axis is N; counted for N = 1."""
    costs = [_count_graph(data) for data in graphs]
    return Cost(sum(c.parameters for c in costs), sum(c.bytes for c in costs), sum(c.multiply_adds for c in costs))


def _count_graph(data: bytes) -> Cost:
    model = onnx.load_model_from_string(data)
    graph = model.graph
    del graph.value_info[:]  # it holds the name N, not 1
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: Shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    parameters = sum(math.prod(t.dims) for t in graph.initializer if t.data_type in FLOATS and len(t.dims))
    return Cost(parameters, len(data), sum(_multiply_adds(node, shapes) for node in graph.node))


def _multiply_adds(node: onnx.NodeProto, shapes: Shapes) -> int:
    match node.op_type:
        case "MatMul":
            return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
        case "Gemm":
            is_transposed = any(a.name == "transA" and helper.get_attribute_value(a) for a in node.attribute)
            return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if is_transposed else 1]
        case "Conv":  # weights [out, in / groups, ...]
            return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
        case "ConvTranspose":  # weights [in, out / groups, ...]
            return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])
    return 0
