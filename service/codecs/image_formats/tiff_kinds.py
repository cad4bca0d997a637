"""Kinds of TIFF that are not read, by the tags of their directories: each is named, with a remedy.

bytes -> name_refused (before a file is opened: camera files, other colours)
bytes that the reader refused -> name_unread -> "a TIFF with ZSTD compression"
"""

import struct
from collections.abc import Iterator

from service.codecs.image_formats import tiff

_BITS, _COMPRESSION, _PHOTOMETRIC, _SUB_DIRECTORIES, _DNG_VERSION = 258, 259, 262, 330, 50706
_SIZES = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}  # of whole numbers, by the value's type
_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_MAX_VALUES, _MAX_PAGES = 64, 16
_SENSOR = (32803, 34892)  # photometric interpretations: colour filter array, linear raw
_COMPRESSIONS = {  # beside those that are read
    6: "JPEG compression of the old kind", 99: "JPEG compression", 32766: "NeXT compression",
    32809: "ThunderScan compression", 32908: "PixarFilm compression", 32909: "PixarLog compression",
    33003: "JPEG 2000 compression", 33004: "JPEG 2000 compression", 33005: "JPEG 2000 compression",
    33007: "compression of Nikon", 34661: "JBIG compression", 34676: "LogLuv compression",
    34677: "LogLuv compression", 34712: "JPEG 2000 compression", 34713: "compression of Nikon",
    34887: "LERC compression", 34892: "lossy JPEG compression of DNG", 34925: "LZMA compression",
    34926: "ZSTD compression", 50000: "ZSTD compression", 50001: "WebP compression", 50002: "JPEG XL compression",
    52546: "JPEG XL compression",
}  # fmt: skip
_PHOTOMETRICS = {
    8: "CIE L*a*b* colours", 9: "CIE L*a*b* colours", 10: "CIE L*a*b* colours",
    32844: "LogL pixels", 32845: "LogLuv pixels",
}  # fmt: skip
_DEPTHS = (1, 2, 4, 8, 16, 32, 64)
_JPEG = 7


def name_refused(data: bytes) -> str | None:
    """The name of a kind that a reader would take for another: a camera's raw file, whose first page is only a small
    preview, or colours that are not RGB; None for all others.
    """
    if data[8:11] == b"CR\x02":
        return "a camera's raw file (CR2)"
    for tags in _directories(data, with_sub_directories=True):
        if _DNG_VERSION in tags:
            return "a camera's raw file (DNG)"
        if tags.get(_PHOTOMETRIC, (0,))[0] in _SENSOR:
            return "a camera's raw file"
        if tags.get(_PHOTOMETRIC, (0,))[0] in _PHOTOMETRICS:
            return f"a TIFF with {_PHOTOMETRICS[tags[_PHOTOMETRIC][0]]}"
    return None


def name_unread(data: bytes) -> str | None:
    """What a reader of TIFFs may stumble over in an intact file; None if nothing is unusual."""
    for tags in _directories(data, with_sub_directories=False):
        compression, bits = tags.get(_COMPRESSION, (1,))[0], tags.get(_BITS, (1,))
        if compression in _COMPRESSIONS:
            return f"a TIFF with {_COMPRESSIONS[compression]}"
        if any(depth not in _DEPTHS for depth in bits) or (compression == _JPEG and set(bits) != {8}):
            return f"a TIFF of {' and '.join(str(depth) for depth in sorted(set(bits)))} bits a channel"
        if len(set(bits)) > 1:
            return f"a TIFF with channels of {' and '.join(str(depth) for depth in sorted(set(bits)))} bits"
    return None


def _directories(data: bytes, *, with_sub_directories: bool) -> Iterator[dict[int, tuple[int, ...]]]:
    """Tags and their whole numbers of the first pages, and of the directories below the first."""
    offsets = [page.offset for page in tiff.list_pages(data, _MAX_PAGES)][:_MAX_PAGES]
    for index, offset in enumerate(offsets):
        tags = _read_tags(data, offset)
        yield tags
        if with_sub_directories and index == 0:
            for below in tags.get(_SUB_DIRECTORIES, ())[:_MAX_PAGES]:
                yield _read_tags(data, below)


def _read_tags(data: bytes, offset: int) -> dict[int, tuple[int, ...]]:
    order = "<" if data.startswith(b"II") else ">"
    is_big = 43 in data[2:4]
    count_code, entry_size, place = ("Q", 20, 12) if is_big else ("H", 12, 8)
    tags: dict[int, tuple[int, ...]] = {}
    try:
        (count,) = struct.unpack_from(order + count_code, data, offset)
        first = offset + struct.calcsize(count_code)
        for entry in range(first, first + entry_size * min(count, 4096), entry_size):
            tag, kind = struct.unpack_from(order + "HH", data, entry)
            (number,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, entry + 4)
            if kind not in _SIZES or not number > 0:
                continue
            position = entry + place
            if _SIZES[kind] * number > (8 if is_big else 4):
                (position,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, position)
            tags[tag] = struct.unpack_from(f"{order}{min(number, _MAX_VALUES)}{_CODES[kind]}", data, position)
    except struct.error:
        pass  # a broken directory: what was read of it
    return tags
