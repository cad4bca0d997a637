"""Text of table files: unpacked and decoded, whatever program wrote them.

path -> bytes -> unpacked (gzip, bzip2, xz, zstd, zip) -> decoded (UTF-8, UTF-16, UTF-32, Windows-1252) -> TableText
"""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.model.files.table_dialect import find_encoding
from training.data.memory import GIB, free_memory
from training.errors import DataError

CHUNK = 1 << 20  # bytes
MEMORY_SHARE = 4  # text, the same decoded, and its numbers

_ENCODING_NAMES = {
    "utf-8": "UTF-8", "utf-8-sig": "UTF-8", "utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16",
    "utf-32": "UTF-32", "cp1252": "Windows-1252", "latin-1": "Latin-1",
}  # fmt: skip
_UNMARKED = {"utf-16-le", "utf-16-be"}  # found by bytes of zero, which other files than text have too
_GZIP, _BZIP2, _XZ, _ZSTD, _ZIP = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
_WORKBOOK_MEMBERS = {"[Content_Types].xml", "mimetype"}  # of .xlsx and .ods, which are zip files too


@dataclass(frozen=True)
class TableText:
    """`text` with its line ends; `remarks`: how it was packed and encoded, where that is not plain UTF-8."""

    text: str
    remarks: tuple[str, ...] = ()


def read_text(path: Path) -> TableText:
    """The text of a file; DataError if it cannot be read, is empty, or is no text."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    data, packing = _unpack(data, path)
    if not data.strip():
        raise DataError(f"{path} is empty")
    text, encoding = _decode(data, path)
    if not text.strip():
        raise DataError(f"{path} is empty")
    if "\0" in text:
        raise DataError(f"{path} is not text: it has zero bytes")
    return TableText(text, tuple(remark for remark in (packing, encoding) if remark not in ("", "UTF-8")))


def _unpack(data: bytes, path: Path) -> tuple[bytes, str]:
    """The bytes and the name of their packing, "" if they were not packed."""
    try:
        if data.startswith(_GZIP):
            return _read_stream(gzip.GzipFile(fileobj=io.BytesIO(data)), path), "gzip"
        if data.startswith(_BZIP2):
            return _read_stream(bz2.BZ2File(io.BytesIO(data)), path), "bzip2"
        if data.startswith(_XZ):
            return _read_stream(lzma.LZMAFile(io.BytesIO(data)), path), "xz"
        if data.startswith(_ZSTD):
            import pyarrow  # 0.2 s, and only these files need it

            stream = pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd")
            return _read_stream(stream, path), "zstd"
        if data.startswith(_ZIP):
            return _unpack_zip(data, path), "zip"
    except ImportError as error:
        raise DataError(
            f"{path} is packed with zstd, which pyarrow reads: pip install pyarrow, or unpack it"
        ) from error
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be unpacked, it is damaged or cut off: {error}") from error
    return data, ""


def _unpack_zip(data: bytes, path: Path) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
        if _WORKBOOK_MEMBERS & set(names):
            raise DataError(f"{path} is a workbook of a spreadsheet; save the sheet as CSV")
        if len(names) != 1:
            raise DataError(f"{path} holds {len(names)} files; unpack it and give one of them, or a folder")
        with archive.open(names[0]) as member:
            return _read_stream(member, path)


def _read_stream(stream: Any, path: Path) -> bytes:
    """All bytes of an unpacking stream; DataError if they are more than a share of the free memory."""
    limit, data = free_memory() // MEMORY_SHARE, bytearray()
    while chunk := stream.read(CHUNK):
        data += chunk
        if len(data) > limit:
            raise DataError(
                f"{path} unpacks to more than {limit / GIB:.3g} GiB, a quarter of the free memory; give fewer rows"
            )
    return bytes(data)


def _decode(data: bytes, path: Path) -> tuple[str, str]:
    """The text and the name of its encoding."""
    codec = find_encoding(data)
    name = _ENCODING_NAMES[codec]
    try:
        return data.decode(codec), name
    except UnicodeDecodeError as error:
        if codec in _UNMARKED:
            raise DataError(f"{path} is not text: it has zero bytes") from error
        raise DataError(f"{path} cannot be read as text: it begins as {name}, but {error.reason}") from error
