"""Tags of a TIFF that hold no pixels: read from one file, written into another, or named as dropped.

bytes, directory -> read_tags -> PageTags (those that stay true, names of the rest) -> restore_tags -> bytes

libvips keeps a colour profile, XMP, IPTC and a description. Scanners, cameras and geographic programs write more: the
device, the date, the scale and position on the earth. A tag stays if it is true of the page that is written, which has
the same size, and other pixels. Tags of other programs may hold positions in their file: they are dropped, and named.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.codecs.buffers import join_in_slices

VALUE_BYTES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # by the value's type (TIFF 6.0, section 2; BigTIFF)  # fmt: skip
DIRECTORY_TAGS = (34665, 34853, 40965)  # EXIF, GPS, interoperability: the value is the position of a directory
BIGTIFF = 43  # the version in the header of BigTIFF, whose offsets are of 8 bytes
MAX_BYTES = 1 << 22  # of one tag's value
MAX_ENTRIES = 1000  # of one directory
ORIENTATION, PHOTOMETRIC, MAX_SAMPLE_VALUE, EXTRA_SAMPLES, S_MAX_SAMPLE_VALUE = 274, 262, 281, 338, 341
STRIP_OFFSETS, STRIP_BYTE_COUNTS = 273, 279
RESOLUTION = (282, 283, 296)
_UNSPECIFIED = 0  # ExtraSamples: a channel that is not alpha
_SEPARATED = 5  # PhotometricInterpretation of CMYK
_SHORT, _LONG, _LONG8 = 3, 4, (16, 18)

_NAMES_OF_KEPT = {
    269: "DocumentName", 270: "ImageDescription", 271: "Make", 272: "Model", 285: "PageName", 286: "XPosition",
    287: "YPosition", 297: "PageNumber", 305: "Software", 306: "DateTime", 315: "Artist", 316: "HostComputer",
    33432: "Copyright", 282: "XResolution", 283: "YResolution", 296: "ResolutionUnit", 34665: "EXIF", 34853: "GPS",
    280: "MinSampleValue", 281: "MaxSampleValue", 340: "SMinSampleValue", 341: "SMaxSampleValue",
    42112: "GDAL_METADATA", 42113: "GDAL_NODATA", 50838: "ImageJ metadata", 50839: "ImageJ metadata",
    51123: "MicroManager metadata",
}  # fmt: skip
_NAMES_OF_POSITION = {  # on the earth, by row and column: true as long as the page is not turned
    33550: "ModelPixelScale", 33922: "ModelTiepoint", 34264: "ModelTransformation", 34735: "GeoKeyDirectory",
    34736: "GeoDoubleParams", 34737: "GeoAsciiParams", 50844: "RPCCoefficients",
}  # fmt: skip
_NAMES_OF_COLOUR = {301: "TransferFunction", 318: "WhitePoint", 319: "PrimaryChromaticities"}
_NAMES_OF_DROPPED = {
    330: "reduced-resolution pages", 290: "GrayResponseUnit", 291: "GrayResponseCurve", 34377: "Photoshop resources",
    37724: "Photoshop layers", 34412: "LSM metadata", 33628: "MetaMorph metadata", 34118: "SEM metadata",
}  # fmt: skip
_WITH_THE_PIXELS = {  # how the pixels are stored; the writer has its own, or libvips keeps them
    254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 284, 288, 289, 292, 293, 317, 320,
    321, 322, 323, 324, 325, 326, 327, 328, 332, 333, 334, 336, 337, 338, 339, 347, 512, 513, 514, 515, 517, 518, 519,
    520, 521, 529, 530, 531, 532, 32995, 32996, 32997, 32998, 34675, 700, 33723,
}  # fmt: skip


@dataclass(frozen=True)
class Tag:
    """One entry: `value` in little-endian order, `count` values of `kind`; or the entries of a directory."""

    number: int
    kind: int
    count: int
    value: bytes
    children: "tuple[Tag, ...]" = ()

    @property
    def name(self) -> str:
        names = {**_NAMES_OF_KEPT, **_NAMES_OF_POSITION, **_NAMES_OF_COLOUR, **_NAMES_OF_DROPPED}
        return names.get(self.number, f"tag {self.number}")

    def first_number(self) -> int | None:
        """The first value, if it is a whole number."""
        size = {1: 1, _SHORT: 2, _LONG: 4}.get(self.kind)
        return int.from_bytes(self.value[:size], "little") if size and len(self.value) >= size else None


@dataclass(frozen=True)
class PageTags:
    """Of one page.

    Args:
        kept: by number; they are true of a page with the same size, upright, and other pixels.
        dropped: names of the others.
        max_sample: the largest value that a pixel may have, as the file says; None: it does not.
    """

    kept: Mapping[int, Tag]
    dropped: tuple[str, ...]
    max_sample: int | None


def read_tags(data: bytes | bytearray, offset: int) -> PageTags:
    """The tags of the directory at `offset`; entries that point outside the file are left out."""
    tags = {tag.number: tag for tag in _read_directory(data, offset)}
    orientation = _first_number(tags, ORIENTATION, 1)
    forgotten: set[int] = set()
    if orientation not in (0, 1):
        forgotten |= set(_NAMES_OF_POSITION)
    if _first_number(tags, PHOTOMETRIC, 1) == _SEPARATED:  # becomes sRGB
        forgotten |= set(_NAMES_OF_COLOUR) | {MAX_SAMPLE_VALUE, S_MAX_SAMPLE_VALUE, 280, 340}
    known = {EXTRA_SAMPLES, *_NAMES_OF_KEPT, *_NAMES_OF_POSITION, *_NAMES_OF_COLOUR} - forgotten
    kept = {number: tag for number, tag in tags.items() if number in known}
    if orientation in (5, 6, 7, 8) and 282 in kept and 283 in kept:  # rows become columns
        across, down = kept[282], kept[283]
        kept[282] = Tag(282, down.kind, down.count, down.value)
        kept[283] = Tag(283, across.kind, across.count, across.value)
    dropped = [tag.name for number, tag in tags.items() if number not in known and number not in _WITH_THE_PIXELS]
    limits = (_first_number(tags, number, 0) for number in (S_MAX_SAMPLE_VALUE, MAX_SAMPLE_VALUE))
    max_sample = next((limit for limit in limits if limit), None)
    return PageTags(kept, tuple(dict.fromkeys(dropped)), max_sample)


def restore_tags(file: bytes, tags: Mapping[int, Tag]) -> bytes:
    """A TIFF of one page as libvips writes it, with the tags of the file that its picture comes from.

    A resolution that the other file did not have is not made up, and a channel that was not alpha does not become it.
    """
    if not file.startswith(b"II*\0"):
        raise AssertionError("This is a bug: pages are written as little-endian classic TIFF")
    (offset,) = struct.unpack_from("<I", file, 4)
    (count,) = struct.unpack_from("<H", file, offset)
    entries: dict[int, bytes | Tag] = {}
    for position in range(offset + 2, offset + 2 + 12 * count, 12):
        entries[struct.unpack_from("<H", file, position)[0]] = file[position : position + 12]
    extra = tags.get(EXTRA_SAMPLES)
    entries |= {number: tag for number, tag in tags.items() if number != EXTRA_SAMPLES}
    if extra is not None and extra.first_number() == _UNSPECIFIED and EXTRA_SAMPLES in entries:
        entries[EXTRA_SAMPLES] = extra  # not alpha, which libvips writes for any
    if not {*RESOLUTION[:2]} <= tags.keys():
        for number in RESOLUTION:
            entries.pop(number, None)
    base = len(file) + len(file) % 2  # positions are even
    tail = bytearray()
    directory = _write_directory(tail, base, entries)
    header = file[:4] + struct.pack("<I", directory)
    return join_in_slices((header, memoryview(file)[8:], b"\0" * (base - len(file)), tail))


def name_special(tags: Mapping[int, Tag]) -> tuple[str, ...]:
    """Names of the tags that no other format holds, and that say more than how the file was made."""
    names = [tag.name for number, tag in tags.items() if number >= 32768]
    return tuple(dict.fromkeys(names))


def read_only_strip(file: bytes) -> bytes:
    """The data of the only strip of a TIFF of one page as libvips writes it."""
    (offset,) = struct.unpack_from("<I", file, 4)
    tags = {tag.number: tag for tag in _read_directory(file, offset)}
    if tags[STRIP_OFFSETS].count != 1:
        raise AssertionError("This is a bug: there is one strip")
    start, size = (_first_number(tags, number, 0) for number in (STRIP_OFFSETS, STRIP_BYTE_COUNTS))
    return file[start : start + size]


def _first_number(tags: Mapping[int, Tag], number: int, default: int) -> int:
    tag = tags.get(number)
    value = tag.first_number() if tag is not None else None
    return default if value is None else value


def _read_directory(data: bytes | bytearray, offset: int, depth: int = 0) -> Iterator[Tag]:
    order, is_big = ("<" if data.startswith(b"II") else ">"), BIGTIFF in data[2:4]
    count_type, entry_type, entry_size = ("Q", "HHQ", 20) if is_big else ("H", "HHI", 12)
    number_type, inline_size = ("Q", 8) if is_big else ("I", 4)
    start = offset + struct.calcsize(count_type)
    if start > len(data):
        return
    (count,) = struct.unpack_from(order + count_type, data, offset)
    for position in range(start, start + entry_size * min(count, MAX_ENTRIES), entry_size):
        if position + entry_size > len(data):
            return
        number, kind, value_count = struct.unpack_from(order + entry_type, data, position)
        size = VALUE_BYTES.get(kind, 0) * value_count
        place = position + struct.calcsize(order + entry_type)
        if size > inline_size:
            (place,) = struct.unpack_from(order + number_type, data, place)
        if not 0 < size <= min(MAX_BYTES, len(data) - place):
            continue
        raw = bytes(data[place : place + size])
        if number in DIRECTORY_TAGS:
            if depth < 2 and value_count == 1 and size in (4, 8):
                pointer = int.from_bytes(raw, "little" if order == "<" else "big")
                children = tuple(child for child in _read_directory(data, pointer, depth + 1) if child.number != 37500)
                if children:  # 37500: MakerNote, which holds positions in its file
                    yield Tag(number, _LONG, 1, b"", children)
            continue
        yield _normalize(number, kind, value_count, raw, order)


def _normalize(number: int, kind: int, count: int, raw: bytes, order: str) -> Tag:
    """Little-endian, of a type that classic TIFF has."""
    if kind in _LONG8:
        values = np.frombuffer(raw, f"{order}u8")
        return Tag(number, _LONG, count, np.minimum(values, 2**32 - 1).astype("<u4").tobytes())
    if kind == 17:
        return Tag(number, 9, count, np.frombuffer(raw, f"{order}i8").astype("<i4").tobytes())
    width = {5: 4, 10: 4}.get(kind, VALUE_BYTES[kind])  # rationals are two numbers of 4 bytes
    if order == ">" and width > 1:
        raw = np.frombuffer(raw, f">u{width}").astype(f"<u{width}").tobytes()
    return Tag(number, _LONG if kind == 13 else kind, count, raw)


def _write_directory(tail: bytearray, base: int, entries: Mapping[int, Any]) -> int:
    """Append the values that do not fit into entries, then the directory, to what follows `base`; its offset."""
    packed = []
    for number, entry in sorted(entries.items()):
        if isinstance(entry, bytes):
            packed.append(entry)
            continue
        value = entry.value
        if entry.children:
            position = _write_directory(tail, base, {child.number: child for child in entry.children})
            value = struct.pack("<I", position)
        elif len(value) > 4:
            position = _append(tail, base, value)
            value = struct.pack("<I", position)
        packed.append(struct.pack("<HHI", number, entry.kind, entry.count) + value.ljust(4, b"\0"))
    return _append(tail, base, struct.pack("<H", len(packed)) + b"".join(packed) + b"\0\0\0\0")


def _append(tail: bytearray, base: int, data: bytes) -> int:
    """The position of `data` at the end of `tail`; positions are even."""
    tail += b"\0" * (len(tail) % 2)
    position = base + len(tail)
    tail += data
    return position
