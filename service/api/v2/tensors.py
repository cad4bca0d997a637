"""Wire format of /v2 (Open Inference Protocol): named tensors, as numbers in the JSON or as bytes after it.

body, Inference-Header-Content-Length -> JSON [+ binary tensors] -> Payload        Result -> JSON [+ binary tensors]

https://github.com/kserve/open-inference-protocol, and Triton's binary tensor data extension: little-endian,
row-major, in the order of the JSON. A binary input is a view of the body (copied only if it is not aligned to its
dtype); a binary output is copied once, into the response's body.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from starlette.responses import Response

from service.api.query import PARAMETERS, V2_BODY_PARAMETERS, parse_parameters, reject_v1_parameters
from service.codecs import arrays
from service.codecs.buffers import join_in_slices
from service.codecs.formats import JSON, OCTET_STREAM
from service.codecs.json_documents import json_spans, json_writer
from service.codecs.json_documents.large_json import LARGE_BYTES, Outline
from service.errors import InvalidInput, MalformedBody, UnsupportedEncoding
from service.inference import cost
from service.inference.engine import Result
from service.inference.inputs import Batch, Images
from service.inference.operations import OPERATIONS, port_of
from service.inference.options import Options
from service.inference.payload import Payload, PayloadPart
from service.model.graph import Port
from service.model.manifest import Operation
from service.model.runtime import Array, Model

HEADER_LENGTH = "Inference-Header-Content-Length"
DATATYPES = {"uint8": "UINT8", "uint16": "UINT16", "float32": "FP32", "float64": "FP64"}
_DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items()}
_MEMBERS = ("id", "parameters", "inputs", "outputs", "model_name", "model_version")
_FIT_MODES = ", ".join(PARAMETERS["fit"].schema["enum"])
_IGNORED_PARAMETERS = ("content_type",)  # a hint for MLServer's codecs; the datatype suffices here


@dataclass(frozen=True)
class Tensor:
    """Metadata of one input or output: `shape` has -1 for dynamic sizes."""

    name: str
    datatype: str
    shape: list[int]


def input_tensor(model: Model, operation: Operation) -> Tensor:
    """The input of an operation: `image` UINT8, `vector` FP32 or FP64, `latent` FP32; raises OperationMissing (409)."""
    return _port_tensor(model.input_port(operation))


def output_tensors(model: Model, operation: Operation) -> tuple[Tensor, ...]:
    """The outputs of an operation, in the order of its responses."""
    return tuple(
        Tensor(output.name, "FP64", [-1])
        if output.port is None
        else _port_tensor(port_of(model, output.port), output.name)
        for output in OPERATIONS[operation].outputs
    )


def _port_tensor(port: Port, name: str = "") -> Tensor:
    sizes = (size if isinstance(size, int) else -1 for size in port.shape[1:])
    return Tensor(name or port.name, DATATYPES[port.dtype], [-1, *sizes])


@dataclass(slots=True)
class V2Format:
    """A service.api.wire_format.WireFormat.

    Args:
        name: of the model, as in the URL.
        header_length, encoding: headers Inference-Header-Content-Length and Content-Encoding.
        options: of the URL's query; parameters of the request's body take precedence.
        seconds: the header Request-Deadline; the parameter `timeout` takes precedence.
        max_seconds: limit of the parameter `timeout`.
    """

    name: str
    model: Model
    operation: Operation
    header_length: str | None
    encoding: str | None
    options: Options
    seconds: float | None
    max_seconds: float
    _outline: Outline | None = None
    _id: str | None = None
    _output_tensors: tuple[Tensor, ...] = ()
    _requested_outputs: dict[str, bool] = field(default_factory=dict)  # name -> whether as bytes

    def parsing_cost(self, body: bytes) -> int:
        if self.header_length is not None and self.header_length.isdecimal():
            size = min(int(self.header_length), len(body))
            return size * cost.JSON_BYTE + (len(body) - size) * cost.COPIED_BYTE
        return len(body) * cost.JSON_BYTE

    def count_numbers(self, body: bytes) -> int:
        end = self._find_end(body)
        if end <= LARGE_BYTES:
            return 0
        self._outline = Outline(body, end)
        return self._outline.numbers

    def parse(self, body: bytes) -> Payload:
        """The request's one input [N,...], of the port's rank and datatype.

        Raises:
            MalformedBody: no JSON object, or inconsistent lengths (400).
            UnsupportedEncoding: a compressed body (415).
            InvalidInput: names, datatypes, shapes, parameters or values that the model does not accept (422).
        """
        if self.encoding not in (None, "", "identity"):
            raise UnsupportedEncoding(str(self.encoding))
        reject_v1_parameters(self.options)
        document, start = self._read_document(body)
        for member in document:
            if member not in _MEMBERS:
                raise InvalidInput(f"the request has a member {member[:100]!r}; allowed are {', '.join(_MEMBERS)}")
        request_id = document.get("id")
        if request_id is not None and not isinstance(request_id, str):
            raise InvalidInput("id must be text")
        self._id = request_id
        is_binary = self._read_parameters(_object(document, "parameters", "the request"))
        self._output_tensors = output_tensors(self.model, self.operation)
        self._requested_outputs = self._read_outputs(document.get("outputs"), is_binary=is_binary)
        tensor = input_tensor(self.model, self.operation)
        array = self._read_input(document.get("inputs"), body, start, tensor)
        return Payload((PayloadPart(array, f"input {tensor.name}"),), "npy")

    def _read_document(self, body: bytes) -> tuple[dict[str, Any], int]:
        """(the JSON object, the offset of its end)."""
        end = self._find_end(body)
        if end <= LARGE_BYTES:
            document = arrays.parse_json(body[:end])
        else:
            outline, self._outline = self._outline or Outline(body, end), None  # it holds the body
            document = outline.parse()
        if not isinstance(document, dict):
            raise MalformedBody('the request is no JSON object; send {"inputs": [...]}')
        return document, end

    def _find_end(self, body: bytes) -> int:
        """The length of the JSON; raises MalformedBody if the header that says it cannot be right."""
        if self.header_length is None:
            return len(body)
        if not self.header_length.isdecimal() or not 0 < int(self.header_length[:20]) <= len(body):
            raise MalformedBody(
                f"{HEADER_LENGTH} is {self.header_length[:100]!r}; it must be the length of the JSON in bytes, "
                f"1 to the body's {len(body)}"
            )
        return int(self.header_length)

    def _read_parameters(self, parameters: Mapping[str, Any]) -> bool:
        """Set `options` and `seconds`; whether all outputs are sent as bytes unless they say otherwise."""
        is_binary, pairs = False, []
        for name, value in parameters.items():
            if name == "binary_data_output":
                is_binary = _boolean(value, name)
            elif name == "timeout":
                self.seconds = self._parse_timeout(value)
            elif name in V2_BODY_PARAMETERS:
                pairs.append((name, str(value)))
            elif name not in _IGNORED_PARAMETERS:
                *names, last = sorted(("binary_data_output", "timeout", *V2_BODY_PARAMETERS))
                raise InvalidInput(
                    f"the request has a parameter {name[:100]!r}; allowed are {', '.join(names)} and {last}"
                )
        if pairs:
            self.options = parse_parameters(pairs, self.operation, self.options)
        return is_binary

    def _parse_timeout(self, value: object) -> float | None:
        """Microseconds, as Triton's clients send them -> seconds; 0 leaves the deadline as it is."""
        maximum = self.max_seconds * 1e6
        if type(value) is not int or not 0 <= value <= maximum:
            raise InvalidInput(
                f"timeout is {str(value)[:100]}; allowed are whole microseconds, 0 (none) to {maximum:.0f}"
            )
        return value / 1e6 if value else self.seconds

    def _read_outputs(self, outputs: object, *, is_binary: bool) -> dict[str, bool]:
        """Requested output -> whether it is sent as bytes; all of them if none is named."""
        names = [tensor.name for tensor in self._output_tensors]
        if outputs is None or outputs == []:
            return dict.fromkeys(names, is_binary)
        requested: dict[str, bool] = {}
        for output in _objects(outputs, "outputs"):
            name = output.get("name")
            if name not in names:
                raise InvalidInput(f"{self.name} has no output {str(name)[:100]!r}; it has {', '.join(names)}")
            if name in requested:
                raise InvalidInput(f"the output {name} is requested twice")
            parameters = _object(output, "parameters", f"output {name}")
            _check_parameters(parameters, f"output {name}", "binary_data")
            requested[name] = _boolean(parameters.get("binary_data", is_binary), "binary_data")
        return requested

    def _read_input(self, inputs: object, body: bytes, start: int, tensor: Tensor) -> Array:
        """The input's array [N,...]; bytes begin at `start` of the body."""
        signature = f"{self.name} takes {tensor.name} {tensor.datatype} {tensor.shape}"
        entries = _objects(inputs, "inputs") if inputs is not None else []
        if len(entries) != 1:
            raise InvalidInput(f"the request has {len(entries)} inputs; {signature}")
        (entry,) = entries
        if entry.get("name") != tensor.name:
            raise InvalidInput(f"the request has an input {str(entry.get('name'))[:100]!r}; {signature}")
        if entry.get("datatype") != tensor.datatype:
            raise InvalidInput(f"input {tensor.name} has datatype {str(entry.get('datatype'))[:100]!r}; {signature}")
        shape = self._read_shape(entry.get("shape"), tensor, signature)
        parameters = _object(entry, "parameters", f"input {tensor.name}")
        _check_parameters(parameters, f"input {tensor.name}", "binary_data_size")
        size = parameters.get("binary_data_size")
        if size is None:
            if start != len(body):
                raise MalformedBody(f"{len(body) - start} bytes follow the JSON, and no input says binary_data_size")
            return _from_json(entry.get("data"), shape, tensor)
        if "data" in entry:
            raise InvalidInput(f"input {tensor.name} has data and binary_data_size; send one of them")
        return _from_bytes(body, start, size, shape, tensor)

    def _read_shape(self, shape: object, tensor: Tensor, signature: str) -> tuple[int, ...]:
        """The declared shape, which must be the model's, except for an image's sides with the parameter `fit`."""
        if not isinstance(shape, list) or any(type(size) is not int or size < 0 for size in shape):
            raise InvalidInput(
                f"input {tensor.name} has shape {str(shape)[:100]}; it must be whole numbers: {signature}"
            )
        resized_axes = (1, 2) if self.options.fit is not None else ()
        if len(shape) != len(tensor.shape) or any(
            expected not in (-1, size) and axis not in resized_axes
            for axis, (expected, size) in enumerate(zip(tensor.shape, shape, strict=True))
        ):
            hint = f"; the parameter fit ({_FIT_MODES}) has images resized" if tensor.name == "image" else ""
            raise InvalidInput(f"input {tensor.name} has shape {str(shape)[:100]}; {signature}{hint}")
        if math.prod(shape) == 0:
            raise InvalidInput(f"input {tensor.name} has shape {shape}: it is empty; at least one sample is needed")
        return tuple(shape)

    def negotiate(self, payload: Payload, inputs: Batch | Images) -> None:
        """The request's body says which outputs are sent as bytes."""

    def serialization_cost(self, result: Result) -> int:
        return result.nbytes * (cost.COPIED_BYTE if all(self._requested_outputs.values()) else cost.JSON_BYTE)

    def serialize(self, result: Result) -> Response:
        arrays_by_name = _name_arrays(result, self._output_tensors)
        outputs, chunks = [], []
        for name, is_binary in self._requested_outputs.items():
            array = arrays_by_name[name]
            output: dict[str, Any] = {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": array.shape}
            flat = array.reshape(-1)
            if is_binary:
                output["parameters"] = {"binary_data_size": array.nbytes}
                chunks.append(flat.astype(array.dtype.newbyteorder("<"), copy=False).view(np.uint8).data)
            else:
                output["data"] = flat
            outputs.append(output)
        document: dict[str, Any] = {"model_name": self.name, "model_version": str(self.model.manifest.version)}
        if self._id is not None:
            document["id"] = self._id
        document["outputs"] = outputs
        head = json_writer.write_by_size(document, result.nbytes)
        if not chunks:
            return Response(head, media_type=JSON)
        return Response(
            join_in_slices((head, *chunks)), media_type=OCTET_STREAM, headers={HEADER_LENGTH: str(len(head))}
        )


def _name_arrays(result: Result, tensors: Sequence[Tensor]) -> dict[str, Array]:
    """Output name -> array [N,...], C-contiguous."""
    samples = result.samples
    if isinstance(samples, tuple):
        samples = samples[0][None] if len(samples) == 1 else np.stack(samples)
    values = (samples, result.error, result.percentile)
    return {
        tensor.name: np.ascontiguousarray(value)
        for tensor, value in zip(tensors, values, strict=False)
        if value is not None
    }


def _from_json(data: object, shape: tuple[int, ...], tensor: Tensor) -> Array:
    """Nested or flat numbers of JSON -> array of `shape` and of the tensor's dtype."""
    label = f"input {tensor.name}"
    if data is None:
        raise InvalidInput(f"{label} has no data")
    dtype = np.dtype(_DTYPES[tensor.datatype])
    numbers = json_spans.read_numbers(data, f"data of {label}", dtype)
    count = math.prod(shape)
    if numbers.shape not in (shape, (count,)):
        raise InvalidInput(
            f"{label} has shape {list(shape)}, and its data {list(numbers.shape)}; it must be that, or {count} numbers "
            "in one list"
        )
    array: Array = numbers if dtype.kind == "u" else arrays.to_floats(numbers, dtype.name, label)
    return array.reshape(shape)


def _from_bytes(body: bytes, start: int, size: object, shape: tuple[int, ...], tensor: Tensor) -> Array:
    """A view of the body as an array of `shape`; a copy if it is not aligned."""
    label = f"input {tensor.name}"
    dtype = np.dtype(_DTYPES[tensor.datatype]).newbyteorder("<")
    count, remaining = math.prod(shape), len(body) - start
    if type(size) is not int or size != count * dtype.itemsize:
        raise MalformedBody(
            f"{label} has binary_data_size {str(size)[:100]}; {list(shape)} of {tensor.datatype} is "
            f"{count * dtype.itemsize} bytes"
        )
    if size != remaining:
        raise MalformedBody(f"{label} has binary_data_size {size}, and {remaining} bytes follow the JSON")
    array = np.frombuffer(body, dtype, count, start).reshape(shape)
    return np.require(array, dtype.newbyteorder("="), ["A", "C"])


def _object(document: Mapping[str, Any], member: str, label: str) -> Mapping[str, Any]:
    value = document.get(member)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(f"{member} of {label} must be an object")
    return value


def _objects(value: object, label: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise InvalidInput(f"{label} must be a list of objects")
    return value


def _check_parameters(parameters: Mapping[str, Any], label: str, known_name: str) -> None:
    for name in parameters:
        if name != known_name and name not in _IGNORED_PARAMETERS:
            raise InvalidInput(f"{label} has a parameter {name[:100]!r}; the only one is {known_name}")


def _boolean(value: object, label: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{label} must be true or false")
    return value
