"""Pages of a TIFF (TIFF 6.0, section 2: a chain of directories): listed, isolated one by one, joined.

bytes -> list_pages -> isolate_page -> libvips          files of one page -> join_pages -> one file

libvips walks the whole chain for every page that it opens (4,096 pages: six minutes), so it gets one page at a time.
It writes pages of one size and depth only, and scans have several: files of one page are put one after another, the
offsets in each are moved, and each directory's last word is set to the next directory.
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from service.codecs.buffers import append_in_slices, join_in_slices
from service.errors import NotAcceptable

_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # by the value's type
_OFFSET_TAGS = (273, 324)  # StripOffsets, TileOffsets: values that are positions in the file
_LONG = 4
_MAX_BYTES = 2**32 - 1
_BIGTIFF = 43  # the version in the header of BigTIFF, whose offsets are of 8 bytes


@dataclass(frozen=True)
class Directory:
    """One page: `offset` of its directory, and the position of the `link` to the next."""

    offset: int
    link: int


def list_pages(data: bytes, max_pages: int) -> list[Directory]:
    """The pages of a classic or a BigTIFF, `max_pages` + 1 of them at most.

    A chain that leaves the file or runs in a circle ends there.
    """
    order = "<" if data.startswith(b"II") else ">"
    is_big = _BIGTIFF in data[2:4]
    offset_type, count_type, entry_size, position = ("Q", "Q", 20, 8) if is_big else ("I", "H", 12, 4)
    directories: dict[int, Directory] = {}
    while len(directories) <= max_pages and position + struct.calcsize(offset_type) <= len(data):
        (offset,) = struct.unpack_from(order + offset_type, data, position)
        if offset == 0 or offset in directories or offset + struct.calcsize(count_type) > len(data):
            break
        (count,) = struct.unpack_from(order + count_type, data, offset)
        position = offset + struct.calcsize(count_type) + entry_size * count
        directories[offset] = Directory(offset, position)
    return list(directories.values())


@contextmanager
def isolate_page(file: bytearray, page: Directory) -> Iterator[None]:
    """Inside the block `file`, a TIFF of several pages, has only that one."""
    order, is_big = ("<" if file.startswith(b"II") else ">"), _BIGTIFF in file[2:4]
    number, first_link = (order + "Q", 8) if is_big else (order + "I", 4)
    links = {first_link: page.offset, page.link: 0}
    links = {position: value for position, value in links.items() if position + struct.calcsize(number) <= len(file)}
    originals = {position: struct.unpack_from(number, file, position)[0] for position in links}
    try:
        for position, value in links.items():
            struct.pack_into(number, file, position, value)
        yield
    finally:
        for position, value in originals.items():
            struct.pack_into(number, file, position, value)


def join_pages(files: Sequence[bytes]) -> bytes:
    """Classic TIFF files, of one page and one byte order each -> one file with these pages.

    Raises:
        NotAcceptable: more than 4 GiB, which classic TIFF cannot address (406).
    """
    if len(files) == 1:
        return files[0]
    if sum(len(file) + 1 for file in files) > _MAX_BYTES:
        raise NotAcceptable("the answer is larger than 4 GiB, which TIFF cannot hold; ask for application/json")
    output = bytearray()
    link = 0  # where the offset of the next directory is written
    for file in files:
        start = len(output)
        append_in_slices(output, file)
        output += b"\0" * (len(output) % 2)  # directories begin at even positions
        order = "<" if file.startswith(b"II") else ">"
        (directory,) = struct.unpack_from(f"{order}I", output, start + 4)
        if start:
            struct.pack_into(f"{order}I", output, link, start + directory)
        link = _move_offsets(output, order, start + directory, start)
    return join_in_slices((memoryview(output),))


def _move_offsets(output: bytearray, order: str, directory: int, distance: int) -> int:
    """Add `distance` to all offsets of one directory; returns the position of its link to the next one."""
    count = int(struct.unpack_from(f"{order}H", output, directory)[0])
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind, value_count = struct.unpack_from(f"{order}HHI", output, entry)
        position = entry + 8
        if _VALUE_BYTES[kind] * value_count > 4:  # they do not fit into the entry, which holds their position
            (position,) = struct.unpack_from(f"{order}I", output, entry + 8)
            position += distance
            struct.pack_into(f"{order}I", output, entry + 8, position)
        if tag in _OFFSET_TAGS:
            if kind != _LONG:
                raise AssertionError("This is a bug: libtiff writes offsets as LONG")
            offsets = [offset + distance for offset in struct.unpack_from(f"{order}{value_count}I", output, position)]
            struct.pack_into(f"{order}{value_count}I", output, position, *offsets)
    return directory + 2 + 12 * count
