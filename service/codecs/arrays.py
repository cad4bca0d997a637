"""Arrays of numbers: .npy and nested JSON numbers <-> numpy. Sizes are believed only after they were checked.

.npy  -> header (numpy's own format) -> declared size against the body's length -> array, no copy where possible
JSON  -> nested lists -> shape, level by level -> array; never through numpy's guessing of dtypes
array -> .npy | JSON
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

from service.codecs.formats import NPY_MAGIC
from service.errors import InvalidInput, MalformedBody

Array = NDArray[Any]

_MAX_AXES = 8
_JSON_NAMES = {str: "text", bool: "true or false", type(None): "null", dict: "an object", list: "a list"}


# --- .npy ------------------------------------------------------------------------------------------------


def read_npy(data: bytes, which: str) -> Array:
    """.npy bytes -> whole or real numbers, any shape, the machine's byte order; a view of `data` where possible.

    Raises:
        MalformedBody: not .npy, or its header and its length disagree.
        InvalidInput: a dtype other than whole or real numbers (nothing is ever unpickled), or too many axes.
    """
    try:
        start = _npy_start(data)
        shape, fortran_order, dtype = _npy_header(data[:start])
    except (ValueError, TypeError, KeyError, SyntaxError, RecursionError, MemoryError) as broken:
        raise MalformedBody(f"{which} is not .npy: its header cannot be read") from broken
    if dtype.kind not in "uif":
        raise InvalidInput(f"{which} has dtype {dtype}; whole or real numbers are taken")
    if len(shape) > _MAX_AXES:
        raise InvalidInput(f"{which} has {len(shape)} axes; at most {_MAX_AXES} make sense here")
    declared, there = math.prod(shape) * dtype.itemsize, len(data) - start
    if min(shape, default=1) < 0 or declared != there:
        raise MalformedBody(f"{which} declares shape {list(shape)} of {dtype}, which is {declared} bytes; {there} came")
    if declared == 0:
        return np.empty(shape, dtype.newbyteorder("="))
    flat = np.frombuffer(data, dtype, offset=start)
    array = flat.reshape(shape[::-1]).T if fortran_order else flat.reshape(shape)
    return array.astype(dtype.newbyteorder("="), order="C", copy=False)


def write_npy(array: Array) -> bytes:
    """.npy version 1.0, C order."""
    return _npy_written(array.dtype, array.shape) + array.tobytes()


def _npy_start(data: bytes) -> int:
    """Where the numbers begin; ValueError for what is no header of version 1.0 or 2.0, at most 10,000 bytes long."""
    version = data[6:8]
    if not data.startswith(NPY_MAGIC) or version not in (b"\x01\x00", b"\x02\x00"):
        raise ValueError(f"version {version!r}")
    width = 2 if version[0] == 1 else 4
    start = len(NPY_MAGIC) + 2 + width
    length = int.from_bytes(data[start - width : start], "little")
    if length > 10_000:  # numpy's own limit
        raise ValueError(f"header of {length} bytes")
    return start + length


@lru_cache(
    256
)  # callers send the same few headers again and again, and to parse one takes longer than to encode a drawing
def _npy_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """All that comes before the numbers -> shape, Fortran order, dtype. Headers that are no plain literal are refused:
    numpy would try Python 2's spelling, warn, and guess.
    """
    file = io.BytesIO(head)
    version = npy.read_magic(file)
    ast.literal_eval(head[file.tell() + (2 if version == (1, 0) else 4) :].decode("latin-1").strip())
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    return read_header(file)


@lru_cache(256)
def _npy_written(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """All that comes before the numbers."""
    buffer = io.BytesIO()
    npy.write_array_header_1_0(buffer, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    return buffer.getvalue()


# --- JSON ------------------------------------------------------------------------------------------------


def parse_json(data: bytes) -> Any:
    """orjson's reading; NaN, Infinity, 1e999 and more than 1,024 levels are MalformedBody (400) already here."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as broken:
        raise MalformedBody(f"the body is not JSON: {broken}") from broken


def read_numbers(nested: Any, which: str) -> NDArray[np.float64]:
    """Nested lists of JSON numbers -> float64 of their shape.

    Raises:
        InvalidInput: ragged, empty, too deep, or anything that is no number; the sentence says what was found.
    """
    if type(nested) is not list:
        raise InvalidInput(f"{which} is {_name(nested)}; a list of numbers is wanted")
    level, shape = nested, [len(nested)]
    while (kinds := set(map(type, level))) == {list}:
        lengths = set(map(len, level))
        if len(lengths) > 1:
            raise InvalidInput(f"{which} is ragged: lists of {min(lengths)} and of {max(lengths)} side by side")
        if len(shape) == _MAX_AXES:
            raise InvalidInput(f"{which} is nested more than {_MAX_AXES} lists deep")
        shape.append(lengths.pop())
        level = list(chain.from_iterable(level))
    if not level:
        raise InvalidInput(f"{which} is empty; at least one sample is needed")
    if kinds - {int, float}:
        found = " and ".join(sorted(_JSON_NAMES[kind] for kind in kinds - {int, float}))
        raise InvalidInput(f"{which} holds {found} where numbers are wanted")
    return np.array(level, np.float64).reshape(shape)


_DIGITS = bytes.maketrans(b"0123456789+-.eE", b"0" * 15)
_SPACE = b" \t\r\n"
_OPENED = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"(\w+)"[ \t\r\n]*:[ \t\r\n]*')


def read_flat(data: bytes, key: str) -> NDArray[np.float64] | NDArray[np.uint8] | None:
    """`{"<key>": [[...]]}` of regular lists of numbers -> uint8 if all are, else float64; None for everything else.

    What parse_json and read_numbers make of it, in a quarter of the time: the numbers are read as one list, and the
    brackets, which repeat, tell the shape. For None those two find the words.
    """
    start, stop = data.find(b"["), data.rfind(b"]") + 1
    opened = _OPENED.fullmatch(data[: max(start, 0)])
    if opened is None or opened[1] != key.encode() or data[stop:].strip(_SPACE) != b"}":
        return None
    nested = data[start:stop]
    zeros = nested.translate(_DIGITS, _SPACE)
    brackets = zeros.translate(None, b"0")
    if brackets.strip(b"[],") or b"0[" in zeros or b"]0" in zeros:
        return None
    shape: list[int] = []  # the innermost axis first
    element = b""  # what stands for one of the innermost list; then 1 for such a list, 2 for a list of those
    while not shape or brackets != element:
        start, stop = len(brackets) - len(brackets.lstrip(b"[")), brackets.find(b"]")
        count = brackets.count(b",", start, stop) + 1
        row = b",".join([element] * count)
        if not 0 < start <= min(stop, _MAX_AXES) or brackets[start:stop] != row:
            return None
        shape.append(count)
        element = b"%d" % len(shape)
        brackets = brackets.replace(b"[" + row + b"]", element)
    try:
        numbers = orjson.loads(b"[" + nested.translate(None, b"[]") + b"]")
    except orjson.JSONDecodeError:
        return None
    if len(numbers) != math.prod(shape):
        return None
    try:
        return np.frombuffer(bytes(numbers), np.uint8).reshape(shape[::-1])
    except (TypeError, ValueError):  # real numbers, or not 0..255
        return np.array(numbers, np.float64).reshape(shape[::-1])


def write_json(document: dict[str, Any]) -> bytes:
    """JSON of a document with arrays in it; float32 numbers are the shortest that read back the same."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


# --- what a port takes -----------------------------------------------------------------------------------


def to_float32(array: Array, which: str) -> NDArray[np.float32]:
    """Whole or real numbers -> float32, C order; InvalidInput (422) for what is not finite there."""
    with np.errstate(over="ignore"):
        numbers = np.asarray(array, np.float32, order="C")
    if not np.isfinite(numbers).all():
        raise InvalidInput(f"{which} holds NaN, infinity or numbers beyond float32; all must be finite")
    return numbers


def to_uint8(array: NDArray[np.float64] | NDArray[np.uint8], which: str) -> NDArray[np.uint8]:
    """JSON numbers -> pixels; InvalidInput (422) unless all are whole and 0..255."""
    if array.dtype == np.uint8:
        return np.asarray(array, np.uint8)
    wrong = (array != np.floor(array)) | (array < 0) | (array > 255)
    if wrong.any():
        raise InvalidInput(f"{which} holds {array[wrong][0]:g}; pixels are whole numbers from 0 to 255")
    return array.astype(np.uint8)


def _name(value: object) -> str:
    return _JSON_NAMES.get(type(value), "a single number")
