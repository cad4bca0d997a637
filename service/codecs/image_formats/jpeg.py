"""Segments of a JPEG (ITU-T T.81, annex B): its kind, scans and end are found before any reader decodes it.

bytes -> check_kind (kinds that are not read) -> check_scans (limit)    bytes without an end -> complete -> two files
bytes -> list_attachments (what a file holds beside its picture)

A progressive JPEG may have thousands of scans, and libjpeg goes through all blocks of the image for each, in one call
that cannot be interrupted: 2,649 scans of 100 megapixels in a file of 1 MB took a minute. Cameras and web sites write
1 to 20 scans.
"""

import re
import struct
from collections.abc import Iterable, Iterator

from service.codecs.buffers import join_in_slices
from service.errors import InvalidInput, TooLarge

SCANS_OF_LARGEST = 32  # of an image of as many pixels as are allowed; 4 billion pixels take 1 to 4 s
MAX_SCANS = 100  # of any smaller one
MAX_SEGMENTS = 10_000  # a photograph has some dozens; 128 MiB of empty ones took half a minute
_START_OF_SCAN, _END_OF_IMAGE, _APP1, _APP2, _APP11 = 0xDA, 0xD9, 0xE1, 0xE2, 0xEB
_END = b"\xff\xd9"
_FILLERS = (b"\x55" * 64, b"\xaa" * 64)  # no bit of them is the same, and no marker is in them
_FRAMES = {  # the kinds of a frame (table B.1) that are not read
    0xC3: "a lossless JPEG (as DICOM and raw files have inside)", 0xC5: "a hierarchical JPEG",
    0xC6: "a hierarchical JPEG", 0xC7: "a hierarchical JPEG", 0xCB: "a lossless JPEG with arithmetic coding",
    0xCD: "a hierarchical JPEG", 0xCE: "a hierarchical JPEG", 0xCF: "a hierarchical JPEG", 0xF7: "a JPEG-LS",
}  # fmt: skip
_ARITHMETIC = (0xC9, 0xCA)
_START_OF_FRAME = {0xC0, 0xC1, 0xC2, *_ARITHMETIC, *_FRAMES}
_LAST_COEFFICIENT = 63
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
# behind a scan's data, in which 0 and restarts follow 0xFF; without fill bytes, which would be searched again and again
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SLICE = 1 << 20  # bytes that are searched without letting other threads run


def check_scans(data: bytes, pixels: int, max_pixels: int, label: str) -> None:
    """Raises TooLarge (413) for more scans than an image of so many pixels may have.

    Args:
        data: the file.
        pixels: of the image.
        max_pixels: the limit of one image.
        label: names the image in the error.
    """
    limit = min(MAX_SCANS, SCANS_OF_LARGEST * max_pixels // max(1, pixels))
    # the marker's two bytes never occur in a scan's data: this is a fast upper bound, and nearly always enough
    if _count_marks(data, b"\xff\xda") > limit and count_scans(data, limit + 1) > limit:
        raise TooLarge(
            f"{label} has more than {limit} scans, which is the limit for its {pixels / 1e6:.4g} Mpixel; save it again "
            "with fewer, or as a baseline JPEG",
            limit=limit,
        )


def check_kind(data: bytes, label: str) -> None:
    """Raises InvalidInput (422) for an intact JPEG of a kind that is not read, with its name and the remedy."""
    for marker, start, _ in _segments(data):
        if marker in _START_OF_FRAME and start < len(data):
            name = _FRAMES.get(marker)
            if name is None and data[start] != 8:
                name = f"a JPEG of {data[start]} bits a channel"
            if name is not None:
                raise InvalidInput(
                    f"{label} is {name}, which is not read here; save it as a JPEG of 8 bits, PNG or TIFF"
                )
            return


def complete(data: bytes) -> Iterable[bytes]:
    """A JPEG without its end marker, completed in two ways; none if the file cannot be whole.

    Other bytes are put behind its last scan in each. Where a row is not there, its pixels come of those bytes and the
    two pictures differ; where every row is there, the bytes are behind all that is decoded. That a whole scan is
    missing is found here. Of arithmetic coding, in which zeros at the end may be left out, none can be told.
    """
    last, frame, components = 0, 0, b""
    missing: dict[tuple[int, int], int] = {}  # (component, coefficient): bits that no scan has brought so far
    for marker, start, end in _segments(data):
        if marker == _END_OF_IMAGE:
            return ()
        if marker in _START_OF_FRAME and start + 6 <= len(data):
            frame, components = marker, data[start + 6 : end : 3]
            missing = {(number, k): 1 for number in components for k in range(_LAST_COEFFICIENT + 1)}
        if marker == _START_OF_SCAN and end <= len(data) and end - start >= 6:
            count = data[start]
            first_coefficient, last_coefficient, bits = data[end - 3], data[end - 2], data[end - 1] & 15
            for number in data[start + 1 : start + 1 + 2 * count : 2]:
                for k in range(first_coefficient, last_coefficient + 1):
                    if bits == 0:
                        missing.pop((number, k), None)
            last = end
    if not last or frame in _ARITHMETIC or missing:
        return ()
    whole = memoryview(data)[: _find_end_of_fill(data)]
    return (join_in_slices((whole, filler, _END)) for filler in _FILLERS)


def list_attachments(data: bytes) -> list[str]:
    """What a JPEG holds beside its picture and its metadata: none of it is kept, since it belongs to the old pixels."""
    found = []
    for marker, start, end in _segments(data):
        segment = data[start : min(end, start + 64)]
        if marker == _START_OF_SCAN:
            break
        if marker == _APP2 and segment.startswith(b"MPF\0"):
            found.append("further pictures (MPF)")
        elif marker == _APP2 and segment.startswith(b"urn:iso:std:iso:ts:21496"):
            found.append("gain map")
        elif marker == _APP1 and segment.startswith(b"http://ns.adobe.com/xmp/extension/"):
            found.append("extended XMP")
        elif marker == _APP11 and b"jumb" in segment:
            found.append("content credentials (C2PA)")
    return list(dict.fromkeys(found))


def count_scans(data: bytes, max_count: int) -> int:
    """Scans of the first image in a file, counted up to `max_count`. Thumbnails in its metadata have scans too."""
    count = 0
    for marker, _, _ in _segments(data):
        count += marker == _START_OF_SCAN
        if count >= max_count:
            break
    return count


def _count_marks(data: bytes, mark: bytes) -> int:
    """`data.count(mark)` for two different bytes."""
    return sum([data.count(mark, start, start + _SLICE + 1) for start in range(0, len(data), _SLICE)])


def _find_end_of_fill(data: bytes) -> int:
    """`len(data.rstrip(b"\\xff"))`, without a copy."""
    end = len(data)
    while end:
        start = max(0, end - _SLICE)
        rest = data[start:end].rstrip(b"\xff")
        if rest:
            return start + len(rest)
        end = start
    return 0


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start of its parameters, their end) of each segment of the first image, its end marker included.

    The last one may end behind the end of the file, if that is cut off. Raises TooLarge for more than MAX_SEGMENTS.
    """
    position, count = 2, 0
    while position + 2 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF:
            break
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        position += 2
        if marker == _END_OF_IMAGE:
            yield marker, position, position
            break
        if marker in _WITHOUT_LENGTH:
            continue
        if position + 2 > len(data):
            break
        start, position = position + 2, position + struct.unpack_from(">H", data, position)[0]
        count += 1
        if count > MAX_SEGMENTS:
            raise TooLarge(f"the JPEG has more than {MAX_SEGMENTS} segments; save it again", limit=MAX_SEGMENTS)
        yield marker, start, position
        if marker == _START_OF_SCAN:
            position = _find_marker(data, position)


def _find_marker(data: bytes, start: int) -> int:
    """The position of the next marker behind a scan's data; the file's length if there is none."""
    for position in range(start, len(data), _SLICE):
        match = _MARKER.search(data, position, min(len(data), position + _SLICE + 1))
        if match is not None:
            return match.start()
    return len(data)
