"""Graph editing: nodes and constants of an ONNX graph, found by name and replaced in place.

onnx.ModelProto -> find_nodes, find_producer, read_constant -> replace_node, set_constant, add_constant
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_Message = TypeVar("_Message", onnx.NodeProto, onnx.TensorProto)


def find_nodes(model: onnx.ModelProto, operator: str) -> list[onnx.NodeProto]:
    """All nodes of that operator, in the graph's order."""
    return [node for node in model.graph.node if node.op_type == operator]


def find_producer(model: onnx.ModelProto, tensor: str) -> onnx.NodeProto:
    """The node whose output is `tensor`; raises StopIteration for inputs of the graph and constants."""
    return next(node for node in model.graph.node if tensor in node.output)


def find_consumers(model: onnx.ModelProto, tensor: str) -> list[onnx.NodeProto]:
    """The nodes that take `tensor`."""
    return [node for node in model.graph.node if tensor in node.input]


def is_computed(model: onnx.ModelProto, tensor: str) -> bool:
    """Whether a node makes `tensor`, which is neither an input of the graph nor a constant."""
    return any(tensor in node.output for node in model.graph.node)


def read_attribute(node: onnx.NodeProto, name: str) -> Sequence[int]:
    """Its value; raises StopIteration if the node does not have it."""
    return next(helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name)


def read_constant(model: onnx.ModelProto, name: str) -> NDArray[Any]:
    """The values of an initializer, of the type that it has."""
    return np.asarray(numpy_helper.to_array(_find_initializer(model, name)))


def set_constant(model: onnx.ModelProto, name: str, values: NDArray[Any]) -> None:
    """Replace the values of an initializer."""
    _find_initializer(model, name).CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))


def add_constant(model: onnx.ModelProto, name: str, values: NDArray[Any]) -> None:
    """Add an initializer."""
    model.graph.initializer.append(numpy_helper.from_array(values, name))


def replace_node(model: onnx.ModelProto, node: onnx.NodeProto, replacement: Sequence[onnx.NodeProto]) -> None:
    """Put other nodes, which may include it, in the place of a node of that name."""
    nodes = list(model.graph.node)
    index = next(i for i, candidate in enumerate(nodes) if candidate.name == node.name)
    nodes[index : index + 1] = replacement
    copies = [_copy(member) for member in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def remove_unused(model: onnx.ModelProto) -> None:
    """Remove nodes and constants that no output of the graph depends on; nodes come behind those that they need."""
    producers = {tensor: node for node in model.graph.node for tensor in node.output}
    ordered: dict[int, onnx.NodeProto] = {}
    pending = [producers[output.name] for output in reversed(model.graph.output)]
    while pending:
        needed = [producers[tensor] for tensor in pending[-1].input if tensor in producers]
        missing = [node for node in needed if id(node) not in ordered]
        if missing:
            pending.extend(missing)
        else:
            node = pending.pop()
            ordered.setdefault(id(node), node)
    used = {tensor for node in ordered.values() for tensor in node.input}
    nodes = [_copy(node) for node in ordered.values()]
    initializers = [_copy(tensor) for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.node[:]
    del model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(initializers)


def _find_initializer(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def _copy(message: _Message) -> _Message:
    duplicate = type(message)()
    duplicate.CopyFrom(message)
    return duplicate
