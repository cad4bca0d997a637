"""File formats: media types, first bytes, suffixes. IMAGE_FORMATS is the one table of image formats.

first bytes -> detect_image_format -> ImageFormat -> reader, writer and limits, for service.codecs.images

Everything else that lists image formats is derived from the table: media types of requests and responses, sentences,
OpenAPI, suffixes on the command line. A format that libvips reads and writes is added by one entry.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json"
NDJSON = "application/x-ndjson"
NPY = "application/x-npy"
PDF = "application/pdf"
MULTIPART_FORM = "multipart/form-data"
URLENCODED_FORM = "application/x-www-form-urlencoded"
OCTET_STREAM = "application/octet-stream"
PNG, JPEG, WEBP, TIFF, BMP = "image/png", "image/jpeg", "image/webp", "image/tiff", "image/bmp"

NPY_MAGIC = b"\x93NUMPY"
PDF_MAGIC = b"%PDF-"


@dataclass(frozen=True)
class ImageFormat:
    """One image format.

    Args:
        name: as sentences call it.
        media_type: by which requests and responses name it.
        suffixes: of files in this format, with the dot.
        signature: matches the first bytes of a file.
        aliases: other media types that clients send for it.
        loader: libvips reads it by its operation `<loader>load_source`; None: Pillow reads it by `name`.
        saver: libvips writes it by its operation `<saver>save_buffer`; None: it is only read.
        save_options: of that operation.
        max_side: pixels of the longest side that the format can hold.
        has_16_bits: whether it is written with 16 bits a channel; otherwise pixels are written with 8.
        has_alpha: whether it is written with alpha; otherwise pixels are laid over white.
    """

    name: str
    media_type: str
    suffixes: tuple[str, ...]
    signature: re.Pattern[bytes]
    aliases: tuple[str, ...] = ()
    loader: str | None = None
    saver: str | None = None
    save_options: Mapping[str, Any] = field(default_factory=dict)
    max_side: int = 2**31 - 1
    has_16_bits: bool = False
    has_alpha: bool = False


IMAGE_FORMATS = (  # the order of sentences, and of the formats offered in a response
    ImageFormat(
        "PNG",
        PNG,
        (".png",),
        re.compile(rb"\x89PNG\r\n\x1a\n"),
        loader="png",
        saver="png",
        save_options={"compression": 2},  # 1 is 30 % larger on scans, 3 and more is slower only
        has_16_bits=True,
        has_alpha=True,
    ),
    ImageFormat(
        "JPEG",
        JPEG,
        (".jpg", ".jpeg"),
        re.compile(rb"\xff\xd8\xff"),
        aliases=("image/jpg",),
        loader="jpeg",
        saver="jpeg",
        save_options={"Q": 95},
        max_side=65500,
    ),
    ImageFormat(
        "WebP",
        WEBP,
        (".webp",),
        re.compile(rb"RIFF....WEBP", re.DOTALL),
        loader="webp",
        saver="webp",
        save_options={"Q": 95},
        max_side=16383,
        has_alpha=True,
    ),
    ImageFormat(
        "TIFF",
        TIFF,
        (".tif", ".tiff"),
        re.compile(rb"II[*+]\0|MM\0[*+]"),
        aliases=("image/tif",),
        loader="tiff",
        saver="tiff",
        save_options={"compression": "deflate", "predictor": "horizontal", "resunit": "inch"},
        has_16_bits=True,
        has_alpha=True,
    ),
    ImageFormat("BMP", BMP, (".bmp",), re.compile(rb"BM"), aliases=("image/x-ms-bmp",)),  # libvips reads no BMP
)

_NAMES = [image_format.name for image_format in IMAGE_FORMATS]
ANY_IMAGE_NAME = f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}"
ALL_IMAGE_NAMES = f"{', '.join(_NAMES[:-1])} and {_NAMES[-1]}"
IMAGE_FORMAT_OF = {image_format.media_type: image_format for image_format in IMAGE_FORMATS}
READABLE_MEDIA_TYPES = tuple(IMAGE_FORMAT_OF)
WRITABLE_MEDIA_TYPES = tuple(image_format.media_type for image_format in IMAGE_FORMATS if image_format.saver)
READABLE_SUFFIXES = tuple(suffix for image_format in IMAGE_FORMATS for suffix in image_format.suffixes)
MEDIA_TYPE_OF_SUFFIX = {  # of the formats that are written
    suffix: image_format.media_type
    for image_format in IMAGE_FORMATS
    if image_format.saver
    for suffix in image_format.suffixes
}
_MEDIA_TYPE_OF_ALIAS = {
    alias: image_format.media_type for image_format in IMAGE_FORMATS for alias in image_format.aliases
}


def detect_image_format(data: bytes) -> ImageFormat | None:
    """An image's format by its first bytes, None if they are of no format of the table."""
    for image_format in IMAGE_FORMATS:
        if image_format.signature.match(data):
            return image_format
    return None


def parse_media_type(content_type: str | None) -> str:
    """The bare media type of a Content-Type, in lower case, aliases resolved; OCTET_STREAM for None and empty."""
    media_type = (content_type or OCTET_STREAM).partition(";")[0].strip().lower()
    return _MEDIA_TYPE_OF_ALIAS.get(media_type, media_type)
