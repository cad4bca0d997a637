"""Foreign graph: an ONNX file that was made elsewhere, read whole and brought to an opset of the package format.

file -> not a pickle, ONNX, external data taken in -> local functions inlined -> operators known -> opset converted

The bytes that were given stay beside the converted graph, since parity is measured against them.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import checker, external_data_helper, inliner, version_converter

from service.model.graph import SUPPORTED_OPSETS
from training.errors import ImportRefused

Array = NDArray[Any]

PICKLE_SUFFIXES = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib"}
ZIP, PICKLE_NAME = b"PK\x03\x04", b"data.pkl"  # torch.save writes a zip archive with a pickle in it
MIN_OPSET = 7  # the oldest that onnxruntime runs
KNOWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}  # of the operators that onnxruntime has
NAMELESS_INITIALIZERS = 4  # from this version of the format on, initializers need not be inputs; the converter asks
MAX_BYTES = (1 << 31) - (1 << 20)  # of a graph in one file, by protobuf's limit


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph: its name, dtype, and its axes, None where they are not fixed."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class ForeignGraph:
    """A graph that was made elsewhere.

    Args:
        label: its file's name, for sentences.
        original: the model as it was given, external data taken in.
        model: the same with a supported opset, without local functions.
        files: name -> SHA-256 of each file that was read.
        remarks: what was changed.
        sample_shape: of one sample [...] that it is known to run on, if it is.
    """

    label: str
    original: onnx.ModelProto
    model: onnx.ModelProto
    files: dict[str, str]
    remarks: tuple[str, ...] = ()
    sample_shape: tuple[int, ...] | None = None

    @property
    def opset(self) -> int:
        return _opset(self.model)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Without those that have a default value in the graph."""
        names = {tensor.name for tensor in self.model.graph.initializer}
        return tuple(_tensor(value, self.label) for value in self.model.graph.input if value.name not in names)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return tuple(_tensor(value, self.label) for value in self.model.graph.output)

    @property
    def operators(self) -> set[str]:
        """Names of all operators, those of subgraphs too."""
        return {node.op_type for node in iterate_nodes(self.model.graph)}

    def open(self) -> "Runner":
        """onnxruntime's session of the graph as it was given; ImportRefused if it does not open."""
        return Runner(self.original, self.label)


class Runner:
    """An onnxruntime session on the CPU that runs a graph with named arrays."""

    def __init__(self, model: onnx.ModelProto, label: str) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # trials are expected to fail, and each would print a line
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions share no other base class
            raise ImportRefused(
                f"{label} is not opened by onnxruntime {onnxruntime.__version__}: {_first_line(error)}; "
                "export it again in float32, with operators of the ai.onnx domain"
            ) from error
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: dict[str, Array], output: str) -> Array:
        """One output; raises whatever onnxruntime raises."""
        return np.asarray(self._session.run([output], inputs)[0])

    def try_run(self, inputs: dict[str, Array], output: str) -> Array | str:
        """One output, or the first line of what onnxruntime says."""
        try:
            return self.run(inputs, output)
        except Exception as error:  # noqa: BLE001  (as above)
            return _first_line(error)


# --- reading ---------------------------------------------------------------------------------------------


def read(path: Path) -> ForeignGraph:
    """The graph of an ONNX file; raises ImportRefused, whose sentence has the remedy."""
    label = path.name
    data = read_file(path)
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, UnicodeDecodeError, ValueError) as error:
        raise _refuse_format(label) from error
    if not model.graph.output or not model.graph.node or not model.opset_import:
        raise _refuse_format(label)
    files = {label: hashlib.sha256(data).hexdigest()} | _take_in_external_data(model, path)
    return prepare(model, label, files)


def read_file(path: Path) -> bytes:
    """The bytes of a graph or of weights; ImportRefused if it cannot be read, or is a pickle, which may run code."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImportRefused(f"{path} cannot be read: {error.strerror or error}") from error
    if data[:4] == ZIP and PICKLE_NAME not in data:
        raise ImportRefused(f"{path.name} is a zip archive; unpack it, and give the file that is in it")
    if path.suffix.lower() in PICKLE_SUFFIXES or data[:1] == b"\x80" or data[:4] == ZIP:
        raise ImportRefused(
            f"{path.name} is a pickle, which can run code when it is opened; export the model with torch.onnx.export, "
            "or save its weights with safetensors.torch.save_file and give --torch module.py:build --weights"
        )
    return data


def prepare(model: onnx.ModelProto, label: str, files: dict[str, str]) -> ForeignGraph:
    """The graph with a supported opset and known operators; raises ImportRefused."""
    graph = ForeignGraph(label, model, model, files)
    _ = graph.inputs, graph.outputs  # all of them tensors
    if model.functions:
        graph = replace(graph, model=inliner.inline_local_functions(model))
    _refuse_custom_operators(graph)
    return _convert_opset(graph)


def _refuse_format(label: str) -> ImportRefused:
    return ImportRefused(
        f"{label} is not an ONNX graph; export the model to ONNX (torch.onnx.export, tf2onnx, skl2onnx), "
        "or give --torch module.py:build --weights w.safetensors"
    )


def _take_in_external_data(model: onnx.ModelProto, path: Path) -> dict[str, str]:
    """Load external data beside the file into the model; name -> SHA-256 of its files."""
    locations: dict[str, int] = {}
    for tensor in external_data_helper._get_all_tensors(model):
        if external_data_helper.uses_external_data(tensor):
            location = external_data_helper.ExternalDataInfo(tensor).location
            locations[location] = locations.get(location, 0) + 1
    files = {}
    for location in locations:
        file = path.parent / location
        if Path(location).is_absolute() or not file.resolve().is_relative_to(path.parent.resolve()):
            raise ImportRefused(f"{path.name} keeps data in {location}, outside its own folder; put them beside it")
        if not file.is_file():
            raise ImportRefused(f"{path.name} keeps data in {location}, which is not there; put the file beside it")
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        files[location] = digest.hexdigest()
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, RuntimeError, checker.ValidationError) as error:
        raise ImportRefused(f"data beside {path.name} cannot be read: {_first_line(error)}") from error
    if model.ByteSize() > MAX_BYTES:
        raise ImportRefused(
            f"{path.name} has {model.ByteSize() / 1e9:.1f} GB with its data; a graph must be below 2 GB: store its "
            "weights in float16"
        )
    return files


def iterate_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of subgraphs too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for subgraph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from iterate_nodes(subgraph)


def _refuse_custom_operators(graph: ForeignGraph) -> None:
    foreign = {f"{n.domain}::{n.op_type}" for n in iterate_nodes(graph.model.graph) if n.domain not in KNOWN_DOMAINS}
    if foreign:
        raise ImportRefused(
            f"{graph.label} uses operators that onnxruntime does not have ({', '.join(sorted(foreign)[:5])}); "
            "export the model again with these written as standard operators"
        )


def _convert_opset(graph: ForeignGraph) -> ForeignGraph:
    opset = graph.opset
    if opset in SUPPORTED_OPSETS:
        return graph
    if opset < MIN_OPSET:
        raise ImportRefused(f"{graph.label} has opset {opset}; onnxruntime runs {MIN_OPSET} and above: export it again")
    return convert_opset(graph, SUPPORTED_OPSETS.start if opset < SUPPORTED_OPSETS.start else SUPPORTED_OPSETS.stop - 1)


def convert_opset(graph: ForeignGraph, target: int) -> ForeignGraph:
    """The graph with that opset; ImportRefused if onnx cannot convert it."""
    opset = graph.opset
    if opset == target:
        return graph
    model = graph.model
    if model.ir_version < NAMELESS_INITIALIZERS:
        model = onnx.ModelProto()
        model.CopyFrom(graph.model)
        model.ir_version = NAMELESS_INITIALIZERS
    try:
        converted = version_converter.convert_version(model, target)
    except Exception as error:  # of the converter in C++
        raise ImportRefused(
            f"{graph.label} has opset {opset}, which onnx cannot convert to {target} ({_first_line(error)}); "
            f"export it again with opset_version={max(target, 17)}"
        ) from error
    return replace(graph, model=converted, remarks=(*graph.remarks, f"{graph.label}: opset {opset} became {target}"))


# --- small things ----------------------------------------------------------------------------------------


def _opset(model: onnx.ModelProto) -> int:
    return next((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), 0)


def _tensor(value: onnx.ValueInfoProto, label: str) -> Tensor:
    kind = value.type.WhichOneof("value")
    if kind not in ("tensor_type", None):
        raise ImportRefused(
            f"{label}: {value.name} is a {kind.removesuffix('_type')}, not a tensor; export a graph of one tensor in "
            "and one out"
        )
    tensor = value.type.tensor_type
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except KeyError as error:
        raise ImportRefused(f"{label}: {value.name} has no dtype; export the model again") from error
    return Tensor(value.name, dtype, tuple(d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


Trial = Callable[[Array], "Array | str"]
"""An array -> what a graph answers, or the first line of its error."""
