"""Inference requests and answers of the Open Inference Protocol v2: named tensors, as JSON or as bytes behind it.

body, Inference-Header-Content-Length -> JSON [+ binary tensors] -> Payload        Result -> JSON [+ binary tensors]

https://github.com/kserve/open-inference-protocol, and Triton's binary tensor data extension: little-endian,
row-major, in the order of the JSON. A binary input is a view of the body (copied only if its numbers do not lie on
their own multiples); a binary output is copied once, into the answer's body.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from starlette.responses import Response

from service.api.query import V2_BODY_PARAMETERS, parse_parameters, reject_v1_parameters
from service.codecs import arrays
from service.codecs.formats import JSON, OCTET_STREAM
from service.errors import InvalidInput, MalformedBody, UnsupportedMediaType
from service.inference import cost
from service.inference.engine import Result
from service.inference.inputs import Batch, Images
from service.inference.options import Options
from service.inference.payload import Payload, PayloadPart
from service.model.graph import Port
from service.model.manifest import Operation
from service.model.runtime import Array, Model

HEADER_LENGTH = "Inference-Header-Content-Length"
DATATYPES = {"uint8": "UINT8", "float32": "FP32", "float64": "FP64"}
_MEMBERS = ("id", "parameters", "inputs", "outputs", "model_name", "model_version")
_IGNORED = ("content_type",)  # MLServer's hint how to decode what the datatype tells already


@dataclass(frozen=True)
class Tensor:
    """Metadata of one input or output: `shape` has -1 for what is free."""

    name: str
    datatype: str
    shape: list[int]


def input_tensor(model: Model, operation: Operation) -> Tensor:
    """What `operation` takes: `image` UINT8, `vector` or `latent` FP32; OperationMissing (409) if it is not there."""
    return _of_port(model.input_port(operation))


def output_tensors(model: Model, operation: Operation) -> tuple[Tensor, ...]:
    """What `operation` gives, in the order of its answers."""
    if operation == "encode":
        if model.latent is None:
            raise AssertionError("This is a bug: verified packages that encode have a latent port")
        return (_of_port(model.latent),)
    sample = _of_port(model.sample)
    if operation == "denoise":
        return (Tensor("denoised", sample.datatype, sample.shape),)
    if operation == "decode":
        return (sample,)
    return sample, Tensor("reconstruction_error", "FP64", [-1]), Tensor("percentile", "FP64", [-1])


def _of_port(port: Port) -> Tensor:
    return Tensor(port.name, DATATYPES[port.dtype], [-1, *(n if isinstance(n, int) else -1 for n in port.shape[1:])])


@dataclass(slots=True)
class V2Format:
    """A service.api.wire_format.WireFormat.

    Args:
        name: of the model, as it stands in the address.
        header_length, encoding: headers Inference-Header-Content-Length and Content-Encoding.
        options: of the address; the request's parameters `fit` and `strength` come before them.
        most: seconds that the parameter `timeout` may ask for.
    """

    name: str
    model: Model
    operation: Operation
    header_length: str | None
    encoding: str | None
    options: Options
    seconds: float | None
    most: float
    _id: str | None = None
    _made: tuple[Tensor, ...] = ()
    _wanted: dict[str, bool] = field(default_factory=dict)  # output -> whether as bytes

    def parsing_cost(self, body: bytes) -> int:
        if self.header_length is not None and self.header_length.isdecimal():
            return int(self.header_length) * cost.JSON_BYTE
        return len(body) * cost.JSON_BYTE

    def parse(self, body: bytes) -> Payload:
        """The request's one input [N,...], of the port's rank and datatype.

        Raises:
            MalformedBody: no JSON object, or lengths that disagree (400).
            UnsupportedMediaType: a compressed body (415).
            InvalidInput: names, datatypes, shapes, parameters, values that the model does not take (422).
        """
        if self.encoding not in (None, "", "identity"):
            raise UnsupportedMediaType(f"Content-Encoding {str(self.encoding)[:100]!r} is not accepted", ["identity"])
        reject_v1_parameters(self.options)
        document, start = self._document(body)
        for member in document:
            if member not in _MEMBERS:
                raise InvalidInput(f"the request has a member {member[:100]!r}; allowed are {', '.join(_MEMBERS)}")
        identifier = document.get("id")
        if identifier is not None and not isinstance(identifier, str):
            raise InvalidInput("id must be text")
        self._id = identifier
        as_bytes = self._parameters(_object(document, "parameters", "the request"))
        self._made = output_tensors(self.model, self.operation)
        self._wanted = self._outputs(document.get("outputs"), as_bytes=as_bytes)
        tensor = input_tensor(self.model, self.operation)
        array = self._input(document.get("inputs"), body, start, tensor)
        return Payload((PayloadPart(array, f"input {tensor.name}"),), "npy")

    def _document(self, body: bytes) -> tuple[dict[str, Any], int]:
        """The JSON object, and where it ends."""
        end = len(body)
        if self.header_length is not None:
            if not self.header_length.isdecimal() or not 0 < int(self.header_length) <= len(body):
                raise MalformedBody(
                    f"{HEADER_LENGTH} is {self.header_length[:100]!r}; it must be the length of the JSON in bytes, "
                    f"1 to the body's {len(body)}"
                )
            end = int(self.header_length)
        document = arrays.parse_json(body[:end])
        if not isinstance(document, dict):
            raise MalformedBody('the request is no JSON object; send {"inputs": [...]}')
        return document, end

    def _parameters(self, given: Mapping[str, Any]) -> bool:
        """Whether all outputs are wanted as bytes."""
        as_bytes, chosen = False, []
        for name, value in given.items():
            if name == "binary_data_output":
                as_bytes = _flag(value, name)
            elif name == "timeout":
                self.seconds = self._timeout(value)
            elif name in V2_BODY_PARAMETERS:
                chosen.append((name, str(value)))
            elif name not in _IGNORED:
                *names, last = sorted(("binary_data_output", "timeout", *V2_BODY_PARAMETERS))
                raise InvalidInput(
                    f"the request has a parameter {name[:100]!r}; allowed are {', '.join(names)} and {last}"
                )
        if chosen:
            self.options = parse_parameters(chosen, self.operation, self.options)
        return as_bytes

    def _timeout(self, value: object) -> float | None:
        """Microseconds, as Triton's clients send them -> seconds; None for 0, which stands for no wish."""
        if type(value) is not int or not 0 <= value <= self.most * 1e6:
            raise InvalidInput(
                f"timeout is {str(value)[:100]}; allowed are whole microseconds, 0 (none) to {self.most * 1e6:.0f}"
            )
        return value / 1e6 if value else self.seconds

    def _outputs(self, asked: object, *, as_bytes: bool) -> dict[str, bool]:
        known = [tensor.name for tensor in self._made]
        if asked is None or asked == []:
            return dict.fromkeys(known, as_bytes)
        wanted: dict[str, bool] = {}
        for output in _objects(asked, "outputs"):
            name = output.get("name")
            if name not in known:
                raise InvalidInput(f"{self.name} has no output {str(name)[:100]!r}; it has {', '.join(known)}")
            if name in wanted:
                raise InvalidInput(f"the output {name} is asked for twice")
            parameters = _object(output, "parameters", f"output {name}")
            _refuse_unknown(parameters, f"output {name}", "binary_data")
            wanted[name] = _flag(parameters.get("binary_data", as_bytes), "binary_data")
        return wanted

    def _input(self, given: object, body: bytes, start: int, tensor: Tensor) -> Array:
        takes = f"{self.name} takes {tensor.name} {tensor.datatype} {tensor.shape}"
        inputs = _objects(given, "inputs") if given is not None else []
        if len(inputs) != 1:
            raise InvalidInput(f"the request has {len(inputs)} inputs; {takes}")
        (sent,) = inputs
        if sent.get("name") != tensor.name:
            raise InvalidInput(f"the request has an input {str(sent.get('name'))[:100]!r}; {takes}")
        if sent.get("datatype") != tensor.datatype:
            raise InvalidInput(f"input {tensor.name} has datatype {str(sent.get('datatype'))[:100]!r}; {takes}")
        shape = self._shape(sent.get("shape"), tensor, takes)
        parameters = _object(sent, "parameters", f"input {tensor.name}")
        _refuse_unknown(parameters, f"input {tensor.name}", "binary_data_size")
        size = parameters.get("binary_data_size")
        if size is None:
            if start != len(body):
                raise MalformedBody(f"{len(body) - start} bytes follow the JSON, and no input says binary_data_size")
            return _from_json(sent.get("data"), shape, tensor)
        if "data" in sent:
            raise InvalidInput(f"input {tensor.name} has data and binary_data_size; send one of them")
        return _from_bytes(body, start, size, shape, tensor)

    def _shape(self, given: object, tensor: Tensor, takes: str) -> tuple[int, ...]:
        """As declared: whole numbers, and the model's, but for its sides if they are to be fitted."""
        if not isinstance(given, list) or any(type(n) is not int or n < 0 for n in given):
            raise InvalidInput(f"input {tensor.name} has shape {str(given)[:100]}; whole numbers are wanted: {takes}")
        free = (1, 2) if self.options.fit is not None else ()
        if len(given) != len(tensor.shape) or any(
            want not in (-1, got) and axis not in free
            for axis, (want, got) in enumerate(zip(tensor.shape, given, strict=True))
        ):
            hint = "; the parameter fit (contain, cover, stretch) has images resized" if tensor.name == "image" else ""
            raise InvalidInput(f"input {tensor.name} has shape {str(given)[:100]}; {takes}{hint}")
        if math.prod(given) == 0:
            raise InvalidInput(f"input {tensor.name} has shape {given}: it is empty; at least one sample is needed")
        return tuple(given)

    def negotiate(self, payload: Payload, inputs: Batch | Images) -> None:
        """The form was asked for in the request."""

    def serialization_cost(self, result: Result) -> int:
        return result.nbytes * (cost.COPIED_BYTE if all(self._wanted.values()) else cost.JSON_BYTE)

    def serialize(self, result: Result) -> Response:
        made = _named(result, self._made)
        outputs, tail = [], []
        for name, as_bytes in self._wanted.items():
            array = made[name]
            output: dict[str, Any] = {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": array.shape}
            flat = array.reshape(-1)
            if as_bytes:
                output["parameters"] = {"binary_data_size": array.nbytes}
                tail.append(flat.astype(array.dtype.newbyteorder("<"), copy=False).view(np.uint8).data)
            else:
                output["data"] = flat
            outputs.append(output)
        document: dict[str, Any] = {"model_name": self.name, "model_version": str(self.model.manifest.version)}
        if self._id is not None:
            document["id"] = self._id
        document["outputs"] = outputs
        head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        if not tail:
            return Response(head, media_type=JSON)
        return Response(b"".join((head, *tail)), media_type=OCTET_STREAM, headers={HEADER_LENGTH: str(len(head))})


def _named(result: Result, tensors: Sequence[Tensor]) -> dict[str, Array]:
    """Output name -> [N,...], C order."""
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
    """Nested or flat, of as many numbers as `shape` says -> the tensor's dtype."""
    which = f"input {tensor.name}"
    if data is None:
        raise InvalidInput(f"{which} has no data")
    numbers = arrays.read_numbers(data, f"data of {which}")
    count = math.prod(shape)
    if numbers.shape not in (shape, (count,)):
        raise InvalidInput(
            f"{which} has shape {list(shape)}, and its data {list(numbers.shape)}; it must be that, or {count} numbers "
            "in one list"
        )
    array: Array = arrays.to_uint8(numbers, which) if tensor.datatype == "UINT8" else arrays.to_float32(numbers, which)
    return array.reshape(shape)


def _from_bytes(body: bytes, start: int, size: object, shape: tuple[int, ...], tensor: Tensor) -> Array:
    """A view of the body, copied if it is not aligned."""
    which = f"input {tensor.name}"
    dtype = np.dtype("u1" if tensor.datatype == "UINT8" else "<f4")
    count, there = math.prod(shape), len(body) - start
    if type(size) is not int or size != count * dtype.itemsize:
        raise MalformedBody(
            f"{which} has binary_data_size {str(size)[:100]}; {list(shape)} of {tensor.datatype} is "
            f"{count * dtype.itemsize} bytes"
        )
    if size != there:
        raise MalformedBody(f"{which} has binary_data_size {size}, and {there} bytes follow the JSON")
    array = np.frombuffer(body, dtype, count, start).reshape(shape)
    return np.require(array, dtype.newbyteorder("="), ["A", "C"])


def _object(holder: Mapping[str, Any], member: str, which: str) -> Mapping[str, Any]:
    value = holder.get(member)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(f"{member} of {which} must be an object")
    return value


def _objects(value: object, which: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise InvalidInput(f"{which} must be a list of objects")
    return value


def _refuse_unknown(parameters: Mapping[str, Any], which: str, allowed: str) -> None:
    for name in parameters:
        if name != allowed and name not in _IGNORED:
            raise InvalidInput(f"{which} has a parameter {name[:100]!r}; the only one is {allowed}")


def _flag(value: object, which: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{which} must be true or false")
    return value
