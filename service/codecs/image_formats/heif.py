"""AVIF and HEIC: boxes of their headers (ISO 14496-12, 23008-12); with the extra `heic`, pillow-heif decodes HEIC.

bytes -> read_header -> Header (colour, bits, what else is in the file)        bytes -> open_heic -> size -> read_heic

libvips decodes AVIF and says nothing of a file's colour code points, its film (image sequence) or its further pictures.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import TooLarge

INSTALL_COMMAND = "pip install 'autoencoder-service[heic]'"
_MAX_BOXES = 10_000  # of one parent; a photograph of 48 megapixels has 400 tiles
_ALPHA = (b"alpha", b"hevc:2015:auxid:1")
_AUXILIARY_NAMES = ((b"gainmap", "gain map"), (b"auxid:2", "depth map"), (b"depth", "depth map"))
_IDENTITY, _FULL_BOX = 0, 4  # matrix coefficients of pictures coded as RGB; bytes of version and flags


@dataclass
class Header:
    """What the boxes say.

    Args:
        is_sequence: the file holds a film beside or instead of a picture.
        primaries, transfer: code points of the primary picture (ITU-T H.273), 2 where they are not stated.
        is_lossless: coded as RGB, as pictures without loss are; one of grey alone does not show it.
        is_grey: the picture has no colour channels.
        attachments: names of what is in the file beside the picture, its alpha, its profile and its metadata.
    """

    is_sequence: bool = False
    primaries: int = 2
    transfer: int = 2
    is_lossless: bool = False
    is_grey: bool = False
    attachments: list[str] = field(default_factory=list)


def read_header(data: bytes) -> Header:
    """The header of an AVIF or HEIC; what is broken in it is left out, and its decoder will say so."""
    header = Header()
    meta: tuple[int, int] | None = None
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"ftyp":
            header.is_sequence = data[start : start + 4] in (b"avis", b"hevc", b"hevx", b"msf1")
        elif kind == b"moov":
            header.is_sequence = True
        elif kind == b"meta" and meta is None:
            meta = start + _FULL_BOX, end
    if meta is not None:
        with suppress(struct.error, IndexError):  # the decoder reads the same boxes, and refuses the file
            _read_meta(data, meta, header)
    return header


def open_heic(data: bytes) -> Any:
    """A pillow_heif.HeifFile, whose header is read and whose pixels are not; ValueError and others for broken ones.

    Raises TooLarge (413) for more boxes than a picture has: pillow_heif holds Python's lock while it goes through them.
    """
    import pillow_heif

    if sum([1 for _ in _boxes(data, 0, len(data))]) == _MAX_BOXES:
        raise TooLarge(f"the HEIC has {_MAX_BOXES} boxes or more; save it again", limit=_MAX_BOXES)

    pillow_heif.options.DECODE_THREADS = 1  # requests run side by side, not the tiles of one
    pillow_heif.options.THUMBNAILS = pillow_heif.options.DEPTH_IMAGES = pillow_heif.options.AUX_IMAGES = False
    return pillow_heif.open_heif(data, convert_hdr_to_8bit=False)


def read_heic(file: Any) -> tuple[NDArray[Any], dict[str, Any]]:
    """Pixels uint8 or uint16 [H,W,B], upright, and pillow_heif's facts: exif, xmp, icc_profile, bit_depth."""
    pixels: NDArray[Any] = np.asarray(file)
    bits = int(file.info.get("bit_depth", 8))
    return fill_bits(pixels.reshape(*pixels.shape[:2], -1), bits), file.info


def fill_bits(pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    """uint16 pixels of `bits` significant bits, shifted up -> white is 65535: the upper bits are repeated below."""
    if pixels.dtype != np.uint16 or not 8 < bits < 16:
        return pixels
    filled: NDArray[Any] = pixels | (pixels >> bits)
    return filled


def _read_meta(data: bytes, meta: tuple[int, int], header: Header) -> None:
    """Fills in what the box `meta` says of the primary picture and of the others."""
    children = {kind: (start, end) for kind, start, end in _boxes(data, *meta)}
    primary = 0
    if b"pitm" in children:
        start, _ = children[b"pitm"]
        (primary,) = struct.unpack_from(">H" if data[start] == 0 else ">I", data, start + _FULL_BOX)
    if b"iinf" in children and _has_tone_map(data, *children[b"iinf"]):
        header.attachments.append("gain map")
    if b"iprp" not in children:
        return
    properties: list[tuple[bytes, int, int]] = []
    associations: dict[int, list[int]] = {}
    for kind, start, end in _boxes(data, *children[b"iprp"]):
        if kind == b"ipco":
            properties = list(_boxes(data, start, end))
        elif kind == b"ipma":
            associations |= _read_associations(data, start, end)
    for index in associations.get(primary, []):
        if not 0 < index <= len(properties):
            continue
        kind, start, end = properties[index - 1]
        if kind == b"colr" and data[start : start + 4] == b"nclx" and end - start >= 11:
            header.primaries, header.transfer, matrix = struct.unpack_from(">3H", data, start + 4)
            header.is_lossless = matrix == _IDENTITY
        elif kind == b"av1C" and end - start >= 4:
            header.is_grey = bool(data[start + 2] & 0x10)
    for kind, start, end in properties:
        if kind == b"auxC":
            urn = data[start + _FULL_BOX : end].split(b"\0")[0]
            if not urn.endswith(_ALPHA):
                names = [name for part, name in _AUXILIARY_NAMES if part in urn]
                header.attachments.append(names[0] if names else "auxiliary picture")
    header.attachments = list(dict.fromkeys(header.attachments))


def _has_tone_map(data: bytes, start: int, end: int) -> bool:
    """Whether an item is a base picture with a gain map (ISO 21496-1)."""
    first = start + _FULL_BOX + (2 if data[start] == 0 else 4)
    for kind, item, stop in _boxes(data, first, end):
        if kind == b"infe" and b"tmap" in data[item : min(stop, item + 16)]:
            return True
    return False


def _read_associations(data: bytes, start: int, end: int) -> dict[int, list[int]]:
    """The numbers of each item's properties, from 1."""
    version, flags = data[start], data[start + 3]
    (count,) = struct.unpack_from(">I", data, start + _FULL_BOX)
    position, result = start + _FULL_BOX + 4, {}
    for _ in range(min(count, _MAX_BOXES)):
        if position >= end:
            break
        (item,) = struct.unpack_from(">I" if version else ">H", data, position)
        position += 4 if version else 2
        number = data[position]
        position += 1
        if flags & 1:
            result[item] = [value & 0x7FFF for value in struct.unpack_from(f">{number}H", data, position)]
            position += 2 * number
        else:
            result[item] = [value & 0x7F for value in data[position : position + number]]
            position += number
    return result


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start of its content, end of it) of each box between two positions."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if size == 1 and start + 16 <= end:
            (size,) = struct.unpack_from(">Q", data, content)
            content += 8
        stop = end if size == 0 else start + size
        if stop < content or stop > end:
            return
        yield kind, content, stop
        start = stop
