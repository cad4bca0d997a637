"""Image files: bytes <-> pictures, by libvips. Header first, then pixels.

bytes -> inspect (format, width x height of every page; nothing decoded) -> decode -> Picture, one a page
Picture -> encode -> bytes; several -> encode_pages -> TIFF

All readers of libvips are blocked but those of IMAGE_FORMATS, and each is called by name, for the format that the
first bytes show. libvips reads no BMP, and takes a millisecond to start on any image. So Pillow reads BMP, and it reads
and writes small PNGs that hold nothing but pixels. pillow-heif reads HEIC.

What decoding costs is known from the header: pixels, scans of a JPEG (image_formats.jpeg), runs of a BMP
(image_formats.bmp). libvips stops, and raises, when its thread is interrupted (service.interruption), but for the
scans of one JPEG and the pixels of one WebP or AVIF, which it takes in one step, as pillow-heif takes those of a HEIC.
"""

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from service.codecs import unread_formats
from service.codecs.buffers import append_in_slices, join_in_slices
from service.codecs.formats import (
    AVIF,
    BMP,
    GIF,
    IMAGE_FORMAT_OF,
    JPEG,
    PNG,
    READABLE_MEDIA_TYPES,
    TIFF,
    WEBP,
    ImageFormat,
    detect_image_format,
)
from service.codecs.image_formats import bmp, colour, heif, jpeg, png, tiff, tiff_kinds, tiff_tags, webp
from service.codecs.image_formats import metadata as metadata_fields
from service.codecs.libvips import pyvips
from service.errors import InvalidInput, NotAcceptable, TooLarge, UnsupportedMediaType
from service.imaging.bit_depth import fits
from service.imaging.picture import Metadata, Picture, Pixels, count_colours, to_8_bits, to_16_bits, with_white
from service.interruption import check_interruption, current_interruption

MAX_SIDE = 65_535  # pixels: what a JPEG can have
_MAX_COPY_BYTES = 1 << 23  # of pixels: a file of that size is copied in 5 ms
SMALL_PIXELS = 1 << 12  # of an image that Pillow reads and writes faster
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\0\0\0\0IEND\xaeB`\x82"
_SMALL_PNG_METADATA = Metadata(resolution=metadata_fields.DEFAULT_RESOLUTION)
_DTYPES: dict[str, np.dtype[Any]] = {  # of pixels, by libvips' name
    "uchar": np.dtype(np.uint8), "ushort": np.dtype(np.uint16), "short": np.dtype(np.int16),
    "uint": np.dtype(np.uint32), "int": np.dtype(np.int32), "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
}  # fmt: skip
_VIPS_FORMATS = {dtype: name for name, dtype in _DTYPES.items()}
_SAMPLE_SIZE = (128, 1024)  # rows, columns of the middle of an image, by which the PNG filter is chosen
_IS_ANIMATED = "{} is animated, it has several frames; send one picture"
_HAS_SEVERAL = "{} holds several pictures; send one"
_DAMAGED = "it is damaged or cut off"
_HEADER_FORMATS = (PNG, JPEG, TIFF, BMP)  # whose headers are read alone; for others the reader looks at the whole file
_log = logging.getLogger("service.images")

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


def inspect(data: bytes, max_pixels: int, label: str, max_pages: int = 1, max_side: int = MAX_SIDE) -> Header:
    """Format, pages and their sizes, from the headers alone.

    Args:
        data: the image file's bytes.
        max_pixels: the limit of one page.
        label: names the image in errors, "image" or "image 3".
        max_pages: pages of a TIFF; animations are refused anyhow.
        max_side: the limit of its width and of its height.
    Raises:
        UnsupportedMediaType: not a format of IMAGE_FORMATS.
        TooLarge: more than `max_pixels`, `max_pages` or `max_side`, or more scans or runs than so many pixels may have.
        InvalidInput: animated, several pages where `max_pages` is 1, 32-bit pixels, a broken header.
    """
    image_format = detect_image_format(data)
    if not data:
        raise InvalidInput(unread_formats.describe(data, label))
    if image_format is None or not image_format.is_readable:
        raise UnsupportedMediaType(unread_formats.describe(data, label), media_types=READABLE_MEDIA_TYPES)
    media_type, max_pixels = image_format.media_type, min(max_pixels, image_format.max_pixels)
    try:
        small_size = _small_png_size(data)
        if small_size is not None:
            return Header(media_type, (_check_size(small_size, max_pixels, max_side, label),))
        if image_format.reader == "heif":
            return Header(media_type, (_inspect_heic(data, max_pixels, max_side, label),))
        if image_format.reader == "pillow":
            with Image.open(io.BytesIO(data), formats=(image_format.name,)) as bitmap:
                size = _check_size(bitmap.size, max_pixels, max_side, label)
            if bmp.is_run_length_encoded(data):
                bmp.check_runs(data, size[0] * size[1], label)
            return Header(media_type, (size,))
        _check_pages(data, media_type, label, max_pages)
        _check_kind(data, media_type, label)
        sizes = []
        for image in _open_pages(data, image_format, max_pages):
            sizes.append(_check_size((image.width, image.height), max_pixels, max_side, label))
            _check_pixels(image, media_type, label)
        if media_type == JPEG:
            jpeg.check_scans(data, sizes[0][0] * sizes[0][1], max_pixels, label)
        return Header(media_type, tuple(sizes))
    except (InvalidInput, TooLarge, MemoryError):
        raise
    except Exception as error:  # readers raise whatever broken bytes lead them to
        fault = "its header is damaged" if media_type in _HEADER_FORMATS else _DAMAGED
        raise _explain(data, media_type, label, fault) from error


def decode(data: bytes, header: Header, label: str, white: float | None = None) -> list[Picture]:
    """An inspected image file -> its pages, upright, of the depth that they have, with the value of white.

    Args:
        white: of pixels of more than 8 bits; None: it is found, one for all pages (service.imaging.value_range).
    Raises:
        InvalidInput: the pixels cannot be read, or their white is not known; the sentence names the image by `label`.
    """
    return with_white(_decode(data, header, label), label, white)


def _decode(data: bytes, header: Header, label: str) -> list[Picture]:
    """An inspected image file -> its pages.

    Palettes and 1-bit pixels become grey or RGB, CMYK becomes sRGB by its profile. Other profiles are not applied but
    kept for `encode`, with EXIF, resolution and text (as far as it is ASCII or UTF-8), and the tags of a TIFF.
    """
    try:
        image_format = IMAGE_FORMAT_OF[header.media_type]
        if image_format.reader == "heif":
            return [_decode_heic(data)]
        if image_format.reader == "pillow":
            return [_decode_bmp(data)]
        if _small_png_size(data) is not None:
            return [_decode_small_png(data)]
        if image_format.media_type == JPEG:
            return [_add_facts(_decode_jpeg(data, image_format), data, JPEG)]
        pages = _open_pages(data, image_format, len(header.sizes))
        pictures = [_add_facts(_to_picture(image), data, image_format.media_type) for image in pages]
        return _add_tags(pictures, data) if image_format.media_type == TIFF else pictures
    except MemoryError:
        raise
    except Exception as error:  # readers raise whatever broken bytes lead them to
        raise _explain(data, header.media_type, label, _DAMAGED) from error


def _check_kind(data: bytes, media_type: str, label: str) -> None:
    """Raises InvalidInput for kinds that are not read, TooLarge for metadata over its limit, from the header."""
    if media_type == PNG:
        png.check_metadata(data, label)
    elif media_type == JPEG:
        jpeg.check_kind(data, label)
    elif media_type == TIFF:
        kind = tiff_kinds.name_refused(data)
        if kind is not None:
            remedy = unread_formats.RAW if "raw" in kind else unread_formats.SAVE
            raise InvalidInput(f"{label} is {kind}, which is not read here; {remedy}")
    elif media_type == AVIF and heif.read_header(data).is_sequence:
        raise InvalidInput(_IS_ANIMATED.format(label), fault="animated")


def _explain(data: bytes, media_type: str, label: str, fault: str) -> InvalidInput:
    """The error for bytes that a reader refused: of a kind that is not read, or else damaged."""
    kind = tiff_kinds.name_unread(data) if media_type == TIFF else None
    if kind is not None:
        return InvalidInput(
            f"{label} is {kind}, which is not read here; save it with 8 or 16 bits a channel and Deflate or LZW, or "
            "as PNG"
        )
    alternative = ", or it is of a kind of TIFF that is not read" if media_type == TIFF and fault != _DAMAGED else ""
    return InvalidInput(f"{label} cannot be read: {fault}{alternative}", fault="damaged")


def encode(picture: Picture, media_type: str) -> bytes:
    """A picture -> the bytes of a format of WRITABLE_MEDIA_TYPES, of the depth and with the alpha that it can hold.

    PNG and TIFF are lossless, WebP and AVIF if the picture comes from a lossless file of the same format. JPEG is 8
    bits, over white; WebP is 8 bits; AVIF is 8, 10 or 12.

    Raises:
        NotAcceptable: the format cannot hold the size (406).
    """
    return encode_and_report(picture, media_type)[0]


def encode_and_report(picture: Picture, media_type: str) -> tuple[bytes, tuple[str, ...]]:
    """As `encode`, and names of all that the picture's file held beside its pixels and that this one does not."""
    image_format = IMAGE_FORMAT_OF[media_type]
    pixels, metadata = picture.pixels, picture.metadata
    if max(pixels.shape[:2]) > image_format.max_side:
        raise NotAcceptable(
            f"the answer is {pixels.shape[1]}x{pixels.shape[0]}, {image_format.name.upper()} holds at most "
            f"{image_format.max_side} pixels a side; ask for {PNG}"
        )
    if pixels[..., 0].size > image_format.max_pixels:
        raise NotAcceptable(
            f"the answer has {pixels[..., 0].size / 1e6:.4g} Mpixel, {image_format.name} is written up to "
            f"{image_format.max_pixels / 1e6:.4g}; ask for {PNG}"
        )
    few_bits = _find_few_bits(picture, media_type)
    is_plain = not metadata.fields and not metadata.colour and not few_bits
    if media_type == PNG and pixels.dtype == np.uint8 and is_plain and pixels[..., 0].size <= SMALL_PIXELS:
        return _encode_small_png(picture), (*metadata.dropped, *tiff_tags.name_special(metadata.tags or {}))
    if pixels.dtype != np.uint8 and image_format.bits == 8:
        pixels = to_8_bits(pixels, picture.white)
    elif pixels.dtype not in (np.uint8, np.uint16) and media_type != TIFF:
        pixels = to_16_bits(pixels, picture.white)
    image = _to_vips(pixels).copy(**metadata_fields.resolution_options(metadata))
    if image.bands in (2, 4) and not image_format.has_alpha:
        image = image.flatten(background=[255.0] * (image.bands - 1))
    options = _save_options(picture, image_format) | _few_bits_options(few_bits, media_type)
    with _interruptible(image):
        data, dropped = _save(image, image_format, picture, options)
    tags = metadata.tags or {}
    if media_type == TIFF and metadata.tags is not None:
        return tiff_tags.restore_tags(data, tags), dropped
    return data, tuple(dict.fromkeys((*dropped, *tiff_tags.name_special(tags))))


def encode_g4(pixels: Pixels) -> bytes:
    """uint8 [H,W,1] of 0 and 255 -> the data of one strip in CCITT G4 (ITU-T T.6), in which black is 1."""
    height = len(pixels)
    options = {"compression": "ccittfax4", "bitdepth": 1, "miniswhite": True, "tile_height": -(-height // 16) * 16}
    file = bytes(_to_vips(pixels).tiffsave_buffer(keep="none", **options))
    return tiff_tags.read_only_strip(file)


def _find_few_bits(picture: Picture, media_type: str) -> int | None:
    """1, 2 or 4 bits, if the picture has no more, and the format has so few."""
    bits, pixels = picture.metadata.bits, picture.pixels
    if media_type not in (PNG, TIFF) or bits not in (1, 2, 4) or pixels.shape[2] != 1 or pixels.dtype != np.uint8:
        return None
    return bits if fits(pixels, bits) else None


def _few_bits_options(bits: int | None, media_type: str) -> dict[str, Any]:
    """Of libvips' writer; none for more bits."""
    if bits is None:
        return {}
    if media_type == PNG:
        return {"bitdepth": bits, "filter": "none"}
    if bits == 1:  # as scanners and fax machines write it
        return {"bitdepth": 1, "compression": "ccittfax4", "miniswhite": True, "predictor": "none"}
    return {"bitdepth": bits, "predictor": "none"}


def _save_options(picture: Picture, image_format: ImageFormat) -> dict[str, Any]:
    """The arguments of libvips' writer, for these pixels and for what their file was."""
    options, metadata = dict(image_format.save_options), picture.metadata
    media_type = image_format.media_type
    if media_type == PNG:
        options["filter"] = _choose_png_filter(picture.pixels)
    if media_type == TIFF and picture.pixels.dtype.kind == "f":
        options["predictor"] = "float"
    if media_type == AVIF and picture.pixels.dtype != np.uint8:
        options["bitdepth"] = 10 if metadata.bits == 10 else 12
    if media_type == metadata.lossless_media_type and media_type in (WEBP, AVIF):
        options["lossless"] = True
        del options["Q"]
        if media_type == WEBP:
            options["exact"] = True  # the colour of transparent pixels too
    return options


def _save(
    image: Any, image_format: ImageFormat, picture: Picture, options: dict[str, Any]
) -> tuple[bytes, tuple[str, ...]]:
    """The image of `picture` -> bytes, with the metadata that the writer takes, and names of the rest."""
    metadata = picture.metadata
    fields, kinds, dropped = metadata_fields.choose(metadata, image_format, count_colours(picture.pixels))
    for kind, name, value in fields:
        image.set_type(kind, name, value)
    if fields:
        image.set_type(pyvips.GValue.gint_type, "orientation", 1)  # it is upright now, whatever its EXIF block says
    try:
        data = _save_bytes(image, image_format.saver, keep=kinds, **options)
    except pyvips.Error as error:  # metadata is untrusted: PNG's writer fails on a profile of a wrong length
        interruption = current_interruption()
        if not fields or (interruption is not None and interruption.is_stopped):
            raise
        _log.info("a picture is written without its metadata: %s", str(error).splitlines()[0])
        plain = Picture(picture.pixels, metadata_fields.without_fields(metadata))
        return encode_and_report(plain, image_format.media_type)
    if image_format.media_type == PNG and metadata.colour:
        data = png.insert_colour_chunks(data, metadata.colour)
    return data, dropped


def _save_bytes(image: Any, saver: str | None, **options: Any) -> bytes:
    """The file. A large one is taken from libvips in slices: pyvips copies it in one step."""
    if image.width * image.height * image.bands <= _MAX_COPY_BYTES:
        return bytes(getattr(image, f"{saver}save_buffer")(**options))
    target = pyvips.Target.new_to_memory()
    getattr(image, f"{saver}save_target")(target, **options)
    value, size = pyvips.GValue(), pyvips.ffi.new("size_t *")
    value.set_type(pyvips.GValue.blob_type)
    pyvips.gobject_lib.g_object_get_property(pyvips.ffi.cast("GObject *", target.pointer), b"blob", value.pointer)
    content = pyvips.vips_lib.vips_value_get_blob(value.gvalue, size)
    return join_in_slices((memoryview(pyvips.ffi.buffer(content, size[0])),))


def encode_pages(pictures: Sequence[Picture]) -> bytes:
    """Pages of any sizes and depths -> one TIFF."""
    return encode_pages_and_report(pictures)[0]


def encode_pages_and_report(pictures: Sequence[Picture]) -> tuple[bytes, tuple[str, ...]]:
    """As `encode_pages`, and names of what the pages' file held and this one does not."""
    files, dropped = zip(*(encode_and_report(picture, TIFF) for picture in pictures), strict=True)
    return tiff.join_pages(files), tuple(dict.fromkeys(name for names in dropped for name in names))


# --- reading ---------------------------------------------------------------------------------------------


def _open_pages(data: bytes, image_format: ImageFormat, max_pages: int) -> Iterator[Any]:
    """A pyvips image for each page, its header read; its pixels must be read before the next page is opened."""
    pages = tiff.list_pages(data, max_pages) if image_format.media_type == TIFF else []
    if len(pages) < 2 and (not pages or pages == tiff.list_directories(data, 2)):
        yield _open(data, image_format)
        return
    file = bytearray()
    append_in_slices(file, data)
    for page in pages:
        with tiff.isolate_page(file, page):
            yield _open(file, image_format)


def _interruptible(image: Any) -> AbstractContextManager[None]:
    """Inside the block, what libvips computes from the image ends with an error once the thread is interrupted."""
    interruption = current_interruption()
    if interruption is None:
        return nullcontext()
    check_interruption()  # libvips forgets a flag that is set before it begins
    image.set_progress(True)  # libvips looks at the flag below only where progress is reported
    return interruption.call_on_stop(partial(image.set_kill, True))


def _open(data: bytes | bytearray, image_format: ImageFormat) -> Any:
    load = getattr(pyvips.Image, f"{image_format.loader}load_source")
    return load(pyvips.Source.new_from_memory(data), access="sequential", fail_on="error")


def _decode_jpeg(data: bytes, image_format: ImageFormat) -> Picture:
    """The picture; a file that is whole but for its end marker is read, as by every viewer."""
    try:
        return _to_picture(_open(data, image_format))
    except pyvips.Error:
        completed = [_to_picture(_open(candidate, image_format)) for candidate in jpeg.complete(data)]
        if not completed or not np.array_equal(completed[0].pixels, completed[1].pixels):
            raise  # rows are missing
        return completed[0]


def _add_facts(picture: Picture, data: bytes, media_type: str) -> Picture:
    """The picture, with what libvips does not say of its file."""
    metadata, pixels = picture.metadata, picture.pixels
    attachments: list[str] = []
    if media_type == JPEG:
        attachments = jpeg.list_attachments(data)
    elif media_type == PNG:
        metadata = replace(metadata, colour=png.extract_colour_chunks(data))
        attachments = ["content credentials (C2PA)"] if png.has_chunk(data, b"caBX") else []
        if png.has_chunk(data, b"iCCP") and not any(name == "icc-profile-data" for _, name, _ in metadata.fields):
            attachments.append("colour profile that is broken")  # or of another colour space: libpng leaves both out
    elif media_type == WEBP and webp.is_lossless(data):
        metadata = replace(metadata, lossless_media_type=WEBP)
    elif media_type == AVIF:
        header = heif.read_header(data)
        attachments = header.attachments
        metadata = replace(
            metadata,
            colour=colour.code_points_to_chunks(header.primaries, header.transfer),
            lossless_media_type=AVIF if header.is_lossless else None,
            max_sample=65535,  # bits are filled up below
        )
        if header.is_grey or _is_grey(pixels):
            pixels = _drop_colours(pixels)
        if metadata.bits is not None:
            pixels = heif.fill_bits(pixels, metadata.bits)
    elif media_type == GIF and _is_grey(pixels):
        pixels = _drop_colours(pixels)
    if attachments:
        metadata = replace(metadata, dropped=tuple(dict.fromkeys([*metadata.dropped, *attachments])))
    return Picture(pixels, metadata)


def _is_grey(pixels: Pixels) -> bool:
    """Whether the channels of colour are equal everywhere."""
    return count_colours(pixels) == 3 and bool(
        np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(pixels[..., 0], pixels[..., 2])
    )


def _drop_colours(pixels: Pixels) -> Pixels:
    """[H,W,3 or 4] -> [H,W,1 or 2]: the first channel, and alpha."""
    if count_colours(pixels) == 1:
        return pixels
    channels = [0, 3] if pixels.shape[2] == 4 else [0]
    return np.ascontiguousarray(pixels[:, :, channels])


def _inspect_heic(data: bytes, max_pixels: int, max_side: int, label: str) -> tuple[int, int]:
    """(width, height) of a HEIC, upright."""
    if heif.read_header(data).is_sequence:
        raise InvalidInput(_IS_ANIMATED.format(label), fault="animated")
    file = heif.open_heic(data)
    if len(file) > 1:
        raise InvalidInput(_HAS_SEVERAL.format(label), fault="several")
    return _check_size(file.size, max_pixels, max_side, label)


def _decode_heic(data: bytes) -> Picture:
    header = heif.read_header(data)
    pixels, facts = heif.read_heic(heif.open_heic(data))
    blocks = {
        "icc-profile-data": facts.get("icc_profile"),
        "exif-data": facts.get("exif"),
        "xmp-data": facts.get("xmp"),
    }
    metadata = metadata_fields.from_blocks(blocks)
    dropped = tuple(dict.fromkeys([*metadata.dropped, *header.attachments]))
    chunks = colour.code_points_to_chunks(header.primaries, header.transfer)
    return Picture(
        pixels, replace(metadata, colour=chunks, bits=facts.get("bit_depth"), max_sample=65535, dropped=dropped)
    )


def _check_pages(data: bytes, media_type: str, label: str, max_pages: int) -> None:
    if media_type == PNG:  # libvips reads the first frame of an animated PNG and does not say so
        control = data.find(b"\0\0\0\x08acTL", 8, data.find(b"IDAT"))
        if control > 0 and int.from_bytes(data[control + 8 : control + 12]) > 1:
            raise InvalidInput(_IS_ANIMATED.format(label), fault="animated")
    count = len(tiff.list_pages(data, max_pages)) if media_type == TIFF else 1
    if count == 0 and tiff.list_directories(data, 1):
        raise InvalidInput(
            f"{label} has only reduced-resolution pages, as raw files of cameras do; develop it, and send the picture"
        )
    if count > max_pages == 1:
        raise InvalidInput(f"{label} has several frames or pages; send one picture")
    if count > max_pages:
        raise TooLarge(f"{label} has more than {max_pages} pages, which is the limit", limit=max_pages)


def _check_size(size: tuple[int, int], max_pixels: int, max_side: int, label: str) -> tuple[int, int]:
    """The size (width, height), if it is within the limits."""
    width, height = size
    if width * height > max_pixels:
        raise TooLarge(
            f"{label} is {width}x{height} ({width * height / 1e6:.4g} Mpixel); "
            f"the limit is {max_pixels / 1e6:.4g} Mpixel",
            limit=max_pixels,
        )
    if max(size) > max_side:
        raise TooLarge(f"{label} is {width}x{height}; the limit is {max_side} pixels a side", limit=max_side)
    return size


def _check_pixels(image: Any, media_type: str, label: str) -> None:
    if media_type != TIFF and _read_number(image, "n-pages", 1) > 1:  # pages of a TIFF come one by one
        if media_type == AVIF:
            raise InvalidInput(_HAS_SEVERAL.format(label), fault="several")
        raise InvalidInput(_IS_ANIMATED.format(label), fault="animated")
    if image.format not in _DTYPES:
        raise InvalidInput(f"{label} has pixels of the kind {image.format}; send whole numbers or floats")
    if image.bands > (5 if image.interpretation == "cmyk" else 4):
        raise InvalidInput(f"{label} has {image.bands} channels; send grey, RGB or CMYK, with or without alpha")


def _to_picture(image: Any) -> Picture:
    """A pyvips image -> its pixels, upright, and its metadata."""
    metadata = metadata_fields.read(image)
    if image.format == "ushort":
        metadata = replace(metadata, bits=_read_number(image, "bits-per-sample", 16))
    if image.format == "uchar" and image.bands == 1 and _read_number(image, "bits-per-sample", 8) < 8:
        metadata = replace(metadata, bits=_read_number(image, "bits-per-sample", 8))
    orientation = _read_number(image, "orientation", 1)
    has_16_bits = image.format == "ushort"
    if image.interpretation == "cmyk":
        image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=16 if has_16_bits else 8)
        fields = tuple(field for field in metadata.fields if field[1] != "icc-profile-data")
        metadata = replace(metadata, fields=fields)
    shape = (image.height, image.width, image.bands)
    with _interruptible(image):
        memory = image.write_to_memory()
    pixels: Pixels = np.frombuffer(memory, _DTYPES[image.format])
    return Picture(_turn_upright(pixels.reshape(shape), orientation), metadata)


def _add_tags(pictures: list[Picture], data: bytes) -> list[Picture]:
    """The pages of a TIFF, with the tags that libvips does not know, and names of what is left out."""
    pages = tiff.list_pages(data, len(pictures))
    beside = tiff.name_other_directories(tiff.list_directories(data, tiff.max_directories(len(pictures))))
    tagged = []
    for picture, page in zip(pictures, pages, strict=False):
        tags = tiff_tags.read_tags(data, page.offset)
        dropped = tuple(dict.fromkeys((*picture.metadata.dropped, *tags.dropped, *beside)))
        metadata = replace(picture.metadata, tags=tags.kept, max_sample=tags.max_sample, dropped=dropped)
        tagged.append(replace(picture, metadata=metadata))
    return tagged


def _turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turned by EXIF's orientation: 2, 4, 5, 7 are mirrored, the others are rotated (TIFF 6.0, tag 274)."""
    upright = np.swapaxes(pixels, 0, 1) if orientation in (5, 6, 7, 8) else pixels
    if orientation in (3, 4, 7, 8):
        upright = upright[::-1]
    if orientation in (2, 3, 6, 7):
        upright = upright[:, ::-1]
    return np.ascontiguousarray(upright)


def _small_png_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a PNG of at most SMALL_PIXELS, 8-bit grey or RGB, not interlaced, without other chunks."""
    if not data.startswith(_PNG_START) or len(data) > 8 * SMALL_PIXELS:
        return None
    width, height, depth, colour_type, _, _, interlace = struct.unpack_from(">IIBBBBB", data.ljust(33), 16)
    if depth != 8 or colour_type not in (0, 2) or interlace or not 0 < width * height <= SMALL_PIXELS:
        return None
    position = 33  # behind the header's checksum
    while data[position + 4 : position + 8] == b"IDAT":
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return (width, height) if data[position:] == _PNG_END else None


def _decode_bmp(data: bytes) -> Picture:
    """8 bits, by Pillow."""
    file = bmp.InterruptibleFile(data) if bmp.is_run_length_encoded(data) else io.BytesIO(data)
    with Image.open(file, formats=("BMP",)) as image:
        is_bilevel = image.mode == "1"
        is_grey = is_bilevel or image.mode == "L"
        pixels = np.asarray(image.convert("L" if is_grey else "RGBA" if image.mode == "RGBA" else "RGB"))
    metadata = replace(bmp.read_metadata(data), bits=1 if is_bilevel else None)
    return Picture(pixels.reshape(*pixels.shape[:2], -1), metadata)


def _decode_small_png(data: bytes) -> Picture:
    """As libvips, but faster: by Pillow's reader itself, since the kind is known (_small_png_size)."""
    with PngImageFile(io.BytesIO(data)) as image:
        pixels = np.asarray(image)
    return Picture(pixels.reshape(*pixels.shape[:2], -1), _SMALL_PNG_METADATA)


def _encode_small_png(picture: Picture) -> bytes:
    """PNG of 8 bits, without metadata but its resolution."""
    buffer = io.BytesIO()
    pixels = picture.pixels[..., 0] if picture.pixels.shape[2] == 1 else picture.pixels
    resolution = picture.metadata.resolution
    options = {} if resolution is None else {"dpi": (resolution[0] * 25.4, resolution[1] * 25.4)}
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def _read_number(image: Any, name: str, default: int) -> int:
    return int(image.get(name)) if image.get_typeof(name) else default


# --- writing ---------------------------------------------------------------------------------------------


def _to_vips(pixels: Pixels) -> Any:
    """[H,W,B] -> a pyvips image of the same memory."""
    has_16_bits, is_grey = pixels.dtype in (np.uint16, np.int16), count_colours(pixels) == 1
    interpretation = ("grey16" if is_grey else "rgb16") if has_16_bits else ("b-w" if is_grey else "srgb")
    height, width, bands = pixels.shape
    memory = np.ascontiguousarray(pixels)
    image = pyvips.Image.new_from_memory(memory, width, height, bands, _VIPS_FORMATS[pixels.dtype])
    return image.copy(interpretation=interpretation)


def _choose_png_filter(pixels: Pixels) -> str:
    """Pages of text compress best as they are, photographs as differences: a sample of the middle shows which."""
    rows, columns = _SAMPLE_SIZE
    top, left = max(0, (len(pixels) - rows) // 2), max(0, (pixels.shape[1] - columns) // 2)
    sample = np.ascontiguousarray(pixels[top : top + rows, left : left + columns]).view(np.uint8)
    unfiltered_size = len(zlib.compress(sample.tobytes(), 1))
    return "up" if len(zlib.compress(np.diff(sample, axis=0).tobytes(), 1)) < unfiltered_size else "none"
