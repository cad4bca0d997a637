"""Arrays: .npy and nested JSON numbers <-> numpy. No size that a body declares is trusted before it is checked.

.npy  -> header (numpy's own format) -> declared size against the body's length -> array, no copy where possible
JSON  -> nested lists -> shape, level by level -> array; numpy never guesses a dtype
array -> .npy

Large JSON documents are read and written by service.codecs.json_documents.
"""

import ast
import io
import math
import re
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.lib import format as npy
from numpy.typing import NDArray

from service.codecs.buffers import SLICE_BYTES, join_in_slices
from service.codecs.formats import NPY_MAGIC
from service.errors import InvalidInput, MalformedBody

Array = NDArray[Any]

MAX_AXES = 8
_SMALL_PATTERN = 1 << 14  # bytes
_JSON_NAMES = {str: "text", bool: "true or false", type(None): "null", dict: "an object", list: "a list"}


# --- .npy ------------------------------------------------------------------------------------------------


def read_npy(data: bytes, label: str) -> Array:
    """.npy bytes -> whole or real numbers, any shape, the machine's byte order; a view of `data` where possible.

    Args:
        data: of a .npy file.
        label: names the array in errors.
    Raises:
        MalformedBody: not .npy, or its header and its length disagree.
        InvalidInput: a dtype other than whole or real numbers (nothing is ever unpickled), or too many axes.
    """
    if not data:
        raise MalformedBody(f"{label} is empty: 0 bytes; an .npy is expected")
    try:
        start = _find_numbers(data)
        shape, fortran_order, dtype = _parse_npy_header(data[:start])
    except (ValueError, TypeError, KeyError, SyntaxError, OverflowError, RecursionError, MemoryError) as error:
        raise MalformedBody(f"{label} is not .npy: its header cannot be read") from error
    if dtype.kind not in "uif":
        raise InvalidInput(f"{label} has dtype {dtype}; whole or real numbers are taken")
    if len(shape) > MAX_AXES:
        raise InvalidInput(f"{label} has {len(shape)} axes; at most {MAX_AXES} make sense here")
    declared_size, actual_size = math.prod(shape) * dtype.itemsize, len(data) - start
    if min(shape, default=1) < 0 or declared_size != actual_size:
        raise MalformedBody(
            f"{label} declares shape {list(shape)} of {dtype}, which is {declared_size} bytes; {actual_size} came"
        )
    if declared_size == 0:
        try:
            return np.empty(shape, dtype.newbyteorder("="))
        except (ValueError, OverflowError, MemoryError) as error:  # numpy limits the other axes nevertheless
            raise MalformedBody(f"{label} declares shape {list(shape)}, which no array can have") from error
    flat = np.frombuffer(data, dtype, offset=start)
    array = flat.reshape(shape[::-1]).T if fortran_order else flat.reshape(shape)
    return array.astype(dtype.newbyteorder("="), order="C", copy=False)


def write_npy(array: Array) -> bytes:
    """.npy version 1.0, C order."""
    header = _npy_header(array.dtype, array.shape)
    if array.nbytes <= SLICE_BYTES:
        return header + array.tobytes()
    return join_in_slices((header, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data))


def _find_numbers(data: bytes) -> int:
    """The position behind the header; ValueError unless that is of version 1.0 or 2.0, at most 10,000 bytes long."""
    version = data[6:8]
    if not data.startswith(NPY_MAGIC) or version not in (b"\x01\x00", b"\x02\x00"):
        raise ValueError(f"version {version!r}")
    width = 2 if version[0] == 1 else 4
    start = len(NPY_MAGIC) + 2 + width
    length = int.from_bytes(data[start - width : start], "little")
    if length > 10_000:  # numpy's own limit
        raise ValueError(f"header of {length} bytes")
    return start + length


# cached: clients repeat the same few headers, and parsing one takes longer than encoding a 28x28 image
@lru_cache(256)
def _parse_npy_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The bytes before the numbers -> shape, Fortran order, dtype.

    A header that is no plain literal is an error: numpy would try Python 2's spelling, warn, and guess.
    """
    file = io.BytesIO(header)
    version = npy.read_magic(file)
    ast.literal_eval(header[file.tell() + (2 if version == (1, 0) else 4) :].decode("latin-1").strip())
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    return read_header(file)


@lru_cache(256)
def _npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The bytes before the numbers, version 1.0."""
    buffer = io.BytesIO()
    npy.write_array_header_1_0(buffer, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    return buffer.getvalue()


# --- JSON ------------------------------------------------------------------------------------------------


def parse_json(data: bytes) -> Any:
    """By orjson; MalformedBody (400) also for NaN, Infinity, 1e999 and more than 1,024 levels."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if not data.strip():
            raise MalformedBody("the body is empty; JSON is expected") from error
        raise MalformedBody(f"the body is not JSON: {error}") from error


def read_numbers(nested: Any, label: str) -> NDArray[np.float64]:
    """Nested lists of JSON numbers -> float64 of their shape.

    Raises:
        InvalidInput: ragged, empty, too deep, or with values that are no numbers. The sentence says which values, and
            names the input by `label`.
    """
    if type(nested) is not list:
        raise InvalidInput(f"{label} is {_json_name(nested)}; a list of numbers is wanted")
    level, shape = nested, [len(nested)]
    while (kinds := set(map(type, level))) == {list}:
        lengths = set(map(len, level))
        if len(lengths) > 1:
            raise InvalidInput(f"{label} is ragged: lists of {min(lengths)} and of {max(lengths)} side by side")
        if len(shape) == MAX_AXES:
            raise InvalidInput(f"{label} is nested more than {MAX_AXES} lists deep")
        shape.append(lengths.pop())
        level = list(chain.from_iterable(level))
    if not level:
        raise InvalidInput(f"{label} is empty; at least one sample is needed")
    if kinds - {int, float}:
        values = " and ".join(sorted(map(_name_kind, kinds - {int, float})))
        raise InvalidInput(f"{label} holds {values} where numbers are wanted")
    return np.array(level, np.float64).reshape(shape)


_DIGITS_TO_0 = bytes.maketrans(b"0123456789+-.eE", b"0" * 15)
_SPACE = b" \t\r\n"
_OBJECT_START = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"(\w+)"[ \t\r\n]*:[ \t\r\n]*')


def read_flat(data: bytes, key: str) -> NDArray[np.float64] | NDArray[np.uint8] | None:
    """`{"<key>": [[...]]}` of regular lists of numbers -> uint8 if all fit, else float64; None for everything else.

    The same result as of parse_json and read_numbers, in a quarter of the time: the numbers are parsed as one list, and
    the pattern of the brackets, which repeats, gives the shape. After None those two functions find what is wrong.
    """
    start, stop = data.find(b"["), data.rfind(b"]") + 1
    object_start = _OBJECT_START.fullmatch(data[: max(start, 0)])
    if object_start is None or object_start[1] != key.encode() or data[stop:].strip(_SPACE) != b"}":
        return None
    nested = data[start:stop]
    zeros = nested.translate(_DIGITS_TO_0, _SPACE)
    brackets = zeros.translate(None, b"0")
    if brackets.strip(b"[],") or b"0[" in zeros or b"]0" in zeros:
        return None
    shape = (_find_small_shape if len(brackets) <= _SMALL_PATTERN else _find_shape)(brackets)
    if shape is None:
        return None
    try:
        numbers = orjson.loads(b"[" + nested.translate(None, b"[]") + b"]")
    except orjson.JSONDecodeError:
        return None
    if len(numbers) != math.prod(shape):
        return None
    try:
        return np.frombuffer(bytes(numbers), np.uint8).reshape(shape)
    except (TypeError, ValueError):  # real numbers, or not 0..255
        return np.array(numbers, np.float64).reshape(shape)


def _find_shape(brackets: bytes) -> tuple[int, ...] | None:
    """The brackets and commas of nested lists -> their shape; None if the lists are not regular."""
    shape: list[int] = []  # the innermost axis first
    element = b""  # the text of an element: empty for a number, then 1 for an innermost list, 2 for a list of those
    while not shape or brackets != element:
        start, stop = len(brackets) - len(brackets.lstrip(b"[")), brackets.find(b"]")
        count = brackets.count(b",", start, stop) + 1
        row = b",".join([element] * count)
        if not 0 < start <= min(stop, MAX_AXES) or brackets[start:stop] != row:
            return None
        shape.append(count)
        element = b"%d" % len(shape)
        brackets = brackets.replace(b"[" + row + b"]", element)
    return tuple(shape[::-1])


_find_small_shape = lru_cache(64)(_find_shape)  # clients repeat the same few shapes


def write_json(document: dict[str, Any]) -> bytes:
    """JSON of a document with arrays in it, in one step; float32 numbers are the shortest that read back the same."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


# --- dtypes of the ports ---------------------------------------------------------------------------------


def to_floats(array: Array, dtype: str, label: str) -> Array:
    """Whole or real numbers -> float32 or float64, C order; InvalidInput (422) if one is not finite there."""
    with np.errstate(over="ignore"):
        numbers = np.asarray(array, dtype, order="C")
    if not np.isfinite(numbers).all():
        raise InvalidInput(f"{label} holds NaN, infinity or numbers beyond {dtype}; all must be finite")
    return numbers


def to_uint8(array: NDArray[np.float64] | NDArray[np.uint8], label: str) -> NDArray[np.uint8]:
    """JSON numbers -> pixels; InvalidInput (422) unless all are whole and 0..255."""
    if array.dtype == np.uint8:
        return np.asarray(array, np.uint8)
    is_invalid = (array != np.floor(array)) | (array < 0) | (array > 255)
    if is_invalid.any():
        raise InvalidInput(f"{label} holds {array[is_invalid][0]:g}; pixels are whole numbers from 0 to 255")
    return array.astype(np.uint8)


def to_uint16(array: NDArray[Any], label: str) -> NDArray[np.uint16]:
    """JSON numbers -> pixels of 16 bits; InvalidInput (422) unless all are whole and 0..65535."""
    is_invalid = (array != np.floor(array)) | (array < 0) | (array > 65_535)
    if is_invalid.any():
        raise InvalidInput(f"{label} holds {array[is_invalid][0]:g}; pixels are whole numbers from 0 to 65535")
    return array.astype(np.uint16)


def _json_name(value: object) -> str:
    return "a single number" if type(value) in (int, float) else _name_kind(type(value))


def _name_kind(kind: type) -> str:
    """In words; spans of a large document (service.codecs.json_documents.json_spans) know their own."""
    return _JSON_NAMES.get(kind) or str(kind.json_name)  # type: ignore[attr-defined]
