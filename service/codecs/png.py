"""Chunks of a PNG (ISO 15948, 5.3): what lies packed beside the pixels is weighed before any reader unpacks it.

Fifty kilobytes of text can be fifty megabytes, and libpng unpacks every text of a picture: twenty of them took it
half a second. Here unpacking stops at the limit.
"""

import struct
import zlib
from collections.abc import Iterator

from service.errors import TooLarge

START = b"\x89PNG\r\n\x1a\n"
MOST_UNPACKED = 1 << 23  # bytes of all texts and the profile; a press's profile has 3 MB
MOST_CHUNKS = 10_000  # beside those of pixels; a scan has a dozen
_PACKED = (b"zTXt", b"iTXt", b"iCCP")


def check_notes(data: bytes, which: str) -> None:
    """Raises TooLarge (413): more chunks, or more text and profile, than any picture of people has."""
    left = MOST_UNPACKED
    others = 0
    for kind, start, end in _chunks(data):
        if kind == b"IDAT":
            continue
        others += 1
        if others > MOST_CHUNKS:
            raise TooLarge(f"{which} has more than {MOST_CHUNKS} chunks beside its pixels", limit=MOST_CHUNKS)
        if kind in _PACKED:
            left -= _unpacked(kind, data[start:end], left)
            if left < 0:
                raise TooLarge(
                    f"{which} has more than {MOST_UNPACKED} bytes of text and profile, once unpacked; send it without",
                    limit=MOST_UNPACKED,
                )


def extract_rows(data: bytes) -> bytes:
    """The packed rows of a whole PNG, of all its chunks IDAT."""
    return b"".join([data[start:end] for kind, start, end in _chunks(data) if kind == b"IDAT"])


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, where its bytes start, where they end) of each, as far as they go."""
    place = len(START)
    while place + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        start = place + 8
        yield data[place + 4 : start], start, start + length
        place = start + length + 4


def _unpacked(kind: bytes, chunk: bytes, most: int) -> int:
    """Bytes that the chunk's text or profile has, counted up to one above `most`; 0 if it is not packed, or broken."""
    _, _, rest = chunk.partition(b"\0")
    if kind == b"iTXt":  # packed or not, how, language, translated keyword, text
        if rest[:1] != b"\x01":
            return len(rest)
        rest = rest[2:].split(b"\0", 2)[-1]
    elif rest:
        rest = rest[1:]
    try:
        return len(zlib.decompressobj().decompress(rest, most + 1))
    except zlib.error:
        return 0
