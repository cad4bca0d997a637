"""Scans of a JPEG (ITU-T T.81, section B.2): counted before any reader decodes them.

bytes, pixels -> check_scans -> None | TooLarge

A progressive JPEG may have thousands of scans, and libjpeg goes through all blocks of the image for each, in one call
that cannot be interrupted: 2,649 scans of 100 megapixels in a file of 1 MB took a minute. Cameras and web sites write
1 to 20 scans.
"""

import re

from service.errors import TooLarge

SCANS_OF_LARGEST = 32  # of an image of as many pixels as are allowed; 4 billion pixels take 1 to 4 s
MAX_SCANS = 100  # of any smaller one
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # behind a scan's data: 0 and restarts belong to the data
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
    if data.count(b"\xff\xda") > limit and count_scans(data, limit + 1) > limit:
        raise TooLarge(
            f"{label} has more than {limit} scans, which is the limit for its {pixels / 1e6:.4g} Mpixel; save it again "
            "with fewer, or as a baseline JPEG",
            limit=limit,
        )


def count_scans(data: bytes, max_count: int) -> int:
    """Scans of the first image in a file, counted up to `max_count`. Thumbnails in its metadata have scans too."""
    count, position = 0, 2
    while count < max_count and position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF or marker == _END_OF_IMAGE:
            break
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        position += 2
        if marker not in _WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2])
        if marker == _START_OF_SCAN:
            count += 1
            position = _find_marker(data, position)
    return count


def _find_marker(data: bytes, start: int) -> int:
    """The position of the next marker behind a scan's data; the file's length if there is none."""
    for position in range(start, len(data), _SLICE):
        match = _MARKER.search(data, position, min(len(data), position + _SLICE + 1))
        if match is not None:
            return match.start(1) - 1
    return len(data)
