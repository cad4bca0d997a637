"""Pages of a TIFF (TIFF 6.0, section 2: a chain of directories): found, shown one by one, joined.

libvips walks the whole chain for every page that it opens (4,096 pages: six minutes), so it is shown one page at a
time. It writes pages of one size and depth only, and people's scans have several: files of one page are put one
after another, the offsets in each are moved, and each directory's last word is made to point to the next one.
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from service.errors import NotAcceptable

_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # of one value, by its type
_OFFSETS = (273, 324)  # StripOffsets, TileOffsets: values that are places in the file
_LONG = 4
_MOST = 2**32 - 1
_LARGE = 43  # the version in the header of BigTIFF, whose offsets are of 8 bytes


@dataclass(frozen=True)
class Directory:
    """One page: `offset` of its directory, and the place of the `link` to the next."""

    offset: int
    link: int


def directories(data: bytes, most: int) -> list[Directory]:
    """The pages of a classic or a BigTIFF, at most `most` and one; a chain that leaves the file or runs in a circle
    ends there."""
    order = "<" if data.startswith(b"II") else ">"
    large = _LARGE in data[2:4]
    number, entries, size, place = ("Q", "Q", 20, 8) if large else ("I", "H", 12, 4)
    found: dict[int, Directory] = {}
    while len(found) <= most and place + struct.calcsize(number) <= len(data):
        (offset,) = struct.unpack_from(order + number, data, place)
        if offset == 0 or offset in found or offset + struct.calcsize(entries) > len(data):
            break
        (count,) = struct.unpack_from(order + entries, data, offset)
        place = offset + struct.calcsize(entries) + size * count
        found[offset] = Directory(offset, place)
    return list(found.values())


@contextmanager
def alone(whole: bytearray, directory: Directory) -> Iterator[None]:
    """Inside the block `whole`, a TIFF of several pages, has only that one."""
    order, large = ("<" if whole.startswith(b"II") else ">"), _LARGE in whole[2:4]
    number, first = (order + "Q", 8) if large else (order + "I", 4)
    changes = {first: directory.offset, directory.link: 0}
    changes = {place: value for place, value in changes.items() if place + struct.calcsize(number) <= len(whole)}
    before = {place: struct.unpack_from(number, whole, place)[0] for place in changes}
    try:
        for place, value in changes.items():
            struct.pack_into(number, whole, place, value)
        yield
    finally:
        for place, value in before.items():
            struct.pack_into(number, whole, place, value)


def joined(files: Sequence[bytes]) -> bytes:
    """Classic TIFF files, of one page and one byte order each -> one file with these pages.

    Raises:
        NotAcceptable: more than 4 GiB, which classic TIFF cannot address (406).
    """
    if len(files) == 1:
        return files[0]
    if sum(len(file) + 1 for file in files) > _MOST:
        raise NotAcceptable("the answer is larger than 4 GiB, which TIFF cannot hold; ask for application/json")
    whole = bytearray()
    link = 0  # where the offset of the next directory is to be written
    for file in files:
        start = len(whole)
        whole += file
        whole += b"\0" * (len(whole) % 2)  # directories begin at even places
        order = "<" if file.startswith(b"II") else ">"
        (directory,) = struct.unpack_from(f"{order}I", whole, start + 4)
        if start:
            struct.pack_into(f"{order}I", whole, link, start + directory)
        link = _move(whole, order, start + directory, start)
    return bytes(whole)


def _move(whole: bytearray, order: str, directory: int, by: int) -> int:
    """Add `by` to all offsets of one directory; returns where its link to the next one is."""
    count = int(struct.unpack_from(f"{order}H", whole, directory)[0])
    for place in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", whole, place)
        outside = _BYTES[kind] * values > 4
        values_at = place + 8
        if outside:
            (values_at,) = struct.unpack_from(f"{order}I", whole, place + 8)
            values_at += by
            struct.pack_into(f"{order}I", whole, place + 8, values_at)
        if tag in _OFFSETS:
            if kind != _LONG:
                raise AssertionError("This is a bug: libtiff writes offsets as LONG")
            moved = [offset + by for offset in struct.unpack_from(f"{order}{values}I", whole, values_at)]
            struct.pack_into(f"{order}{values}I", whole, values_at, *moved)
    return directory + 2 + 12 * count
