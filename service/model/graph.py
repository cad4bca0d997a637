"""ONNX graphs of a package, verified before they run: self-contained, known opset, the ports of the contract.

bytes -> verify_graph -> Ports -> verify_ports_agree | PackageError
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx
from google.protobuf.message import DecodeError, Message

from service.model.errors import GraphRefused, OpsetMismatch, PortsMismatch
from service.model.manifest import Role

SUPPORTED_OPSETS = range(17, 27)  # 17: LayerNormalization; 26: the newest that onnxruntime 1.32 runs


@dataclass(frozen=True)
class Port:
    """One input or output of a graph. A whole number in `shape` is fixed, a name is dynamic."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def count_numbers(self) -> int:
        """Numbers of one sample, 0 if its shape is dynamic."""
        sizes = [axis for axis in self.shape[1:] if isinstance(axis, int)]
        return math.prod(sizes) if len(sizes) == len(self.shape) - 1 else 0


@dataclass(frozen=True)
class Ports:
    """All inputs and outputs of a graph."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def verify_graph(role: Role, data: bytes, opset: int, label: str) -> Ports:
    """The ports of a graph that keeps the contract.

    Args:
        opset: the one that the manifest declares.
        label: what errors call the graph, "<name>/<version>/<file>".
    Raises:
        GraphRefused, OpsetMismatch, PortsMismatch.
    """
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, UnicodeDecodeError, ValueError) as error:
        raise GraphRefused(f"{label} is not an ONNX graph") from error
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise GraphRefused(f"{label} keeps tensor {tensor.name!r} outside the graph; graphs must be self-contained")
    opsets = {o.domain or "ai.onnx": o.version for o in model.opset_import}
    graph_opset = opsets.get("ai.onnx")
    if graph_opset != opset:
        raise OpsetMismatch(f"{label} uses opset {graph_opset}, the manifest says {opset}")
    if opset not in SUPPORTED_OPSETS:
        raise OpsetMismatch(
            f"{label} uses opset {opset}; supported are {SUPPORTED_OPSETS.start} to {SUPPORTED_OPSETS.stop - 1}"
        )
    initializer_names = {tensor.name for tensor in model.graph.initializer}
    ports = Ports(
        tuple(_port(value) for value in model.graph.input if value.name not in initializer_names),
        tuple(_port(value) for value in model.graph.output),
    )
    _verify_ports(role, ports, label)
    return ports


_PORT_TYPES: dict[str, tuple[tuple[str, ...], int | None]] = {  # port: dtypes, rank (None: at least 2)
    "image": (("uint8", "uint16"), 4),  # uint16: of denoisers of one graph
    "denoised": (("uint8", "uint16"), 4),
    "vector": (("float32", "float64"), 2),
    "latent": (("float32",), None),
}
_ROLE_PORTS: dict[Role, tuple[tuple[str, str], ...]] = {  # role: allowed (input, output)
    "encoder": (("image", "latent"), ("vector", "latent")),
    "decoder": (("latent", "image"), ("latent", "vector")),
    "denoiser": (("image", "denoised"),),
    "denoiser-int8": (("image", "denoised"),),
}


def _verify_ports(role: Role, ports: Ports, label: str) -> None:
    names = tuple(p.name for p in ports.inputs), tuple(p.name for p in ports.outputs)
    port_pairs = _ROLE_PORTS[role]
    if names not in {((i,), (o,)) for i, o in port_pairs}:
        expected = " or ".join(f"{i} -> {o}" for i, o in port_pairs)
        raise PortsMismatch(
            f"{label} has ports {', '.join(names[0])} -> {', '.join(names[1])}; a {role}'s are {expected}"
        )
    for port in (*ports.inputs, *ports.outputs):
        dtypes, rank = _PORT_TYPES[port.name]
        if port.dtype not in dtypes:
            raise PortsMismatch(f"{label}: port {port.name} is {port.dtype}, must be {' or '.join(dtypes)}")
        if port.dtype == "uint16" and role not in ("denoiser", "denoiser-int8"):
            raise PortsMismatch(f"{label}: port {port.name} is uint16; only a denoiser of one graph may have 16 bits")
        if (rank is not None and len(port.shape) != rank) or len(port.shape) < 2:
            raise PortsMismatch(f"{label}: port {port.name} has rank {len(port.shape)}, must be {rank or '2 or more'}")
        if any(isinstance(axis, int) and axis < 1 for axis in port.shape[1:]):
            raise PortsMismatch(f"{label}: port {port.name} has an axis of less than 1: {list(port.shape)}")
        if isinstance(port.shape[0], int):
            raise PortsMismatch(f"{label}: port {port.name} has a fixed batch of {port.shape[0]}; N must be dynamic")
        if port.name in {"image", "denoised"} and port.shape[3] not in (1, 3):
            raise PortsMismatch(f"{label}: port {port.name} has {port.shape[3]} channels, must be 1 (grey) or 3 (RGB)")
        if port.name == "vector" and not isinstance(port.shape[1], int):
            raise PortsMismatch(f"{label}: port vector must have a fixed length")


def verify_ports_agree(ports: Mapping[Role, Ports], label: str) -> None:
    """Check that a decoder's input has the shape of its encoder's output, and so on; raises PortsMismatch."""
    shapes: dict[str, tuple[int | None, ...]] = {}
    dtypes: dict[str, str] = {}
    for role_ports in ports.values():
        for port in (*role_ports.inputs, *role_ports.outputs):
            name = "image" if port.name == "denoised" else port.name
            if dtypes.setdefault(name, port.dtype) != port.dtype:
                raise PortsMismatch(
                    f"{label}: its graphs disagree on the dtype of {name}: {dtypes[name]} and {port.dtype}"
                )
            shape = tuple(d if isinstance(d, int) else None for d in port.shape)
            if shapes.setdefault(name, shape) != shape:
                raise PortsMismatch(f"{label}: its graphs disagree on the shape of {name}: {shapes[name]} and {shape}")
    if {"image", "vector"} <= set(shapes):
        raise PortsMismatch(f"{label}: one graph has images, another vectors")


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else (d.dim_param or "?") for d in tensor.shape.dim)
    try:
        dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except KeyError:  # no tensor, or a type that this onnx does not know
        dtype = "undefined"
    return Port(value.name, dtype, shape)


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Every tensor anywhere in a protobuf: initializers, attributes, subgraphs, functions, sparse ones."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if field.is_repeated else (value,):
                yield from _tensors(child)
