"""Chunks of a PNG (ISO 15948, 5.3): compressed metadata is measured before any reader decompresses it.

bytes -> check_metadata (limits on ancillary chunks)          bytes -> extract_rows (the compressed pixels)
bytes -> extract_colour_chunks -> insert_colour_chunks (libvips neither reads nor writes them)

Fifty kilobytes of text can decompress to fifty megabytes, and libpng decompresses every text of an image: twenty of
them took it half a second. Here decompression stops at the limit.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping

from service.codecs.buffers import join_in_slices
from service.errors import TooLarge

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_METADATA_BYTES = 1 << 23  # of all texts and the colour profile, decompressed; a profile for print has 3 MB
MAX_CHUNKS = 10_000  # beside those of pixels; a scan has a dozen
_COMPRESSED = (b"zTXt", b"iTXt", b"iCCP")
_COLOUR = {b"cICP": 4, b"mDCV": 24, b"cLLI": 8, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}  # and the length of each
_HEADER_END = 33  # behind IHDR
_SLICE_BYTES = 1 << 16  # decompressed in one step
_HEAD_BYTES = 1 << 16  # behind which no chunk of colour is looked for


def check_metadata(data: bytes, label: str) -> None:
    """Raises TooLarge (413) for more chunks, or more text and profile, than photographs and scans have.

    `label` names the image in the error.
    """
    budget = MAX_METADATA_BYTES
    count = 0
    for kind, start, end in _chunks(data):
        if kind == b"IDAT":
            continue
        count += 1
        if count > MAX_CHUNKS:
            raise TooLarge(f"{label} has more than {MAX_CHUNKS} chunks beside its pixels", limit=MAX_CHUNKS)
        if kind in _COMPRESSED:
            budget -= _count_bytes(kind, data, start, min(end, len(data)), budget)
            if budget < 0:
                raise TooLarge(
                    f"{label} has more than {MAX_METADATA_BYTES} bytes of text and profile, once unpacked; "
                    "send it without",
                    limit=MAX_METADATA_BYTES,
                )


def extract_colour_chunks(data: bytes) -> dict[str, bytes]:
    """The chunks that say what the pixels' numbers mean (ISO 15948, 11.3.2), by name, as they are in the file."""
    chunks: dict[str, bytes] = {}
    for kind, start, end in _chunks(data):
        if kind == b"IDAT" or start > _HEAD_BYTES:
            break
        if end - start == _COLOUR.get(kind):
            content = data[start:end]
            if _checksum(kind, content) == data[end : end + 4]:
                chunks.setdefault(kind.decode(), content)
    return chunks


def insert_colour_chunks(data: bytes, chunks: Mapping[str, bytes]) -> bytes:
    """A PNG with these chunks behind its header."""
    inserted = bytearray()
    for name, content in chunks.items():
        kind = name.encode()
        inserted += struct.pack(">I", len(content)) + kind + content + _checksum(kind, content)
    return join_in_slices((data[:_HEADER_END], inserted, memoryview(data)[_HEADER_END:]))


def has_chunk(data: bytes, name: bytes) -> bool:
    """Whether such a chunk is in front of the pixels."""
    for kind, _, _ in _chunks(data):
        if kind in (name, b"IDAT"):
            return kind == name
    return False


def _checksum(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(kind + content))


def extract_rows(data: bytes) -> bytes:
    """The compressed rows of a PNG: the data of all its IDAT chunks, joined."""
    view = memoryview(data)
    return join_in_slices([view[start:end] for kind, start, end in _chunks(data) if kind == b"IDAT"])


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start of its data, end of its data) of each chunk, as far as the file goes."""
    position = len(SIGNATURE)
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        start = position + 8
        yield data[position + 4 : start], start, start + length
        position = start + length + 4


def _count_bytes(kind: bytes, data: bytes, start: int, end: int, limit: int) -> int:
    """Bytes of the text or profile in data[start:end], decompressed, counted up to `limit` + 1; 0 if it is broken."""
    separator = data.find(b"\0", start, end)
    if separator < 0:
        return 0
    position = separator + 1
    if kind == b"iTXt":  # compression flag, compression method, language, translated keyword, text
        if data[position : position + 1] != b"\x01":
            return end - position
        position += 2
        for _ in range(2):
            position = max(position, data.find(b"\0", position, end) + 1)
    else:
        position += 1
    decompressor, count, view = zlib.decompressobj(), 0, memoryview(data)
    try:
        while position < end and count <= limit and not decompressor.eof:
            piece: bytes | memoryview = view[position : min(end, position + _SLICE_BYTES)]
            position += len(piece)
            while len(piece) and count <= limit:
                count += len(decompressor.decompress(piece, limit + 1 - count))
                piece = decompressor.unconsumed_tail
    except zlib.error:
        return 0
    return count
