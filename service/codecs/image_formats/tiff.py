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
from service.codecs.image_formats.tiff_tags import BIGTIFF, DIRECTORY_TAGS, VALUE_BYTES
from service.errors import NotAcceptable

_OFFSET_TAGS = (273, 324)  # StripOffsets, TileOffsets: values that are positions in the file
_SHORT, _LONG = 3, 4
_MAX_BYTES = 2**32 - 1
_NEW_SUBFILE_TYPE, _SUBFILE_TYPE = 254, 255
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_OLD_REDUCED = 2  # value of SubfileType
_DIRECTORIES_PER_PAGE = 40  # levels of a pyramid and masks; more are not searched
_REDUCED_NAME, _MASK_NAME = "reduced-resolution pages", "transparency masks"


@dataclass(frozen=True)
class Directory:
    """One directory: its `offset`, the position of the `link` to the next, and the bits of its NewSubfileType."""

    offset: int
    link: int
    kind: int = 0

    @property
    def is_page(self) -> bool:
        """Whether it is a picture of its own: neither a smaller copy of another nor a mask."""
        return not self.kind & (_REDUCED | _MASK)


def list_pages(data: bytes, max_pages: int) -> list[Directory]:
    """The pages of a classic or a BigTIFF, `max_pages` + 1 of them at most.

    Levels of a pyramid, thumbnails and masks are no pages. A chain that leaves the file or runs in a circle ends there.
    """
    directories = list_directories(data, max_directories(max_pages))
    return [directory for directory in directories if directory.is_page][: max_pages + 1]


def max_directories(pages: int) -> int:
    """How many directories of a chain are looked at, of a file of at most so many pages."""
    return _DIRECTORIES_PER_PAGE * (pages + 1)


def name_other_directories(directories: Sequence[Directory]) -> tuple[str, ...]:
    """What is in a file beside its pages, for people."""
    kinds = [directory.kind for directory in directories if not directory.is_page]
    names = [_MASK_NAME if kind & _MASK else _REDUCED_NAME for kind in kinds]
    return tuple(dict.fromkeys(names))


def list_directories(data: bytes, max_count: int) -> list[Directory]:
    """All directories of the chain, `max_count` of them at most; a chain that leaves the file or is a circle ends."""
    order = "<" if data.startswith(b"II") else ">"
    is_big = BIGTIFF in data[2:4]
    offset_type, count_type, entry_size, position = ("Q", "Q", 20, 8) if is_big else ("I", "H", 12, 4)
    directories: dict[int, Directory] = {}
    while len(directories) < max_count and position + struct.calcsize(offset_type) <= len(data):
        (offset,) = struct.unpack_from(order + offset_type, data, position)
        if offset == 0 or offset in directories or offset + struct.calcsize(count_type) > len(data):
            break
        (count,) = struct.unpack_from(order + count_type, data, offset)
        start = offset + struct.calcsize(count_type)
        position = start + entry_size * count
        directories[offset] = Directory(offset, position, _read_kind(data, order, start, count, entry_size))
    return list(directories.values())


def _read_kind(data: bytes, order: str, start: int, count: int, entry_size: int) -> int:
    """NewSubfileType, or SubfileType in its terms, of the directory whose entries begin at `start`; 0 without one."""
    for position in range(start, start + entry_size * min(count, 2), entry_size):  # entries are in ascending order
        if position + entry_size > len(data):
            break
        tag, kind = struct.unpack_from(order + "HH", data, position)
        place = position + entry_size // 2 + 2  # of the value: behind tag, type and count
        if tag == _NEW_SUBFILE_TYPE:
            return int(struct.unpack_from(order + ("H" if kind == _SHORT else "I"), data, place)[0])
        if tag == _SUBFILE_TYPE:
            return _REDUCED if struct.unpack_from(order + "H", data, place)[0] == _OLD_REDUCED else 0
    return 0


@contextmanager
def isolate_page(file: bytearray, page: Directory) -> Iterator[None]:
    """Inside the block `file`, a TIFF of several pages, has only that one."""
    order, is_big = ("<" if file.startswith(b"II") else ">"), BIGTIFF in file[2:4]
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
        if tag in DIRECTORY_TAGS:
            (position,) = struct.unpack_from(f"{order}I", output, position)
            struct.pack_into(f"{order}I", output, entry + 8, position + distance)
            _move_offsets(output, order, position + distance, distance)
            continue
        if VALUE_BYTES[kind] * value_count > 4:  # they do not fit into the entry, which holds their position
            (position,) = struct.unpack_from(f"{order}I", output, entry + 8)
            position += distance
            struct.pack_into(f"{order}I", output, entry + 8, position)
        if tag in _OFFSET_TAGS:
            if kind != _LONG:
                raise AssertionError("This is a bug: libtiff writes offsets as LONG")
            offsets = [offset + distance for offset in struct.unpack_from(f"{order}{value_count}I", output, position)]
            struct.pack_into(f"{order}{value_count}I", output, position, *offsets)
    return directory + 2 + 12 * count
