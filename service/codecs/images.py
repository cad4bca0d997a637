"""Pictures: bytes <-> pixels, by libvips. Header first, then pixels.

bytes -> inspect (format, width x height of every page; nothing decoded) -> decode -> Picture, one a page
Picture -> encode -> bytes; several -> encode_pages -> TIFF

Only libvips' readers of IMAGE_FORMATS are left unblocked, each called by name for the format that the first bytes say.
libvips reads no BMP, and takes a millisecond to begin with any picture: Pillow reads BMP, and reads and writes small
PNGs that hold nothing but pixels.
"""

import io
import logging
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from service.codecs import png, tiff
from service.codecs.formats import (
    ANY_IMAGE_NAME,
    IMAGE_FORMAT_OF,
    IMAGE_FORMATS,
    PNG,
    READABLE_MEDIA_TYPES,
    TIFF,
    ImageFormat,
    detect_image_format,
)
from service.errors import InvalidInput, NotAcceptable, TooLarge, UnsupportedMediaType
from service.imaging.picture import Metadata, Picture, Pixels, count_colours

os.environ["VIPS_CONCURRENCY"] = "1"  # before the import: requests run side by side, not the parts of one
os.environ["VIPS_WARNING"] = "0"  # damaged metadata of pictures that read well; nobody here can act on it

import pyvips

_WIDE = {"int": "32-bit whole", "uint": "32-bit whole", "float": "floating-point", "double": "floating-point"}
_TEXT = "png-comment-"
_CARRIED = {  # metadata by the beginning of libvips' name for it: the kind of metadata that a writer is to keep
    "icc-profile-data": "icc", "exif-": "exif", "xmp-data": "xmp", "iptc-data": "iptc", _TEXT: "other",
    "image-description": "other", "resolution-unit": "other",
}  # fmt: skip
_LONGEST_NOTE = 1 << 22  # a profile of a press is 3 MB; 50 KB of compressed text can be 50 MB
_UNKNOWN_RESOLUTION = (72 / 25.4, 72 / 25.4)  # pixels per millimetre; every PNG and TIFF of libvips says one
_LOOK = (128, 1024)  # rows, columns of the middle of a picture that tell how it is best packed
SMALL = 1 << 12  # pixels
MAX_SIDE = 65_535  # pixels: what a JPEG can have
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\0\0\0\0IEND\xaeB`\x82"
_LOGGER = logging.getLogger("service.images")
_ANIMATED = "{} is animated, it has several frames; send one picture"

# Every picture is read once: nothing to cache.
pyvips.cache_set_max(0)
pyvips.operation_block_set("VipsForeignLoad", True)
for _format in IMAGE_FORMATS:
    if _format.loader:
        pyvips.operation_block_set(f"VipsForeignLoad{_format.loader.capitalize()}Source", False)
logging.getLogger("pyvips").setLevel(logging.ERROR)
# Sizes are checked below against a setting, with a sentence; Pillow's own limit would only warn beside it.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class Header:
    """What is known before anything is decoded: `sizes` are (width, height), one a page."""

    media_type: str
    sizes: tuple[tuple[int, int], ...]

    @property
    def pixels(self) -> int:
        """Of all pages."""
        return sum(width * height for width, height in self.sizes)


def inspect(data: bytes, max_pixels: int, which: str, max_pages: int = 1, max_side: int = MAX_SIDE) -> Header:
    """Format, pages and their sizes, from the headers alone.

    Args:
        data: the picture's bytes.
        max_pixels: the limit of one page.
        which: how the sender would call it, "image" or "image 3", for the refusal.
        max_pages: pages of a TIFF; animations are refused anyhow.
        max_side: the limit of its width and of its height.
    Raises:
        UnsupportedMediaType: not a format of IMAGE_FORMATS.
        TooLarge: more than `max_pixels`, `max_pages` or `max_side`.
        InvalidInput: animated, several pages where one is wanted, 32-bit pixels, a broken header.
    """
    image_format = detect_image_format(data)
    if image_format is None:
        raise UnsupportedMediaType(f"{which} is not a picture in {ANY_IMAGE_NAME}", accepted=READABLE_MEDIA_TYPES)
    media_type = image_format.media_type
    try:
        small = _small_png(data)
        if small is not None:
            return Header(media_type, (_limited(small, max_pixels, max_side, which),))
        if image_format.loader is None:
            with Image.open(io.BytesIO(data), formats=(image_format.name,)) as bitmap:
                return Header(media_type, (_limited(bitmap.size, max_pixels, max_side, which),))
        _check_pages(data, media_type, which, max_pages)
        if media_type == PNG:
            png.check_notes(data, which)
        sizes = []
        for image in _opened(data, image_format, max_pages):
            sizes.append(_limited((image.width, image.height), max_pixels, max_side, which))
            _check_pixels(image, media_type, which)
        return Header(media_type, tuple(sizes))
    except (InvalidInput, TooLarge, MemoryError):
        raise
    except Exception as broken:  # readers raise whatever broken bytes lead them to
        or_else = ", or it is of a kind of TIFF that is not read" if media_type == TIFF else ""
        raise InvalidInput(f"{which} cannot be read: its header is damaged{or_else}") from broken


def decode(data: bytes, header: Header, which: str) -> list[Picture]:
    """An inspected picture -> its pages, upright, 8 or 16 bits deep as they are.

    Palettes and 1-bit pixels become grey or RGB, CMYK becomes sRGB by its profile; other profiles are not applied
    but noted, with EXIF, resolution and text (as far as it is ASCII or UTF-8), for `encode`.

    Raises:
        InvalidInput: the pixels cannot be read; the sentence names `which`.
    """
    try:
        image_format = IMAGE_FORMAT_OF[header.media_type]
        if image_format.loader is None:
            return [_plain(data, image_format.name)]
        if _small_png(data) is not None:
            return [Picture(_plain(data, "PNG").pixels, Metadata(resolution=_UNKNOWN_RESOLUTION))]
        return [_decoded(image) for image in _opened(data, image_format, len(header.sizes))]
    except MemoryError:
        raise
    except Exception as broken:  # readers raise whatever broken bytes lead them to
        raise InvalidInput(f"{which} cannot be read: it is damaged or cut off") from broken


def encode(picture: Picture, media_type: str) -> bytes:
    """A picture -> PNG, TIFF (both lossless, of its depth), JPEG or WebP (8 bits; JPEG over white) bytes.

    Raises:
        NotAcceptable: the format cannot hold the size (406).
    """
    image_format = IMAGE_FORMAT_OF[media_type]
    pixels = picture.pixels
    if max(pixels.shape[:2]) > image_format.max_side:
        raise NotAcceptable(
            f"the answer is {pixels.shape[1]}x{pixels.shape[0]}, {image_format.name.upper()} holds at most "
            f"{image_format.max_side} pixels a side; ask for {PNG}"
        )
    if media_type == PNG and pixels.dtype == np.uint8 and not picture.metadata.fields and pixels[..., 0].size <= SMALL:
        return _written_small(picture)
    image = _image(pixels).copy(**_resolution(picture.metadata))
    if pixels.dtype == np.uint16 and not image_format.has_16_bits:
        image = image.cast("uchar", shift=True).copy(interpretation="b-w" if count_colours(pixels) == 1 else "srgb")
    if image.bands in (2, 4) and not image_format.has_alpha:
        image = image.flatten(background=[255.0] * (image.bands - 1))
    options = dict(image_format.save_options)
    if media_type == PNG:
        options["filter"] = _png_filter(pixels)
    write = getattr(image, f"{image_format.saver}save_buffer")
    if not picture.metadata.fields:
        return bytes(write(keep="none", **options))
    for kind, name, value in picture.metadata.fields:
        image.set_type(kind, name, value)
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)  # it is upright now, whatever its EXIF block says
    try:
        return bytes(write(keep=_kept(picture.metadata), **options))
    except pyvips.Error as refused:  # notes are the sender's: PNG's writer fails on a profile of a wrong length
        _LOGGER.info("a picture is written without its metadata: %s", str(refused).splitlines()[0])
        return encode(Picture(pixels, Metadata(resolution=picture.metadata.resolution)), media_type)


def encode_pages(pictures: Sequence[Picture]) -> bytes:
    """Pages of any sizes and depths -> one TIFF."""
    return tiff.joined([encode(picture, TIFF) for picture in pictures])


# --- reading ---------------------------------------------------------------------------------------------


def _opened(data: bytes, image_format: ImageFormat, max_pages: int) -> Iterator[Any]:
    """A pyvips image for each page, its header read; its pixels must be before the next is asked for."""
    directories = tiff.directories(data, max_pages) if image_format.media_type == TIFF else []
    if len(directories) < 2:
        yield _open(data, image_format)
        return
    whole = bytearray(data)
    for directory in directories:
        with tiff.alone(whole, directory):
            yield _open(whole, image_format)


def _open(data: bytes | bytearray, image_format: ImageFormat) -> Any:
    read = getattr(pyvips.Image, f"{image_format.loader}load_source")
    return read(pyvips.Source.new_from_memory(data), access="sequential", fail_on="error")


def _check_pages(data: bytes, media_type: str, which: str, max_pages: int) -> None:
    if media_type == PNG:  # libvips shows the first frame of an animated PNG and does not say so
        control = data.find(b"\0\0\0\x08acTL", 8, data.find(b"IDAT"))
        if control > 0 and int.from_bytes(data[control + 8 : control + 12]) > 1:
            raise InvalidInput(_ANIMATED.format(which))
    pages = len(tiff.directories(data, max_pages)) if media_type == TIFF else 1
    if pages > max_pages == 1:
        raise InvalidInput(f"{which} has several frames or pages; send one picture")
    if pages > max_pages:
        raise TooLarge(f"{which} has more than {max_pages} pages, which is the limit", limit=max_pages)


def _limited(size: tuple[int, int], max_pixels: int, max_side: int, which: str) -> tuple[int, int]:
    width, height = size
    if width * height > max_pixels:
        raise TooLarge(
            f"{which} is {width}x{height} ({_mega(width * height)} Mpixel); the limit is {_mega(max_pixels)} Mpixel",
            limit=max_pixels,
        )
    if max(size) > max_side:
        raise TooLarge(f"{which} is {width}x{height}; the limit is {max_side} pixels a side", limit=max_side)
    return size


def _check_pixels(image: Any, media_type: str, which: str) -> None:
    if media_type != TIFF and _number(image, "n-pages", 1) > 1:
        raise InvalidInput(_ANIMATED.format(which))
    if image.format not in ("uchar", "ushort"):
        raise InvalidInput(
            f"{which} has {_WIDE.get(image.format, 'signed or complex')} pixels, whose black and white are not known; "
            "send 8 or 16 bits per channel"
        )
    if image.bands > (5 if image.interpretation == "cmyk" else 4):
        raise InvalidInput(f"{which} has {image.bands} channels; send grey, RGB or CMYK, with or without alpha")


def _decoded(image: Any) -> Picture:
    notes = _notes(image)
    turned = _number(image, "orientation", 1)
    if image.interpretation == "cmyk":
        deep = image.format == "ushort"
        image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=16 if deep else 8)
        notes = Metadata(tuple(f for f in notes.fields if f[1] != "icc-profile-data"), notes.resolution)
    deep = image.format == "ushort"
    shape = (image.height, image.width, image.bands)
    memory = image.write_to_memory()
    pixels: Pixels = np.frombuffer(memory, np.uint16) if deep else np.frombuffer(memory, np.uint8)
    return Picture(_upright(pixels.reshape(shape), turned), notes)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turned as EXIF's orientation says: 2, 4, 5, 7 are mirrored, the others are turns (TIFF 6.0, tag 274)."""
    turned = np.swapaxes(pixels, 0, 1) if orientation in (5, 6, 7, 8) else pixels
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)  # type: ignore[return-value]


def _small_png(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a PNG of SMALL pixels at most, 8-bit grey or RGB, not interlaced, that holds nothing else."""
    if not data.startswith(_PNG_START) or len(data) > 8 * SMALL:
        return None
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data.ljust(33), 16)
    if depth != 8 or colour not in (0, 2) or interlaced or not 0 < width * height <= SMALL:
        return None
    at = 33  # behind the header's checksum
    while data[at + 4 : at + 8] == b"IDAT":
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return (width, height) if data[at:] == _PNG_END else None


def _plain(data: bytes, form: str) -> Picture:
    with Image.open(io.BytesIO(data), formats=(form,)) as opened:
        grey = opened.mode in ("1", "L")
        pixels = np.asarray(opened.convert("L" if grey else "RGBA" if opened.mode == "RGBA" else "RGB"))
    return Picture(pixels.reshape(*pixels.shape[:2], -1))


def _written_small(picture: Picture) -> bytes:
    """PNG of 8 bits, without metadata but its resolution."""
    buffer = io.BytesIO()
    pixels = picture.pixels[..., 0] if picture.pixels.shape[2] == 1 else picture.pixels
    told = picture.metadata.resolution
    dpi = {} if told is None else {"dpi": (told[0] * 25.4, told[1] * 25.4)}
    Image.fromarray(pixels).save(buffer, "PNG", **dpi)
    return buffer.getvalue()


def _number(image: Any, name: str, otherwise: int) -> int:
    return int(image.get(name)) if image.get_typeof(name) else otherwise


# --- metadata --------------------------------------------------------------------------------------------


def _notes(image: Any) -> Metadata:
    fields = []
    for name in image.get_fields():
        if not name.startswith(tuple(_CARRIED)) or name == "exif-ifd0-Orientation":
            continue
        try:
            value = image.get(name)
        except UnicodeDecodeError:  # text of another age
            continue
        if len(value) > _LONGEST_NOTE:
            continue
        if name.startswith(_TEXT) and "\ufffd" in value:  # libvips reads and writes text as UTF-8, old PNG is Latin-1
            continue
        fields.append((image.get_typeof(name), name, value))
    known = (image.xres, image.yres) != (1.0, 1.0)  # what libvips says where a file says nothing
    return Metadata(tuple(fields), (image.xres, image.yres) if known else None)


def _kept(notes: Metadata) -> str:
    return ":".join(sorted({kind for _, n, _ in notes.fields for name, kind in _CARRIED.items() if n.startswith(name)}))


def _resolution(notes: Metadata) -> dict[str, float]:
    xres, yres = notes.resolution or _UNKNOWN_RESOLUTION
    return {"xres": xres, "yres": yres}


# --- writing ---------------------------------------------------------------------------------------------


def _image(pixels: Pixels) -> Any:
    """[H,W,B] -> a pyvips image of the same memory."""
    deep, grey = pixels.dtype == np.uint16, count_colours(pixels) == 1
    kind = ("grey16" if grey else "rgb16") if deep else ("b-w" if grey else "srgb")
    height, width, bands = pixels.shape
    memory = np.ascontiguousarray(pixels)
    image = pyvips.Image.new_from_memory(memory, width, height, bands, "ushort" if deep else "uchar")
    return image.copy(interpretation=kind)


def _png_filter(pixels: Pixels) -> str:
    """Pages pack best as they are, photographs as differences: a small look at the middle tells."""
    rows, columns = _LOOK
    top, left = max(0, (len(pixels) - rows) // 2), max(0, (pixels.shape[1] - columns) // 2)
    look = np.ascontiguousarray(pixels[top : top + rows, left : left + columns]).view(np.uint8)
    plain = len(zlib.compress(look.tobytes(), 1))
    return "up" if len(zlib.compress(np.diff(look, axis=0).tobytes(), 1)) < plain else "none"


def _mega(pixels: int) -> str:
    return f"{pixels / 1e6:.4g}"
