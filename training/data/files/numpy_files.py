"""Reader of .npy and .npz files whose headers are not trusted before they are checked.

.npy: header -> declared bytes against those in the file, and against free memory -> array
.npz: table of members -> the members that are asked for, each as an .npy

A header of ten bytes may declare any shape, and a zip of a megabyte may hold a gigabyte of zeros: both are refused
before memory is taken for them.
"""

import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from training.data.memory import check_memory
from training.errors import DataError

Array = NDArray[Any]

MAX_HEADER_BYTES = 10_000  # numpy's own limit
_SUFFIX = ".npy"
_VERSIONS = {(1, 0): 2, (2, 0): 4, (3, 0): 4}  # version of a header -> bytes of its length
# What numpy, zipfile and zlib raise for damaged bytes; RuntimeError: an encrypted member.
_DAMAGES = (
    OSError, ValueError, TypeError, KeyError, EOFError, OverflowError, SyntaxError, RecursionError, MemoryError,
    RuntimeError, zlib.error, zipfile.BadZipFile, tokenize.TokenError,
)  # fmt: skip


def is_npz(path: Path) -> bool:
    """Whether the file's first bytes are those of a zip, whatever it is called. Raises DataError."""
    with _describe_damage(path), path.open("rb") as file:
        return file.read(4).startswith(b"PK")


def read_npy(path: Path) -> Array:
    """The array in an .npy file: numbers, true or false, or text.

    Raises:
        DataError: one sentence: it cannot be read, is shorter than its header says, holds objects, or is too large.
    """
    with _describe_damage(path), path.open("rb") as file:
        return _read_array(file, path.stat().st_size, str(path))


def list_npz(path: Path) -> list[str]:
    """The names of the arrays in an .npz, in its order. Raises DataError."""
    with _describe_damage(path), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(_SUFFIX) for name in archive.namelist() if name.endswith(_SUFFIX)]


def read_npz(path: Path, names: Collection[str]) -> dict[str, Array]:
    """Arrays of an .npz by name; other members are not unpacked.

    Raises:
        DataError: one is missing, or as of `read_npy`.
    """
    arrays: dict[str, Array] = {}
    with _describe_damage(path), zipfile.ZipFile(path) as archive:
        for name in names:
            member = archive.getinfo(f"{name}{_SUFFIX}")
            check_memory(member.file_size, f"{path}: {name}")
            with archive.open(member) as file:
                arrays[name] = _read_array(file, member.file_size, f"{path}: {name}")
                if file.read(1):  # to the end, where the checksum is compared
                    raise ValueError(f"{name} has bytes behind its numbers")
    return arrays


@contextmanager
def _describe_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGES as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DataError(f"{path} cannot be read as numpy data: {reason}") from error


def _read_array(file: IO[bytes], size: int, label: str) -> Array:
    """The array in an .npy file of `size` bytes.

    Raises:
        DataError: more is declared than there is, or than memory is free.
        ValueError, TypeError, ...: no header of an .npy.
    """
    shape, is_fortran, dtype, header_size = _read_header(file)
    if dtype.hasobject:
        raise DataError(f"{label} holds Python objects, which are never unpickled; save numbers (dtype {dtype})")
    if dtype.itemsize == 0:
        raise DataError(f"{label} holds values of no bytes (dtype {dtype.str})")
    if min(shape, default=0) < 0:
        raise DataError(f"{label} declares shape {_format_shape(shape)}; sizes cannot be negative")
    declared, actual = math.prod(shape) * dtype.itemsize, size - header_size
    if declared > actual:
        raise DataError(
            f"{label} declares shape {_format_shape(shape)} of {dtype}, {declared} bytes; the file has {actual}: "
            "it is cut off or damaged"
        )
    check_memory(declared, label)
    flat = np.empty(math.prod(shape), dtype)
    data = flat.view(np.uint8) if declared else flat
    position = 0
    while position < declared:
        chunk = file.read(min(1 << 24, declared - position))
        if not chunk:
            raise EOFError("it is cut off")
        data[position : position + len(chunk)] = np.frombuffer(chunk, np.uint8)
        position += len(chunk)
    return flat.reshape(shape, order="F" if is_fortran else "C")


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, Fortran order, dtype, and bytes of magic and header. ValueError for what is no header."""
    version = npy.read_magic(file)
    if version not in _VERSIONS:
        raise ValueError(f"format version {version} is not known")
    width = _VERSIONS[version]
    length = int.from_bytes(file.read(width), "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header has {length} bytes; {MAX_HEADER_BYTES} are the limit")
    header = file.read(length)
    if len(header) < length:
        raise EOFError("it ends within its header")
    # versions 2 and 3 differ in the encoding of field names only, and arrays with fields are refused later
    as_version_2 = io.BytesIO(length.to_bytes(4, "little") + header)
    shape, is_fortran, dtype = npy.read_array_header_2_0(as_version_2)
    return shape, is_fortran, dtype, 8 + width + length


def _format_shape(shape: tuple[int, ...]) -> str:
    text = str(list(shape))
    return text if len(text) <= 100 else f"{text[:100]}..."
