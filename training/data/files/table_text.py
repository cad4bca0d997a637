"""Text of table files: unpacked and decoded, whatever program wrote them.

path -> bytes -> unpacked (gzip, bzip2, xz, zstd, zip) -> decoded (UTF-8, UTF-16, UTF-32, Windows-1252) -> TableText
"""

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.data.memory import GIB, free_memory
from training.errors import DataError

CHUNK = 1 << 20  # bytes
MEMORY_SHARE = 4  # text, the same decoded, and its numbers

_BYTE_ORDER_MARKS = (  # UTF-32 before UTF-16, whose mark it begins with
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
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
    for mark, codec, name in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            try:
                return data.decode(codec), name
            except UnicodeDecodeError as error:
                raise DataError(f"{path} cannot be read as text: it begins as {name}, but {error.reason}") from error
    start = data[:4096]
    if b"\0" in start:  # UTF-16 without a mark: of digits every other byte is 0
        codec = "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
        try:
            return data.decode(codec), "UTF-16"
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not text: it has zero bytes") from error
    try:
        return data.decode("utf-8"), "UTF-8"
    except UnicodeDecodeError:
        try:
            return data.decode("cp1252"), "Windows-1252"
        except UnicodeDecodeError:
            return data.decode("latin-1"), "Latin-1"
