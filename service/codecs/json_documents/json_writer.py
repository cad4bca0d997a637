"""Writer of JSON documents with large arrays in them, in slices of a few milliseconds.

document of dicts, lists, arrays, Base64 -> write -> bytes

The text is orjson's, byte for byte. orjson writes an array in one step, and meanwhile Python runs nothing else.
"""

import binascii
import io
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from service.codecs import arrays

LARGE_BYTES = 1 << 16  # documents with smaller arrays are written in one step: 2 ms

_SLICE_NUMBERS = 1 << 15  # written in one step: 1 ms
_SLICE_BYTES = 3 << 17  # of bytes as base64: 0.5 ms


class Base64(NamedTuple):
    """Bytes that are written as a text in base64."""

    data: bytes


def write(document: Any, end: bytes = b"") -> bytes:
    """As arrays.write_json, in slices; `end` follows the document."""
    buffer = io.BytesIO()
    _write_value(buffer, document)
    buffer.write(end)
    return buffer.getvalue()


def write_by_size(document: Any, nbytes: int) -> bytes:
    """As `write`, or in one step if the document's arrays have few bytes."""
    return arrays.write_json(document) if nbytes <= LARGE_BYTES else write(document)


def _write_value(buffer: io.BytesIO, value: Any) -> None:
    if isinstance(value, Base64):
        buffer.write(b'"')
        for start in range(0, len(value.data), _SLICE_BYTES):
            buffer.write(binascii.b2a_base64(value.data[start : start + _SLICE_BYTES], newline=False))
        buffer.write(b'"')
    elif isinstance(value, np.ndarray) and value.size > _SLICE_NUMBERS:
        _write_array(buffer, value)
    elif isinstance(value, dict):
        buffer.write(b"{")
        for index, (key, member) in enumerate(value.items()):
            buffer.write(b"," * bool(index) + orjson.dumps(key) + b":")
            _write_value(buffer, member)
        buffer.write(b"}")
    elif isinstance(value, list):
        buffer.write(b"[")
        for index, element in enumerate(value):
            buffer.write(b"," * bool(index))
            _write_value(buffer, element)
        buffer.write(b"]")
    else:
        buffer.write(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))


def _write_array(buffer: io.BytesIO, array: NDArray[Any]) -> None:
    """As many rows at once as have _SLICE_NUMBERS; a larger row in the same way."""
    buffer.write(b"[")
    rows = _SLICE_NUMBERS * len(array) // array.size
    for start in range(0, len(array), max(1, rows)):
        buffer.write(b"," * bool(start))
        if rows:
            buffer.write(orjson.dumps(array[start : start + rows], option=orjson.OPT_SERIALIZE_NUMPY)[1:-1])
        else:
            _write_array(buffer, array[start])
    buffer.write(b"]")
