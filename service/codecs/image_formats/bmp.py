"""BMPs: resolution and profile are read; run-length encoded ones (compression 1, 2) have limits, and can be stopped.

bytes -> is_run_length_encoded -> check_runs -> InterruptibleFile -> Pillow        bytes -> read_metadata

Pillow decodes these in Python, byte by byte: a file of 5 KB in which every row breaks off took ten seconds for 60
megapixels, and a file may hold any number of runs without pixels. All other BMPs it decodes in C.
"""

import io
import struct

from service.codecs.image_formats import metadata
from service.errors import InvalidInput, TooLarge
from service.imaging.picture import Metadata
from service.interruption import current_interruption

MAX_RUN_LENGTH_PIXELS = 16_000_000  # an A4 page at 400 dpi; some seconds at most
_BYTES_PER_PIXEL = 4  # a run of one pixel and the end of a row of one pixel have two bytes each
_EXTRA_BYTES = 1 << 16  # of headers and palette
_COMPRESSION_OFFSET = 30
_HEADER_START, _INFO_SIZE, _V5_SIZE, _EMBEDDED = 14, 40, 124, b"DEBM"  # PROFILE_EMBEDDED, in the file's byte order
_RUN_LENGTH = (1, 2)  # BI_RLE8, BI_RLE4


def is_run_length_encoded(data: bytes) -> bool:
    """Whether the file is a BMP of runs, as far as its header goes."""
    if len(data) < _COMPRESSION_OFFSET + 4:
        return False
    header_size, compression = struct.unpack_from("<I", data, 14)[0], struct.unpack_from("<I", data, 30)[0]
    return header_size >= 40 and compression in _RUN_LENGTH


def check_runs(data: bytes, pixels: int, label: str) -> None:
    """Raises TooLarge (413) or InvalidInput (422) for a BMP of runs that would take long; `label` names the image."""
    if pixels > MAX_RUN_LENGTH_PIXELS:
        raise TooLarge(
            f"{label} is a run-length encoded BMP of {pixels / 1e6:.4g} Mpixel; the limit of these is "
            f"{MAX_RUN_LENGTH_PIXELS / 1e6:.4g} Mpixel: save it without compression, or as PNG",
            limit=MAX_RUN_LENGTH_PIXELS,
        )
    if len(data) > _BYTES_PER_PIXEL * pixels + _EXTRA_BYTES:
        raise InvalidInput(f"{label} cannot be read: it is a run-length encoded BMP with more runs than pixels")


def read_metadata(data: bytes) -> Metadata:
    """Resolution and colour profile (BITMAPINFOHEADER, BITMAPV5HEADER), as far as the header has them."""
    if len(data) < _HEADER_START + 4:
        return Metadata()
    (header_size,) = struct.unpack_from("<I", data, _HEADER_START)
    if header_size < _INFO_SIZE or len(data) < _HEADER_START + header_size:
        return Metadata()
    x, y = struct.unpack_from("<ii", data, _HEADER_START + 24)  # pixels per metre; 0: not stated
    resolution = (x / 1000, y / 1000) if x > 0 and y > 0 else None
    if header_size < _V5_SIZE or data[_HEADER_START + 56 : _HEADER_START + 60] != _EMBEDDED:
        return Metadata(resolution=resolution)
    start, size = struct.unpack_from("<II", data, _HEADER_START + 112)
    profile = data[_HEADER_START + start : _HEADER_START + start + size]
    return metadata.from_blocks({"icc-profile-data": profile if len(profile) == size else None}, resolution)


class InterruptibleFile(io.BytesIO):
    """Bytes whose reading raises InterruptedError once the thread is interrupted (service.interruption)."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._interruption = current_interruption()

    def read(self, size: int | None = -1, /) -> bytes:
        if self._interruption is not None and self._interruption.is_stopped:
            raise InterruptedError
        return super().read(size)
