"""Metadata of pictures as libvips has it: read, and chosen for the format that is written.

pyvips image -> read -> Metadata (what is kept, and names of what is not)
Metadata, format -> choose -> fields to write, libvips' word for their kinds, names of what the format cannot hold

What is kept is true of the new file: its XMP has no statement about what is no longer there (image_formats.xmp), and
the thumbnail, which shows the old picture, is gone.
"""

import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from service.codecs.formats import PNG, TIFF, ImageFormat
from service.codecs.image_formats import colour, xmp
from service.codecs.libvips import pyvips
from service.imaging.picture import Metadata

_PNG_TEXT = "png-comment-"
_KINDS = {  # by the beginning of a field's name: as ImageFormat.metadata calls it, as libvips' writers do, in sentences
    "icc-profile-data": ("icc", "icc", "colour profile"), "exif-": ("exif", "exif", "EXIF"),
    "xmp-data": ("xmp", "xmp", "XMP"), "iptc-data": ("iptc", "iptc", "IPTC"), _PNG_TEXT: ("text", "other", "text"),
    "image-description": ("description", "other", "description"),
}  # fmt: skip
_EXIF_MARK, _PROFILE_HEADER = b"Exif\0\0", 128  # bytes
_UNIT = "resolution-unit"
_MAX_FIELD_BYTES = 1 << 22  # a colour profile for print is 3 MB; 50 KB of compressed text can be 50 MB
DEFAULT_RESOLUTION = (72 / 25.4, 72 / 25.4)  # pixels per millimetre; libvips writes one into every PNG and TIFF
_INCH = 25.4  # millimetres
_HDR_CHUNKS = ("mDCV", "cLLI")


def read(image: Any) -> Metadata:
    """The metadata of an opened pyvips image."""
    names = image.get_fields()
    fields: list[tuple[int, str, Any]] = []
    dropped = ["thumbnail"] if "jpeg-thumbnail-data" in names else []
    for name in names:
        kind = _find_kind(name)
        if (kind is None and name != _UNIT) or name == "exif-ifd0-Orientation":
            continue
        word = kind[2] if kind is not None else ""
        try:
            value = image.get(name)
        except UnicodeDecodeError:
            dropped.append(f"{word} that is not UTF-8")
            continue
        if len(value) > _MAX_FIELD_BYTES:
            dropped.append(f"{word} of more than {_MAX_FIELD_BYTES >> 20} MiB")
            continue
        if name.startswith(_PNG_TEXT) and "\ufffd" in value:  # libvips takes text for UTF-8, old PNGs have Latin-1
            dropped.append(f"{word} that is not UTF-8")
            continue
        if name == "icc-profile-data" and not _is_profile(value):
            dropped.append(f"{word} that is broken")
            continue
        if name == "exif-data":
            value = _cut_thumbnail(value)
        if name == "xmp-data":
            value, statements = xmp.remove_false_statements(value)
            dropped += statements
            if value is None:
                continue
        fields.append((image.get_typeof(name), name, value))
    return Metadata(tuple(fields), _read_resolution(image), dropped=tuple(dict.fromkeys(dropped)))


def from_blocks(blocks: Mapping[str, bytes | None], resolution: tuple[float, float] | None = None) -> Metadata:
    """Metadata of whole blocks, by libvips' names: icc-profile-data, exif-data, xmp-data; None where there is none."""
    fields: list[tuple[int, str, Any]] = []
    dropped: list[str] = []
    for name, value in blocks.items():
        content: bytes | None = value
        if name == "xmp-data" and value:
            content, statements = xmp.remove_false_statements(value)
            dropped += statements
        if name == "icc-profile-data" and content and not _is_profile(content):
            content = None
            dropped.append("colour profile that is broken")
        if name == "exif-data" and content:
            content = _cut_thumbnail(content)
        if content and len(content) <= _MAX_FIELD_BYTES:
            fields.append((pyvips.GValue.blob_type, name, content))
    return Metadata(tuple(fields), resolution, dropped=tuple(dropped))


def choose(
    metadata: Metadata, image_format: ImageFormat, channels: int
) -> tuple[list[tuple[int, str, Any]], str, tuple[str, ...]]:
    """The fields that a format's writer takes, libvips' words for their kinds, and names of all that is dropped.

    Args:
        channels: colours of the picture without alpha: colour chunks of a PNG become a profile elsewhere.
    """
    fields, kinds, dropped = [], set(), list(metadata.dropped)
    channels = channels if image_format.has_grey else 3
    for field in metadata.fields:
        kind = _find_kind(field[1])
        if kind is None:  # the unit of the resolution
            fields.append(field)
        elif kind[0] == "icc" and not _has_channels(field[2], channels):
            dropped.append(f"{kind[2]} of another colour space")  # scanners put one of RGB into files of grey
        elif kind[0] in image_format.metadata:
            fields.append(field)
            kinds.add(kind[1])
        else:
            dropped.append(kind[2])
    if metadata.colour and image_format.media_type != PNG:
        has_profile = any(name == "icc-profile-data" for _, name, _ in fields)
        profile = None if has_profile else colour.to_profile(metadata.colour, channels)
        if profile is not None:
            fields.append((pyvips.GValue.blob_type, "icc-profile-data", profile))
            kinds.add("icc")
        if any(name in metadata.colour for name in _HDR_CHUNKS):
            dropped.append("light levels of a mastering display")
    if _is_unusual(metadata.resolution) and image_format.media_type not in (PNG, TIFF):
        kinds.add("exif")  # where these formats have their resolution
    return fields, ":".join(sorted(kinds)) or "none", tuple(dict.fromkeys(dropped))


def without_fields(metadata: Metadata) -> Metadata:
    """The resolution alone; what is left out is named."""
    kinds = [_find_kind(name) for _, name, _ in metadata.fields]
    names = [kind[2] for kind in kinds if kind is not None]
    return replace(metadata, fields=(), colour={}, dropped=tuple(dict.fromkeys([*metadata.dropped, *names])))


def resolution_options(metadata: Metadata) -> dict[str, float]:
    """As arguments of pyvips' `copy`."""
    xres, yres = metadata.resolution or DEFAULT_RESOLUTION
    return {"xres": xres, "yres": yres}


def _is_profile(profile: bytes) -> bool:
    """Whether a colour profile has the length and the signature that it should (ICC.1:2022, 7.2)."""
    return len(profile) > _PROFILE_HEADER and profile[36:40] == b"acsp" and int.from_bytes(profile[:4]) == len(profile)


def _has_channels(profile: bytes, channels: int) -> bool:
    return profile[16:20] == (b"GRAY" if channels == 1 else b"RGB ")


def _cut_thumbnail(block: bytes) -> bytes:
    """An EXIF block whose second directory, that of the thumbnail, is not linked any more (EXIF 3.0, 4.5.1)."""
    start = len(_EXIF_MARK) if block.startswith(_EXIF_MARK) else 0
    order = "<" if block[start : start + 2] == b"II" else ">"
    try:
        (directory,) = struct.unpack_from(order + "I", block, start + 4)
        (count,) = struct.unpack_from(order + "H", block, start + directory)
        link = start + directory + 2 + 12 * count
        struct.unpack_from(order + "I", block, link)
    except struct.error:  # libexif will not find more in it
        return block
    return block[:link] + b"\0\0\0\0" + block[link + 4 :]


def _find_kind(name: str) -> tuple[str, str, str] | None:
    for prefix, kind in _KINDS.items():
        if name.startswith(prefix):
            return kind
    return None


def _is_unusual(resolution: tuple[float, float] | None) -> bool:
    """Whether it is another than libvips' default, which PNG rounds."""
    return resolution is not None and max(abs(a - DEFAULT_RESOLUTION[0]) for a in resolution) > 0.01


def _read_resolution(image: Any) -> tuple[float, float] | None:
    """Pixels per millimetre; libvips has 1.0 where a file has none, and for WebP and AVIF, whose EXIF may have it."""
    if (image.xres, image.yres) != (1.0, 1.0):
        return image.xres, image.yres
    try:
        values = [image.get(f"exif-ifd0-{axis}Resolution").split()[0].split("/") for axis in "XY"]
        unit = image.get("exif-ifd0-ResolutionUnit").split()[0]
        x, y = (int(numerator) / int(denominator) for numerator, denominator in values)
    except (pyvips.Error, ValueError, ZeroDivisionError, IndexError, UnicodeDecodeError, struct.error):
        return None
    divisor = 10.0 if unit == "3" else _INCH
    return (x / divisor, y / divisor) if 0 < x < 1e6 and 0 < y < 1e6 else None
