"""File formats: media types, first bytes, suffixes. IMAGE_FORMATS is the one table of image formats.

first bytes -> detect_image_format -> ImageFormat -> reader, writer and limits, for service.codecs.images

TABLE_FORMATS is the one of tables. Everything else that lists formats is derived from them: media types of requests
and responses, sentences, OpenAPI, suffixes on the command line. A format that libvips reads and writes is added by one
entry. Formats that are known but not read are in service.codecs.unread_formats.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

JSON = "application/json"
NDJSON = "application/x-ndjson"
NPY = "application/x-npy"
PDF = "application/pdf"
MULTIPART_FORM = "multipart/form-data"
URLENCODED_FORM = "application/x-www-form-urlencoded"
OCTET_STREAM = "application/octet-stream"
PNG, JPEG, WEBP, TIFF, BMP = "image/png", "image/jpeg", "image/webp", "image/tiff", "image/bmp"
AVIF, GIF, HEIC = "image/avif", "image/gif", "image/heic"
CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"

NPY_MAGIC = b"\x93NUMPY"
PDF_MAGIC = b"%PDF-"
PARQUET_MAGIC = b"PAR1"


@dataclass(frozen=True)
class ImageFormat:
    """One image format.

    Args:
        name: as sentences call it.
        media_type: by which requests and responses name it.
        suffixes: of files in this format, with the dot.
        signature: matches the first bytes of a file.
        aliases: other media types that clients send for it.
        reader: the library that reads it: libvips, Pillow (by `name`), or pillow-heif.
        loader: libvips reads it by its operation `<loader>load_source`.
        loader_class: the name of libvips' class for that operation, behind VipsForeignLoad.
        saver: libvips writes it by its operation `<saver>save_buffer`; None: it is only read.
        save_options: of that operation.
        max_side: pixels of the longest side that the format can hold.
        max_pixels: of an image that is read or written, where its library can be stopped only between images.
        bits: the largest number of bits a channel with which it is written: 8, 12 or 16.
        has_alpha: whether it is written with alpha; otherwise pixels are laid over white.
        has_grey: whether grey is written as one channel; otherwise as three.
        is_lossless: whether each file of it is written without loss.
        metadata: kinds that its writer takes, of service.codecs.images.METADATA_KINDS.
        package: the optional package that reads it, and the extra that brings it; None: nothing more is needed.
    """

    name: str
    media_type: str
    suffixes: tuple[str, ...]
    signature: re.Pattern[bytes]
    aliases: tuple[str, ...] = ()
    reader: Literal["libvips", "pillow", "heif"] = "libvips"
    loader: str = ""
    loader_class: str = ""
    saver: str | None = None
    save_options: Mapping[str, Any] = field(default_factory=dict)
    max_side: int = 2**31 - 1
    max_pixels: int = 2**62
    bits: int = 8
    has_alpha: bool = False
    has_grey: bool = True
    is_lossless: bool = False
    metadata: frozenset[str] = frozenset()
    package: tuple[str, str] | None = None

    @property
    def is_readable(self) -> bool:
        """Whether the package that reads it is installed."""
        return self.package is None or find_spec(self.package[0]) is not None


def _brands(*names: str) -> re.Pattern[bytes]:
    """Matches a file type box (ISO 14496-12, 4.3) with one of the brands among its first, the major one included."""
    return re.compile(rb"....ftyp(?:.{4}){0,16}?(?:%s)" % "|".join(names).encode(), re.DOTALL)


IMAGE_FORMATS = (  # the order of sentences, and of the formats offered in a response
    ImageFormat(
        "PNG",
        PNG,
        (".png",),
        re.compile(rb"\x89PNG\r\n\x1a\n"),
        aliases=("image/x-png",),
        loader="png",
        loader_class="Png",
        saver="png",
        save_options={"compression": 2},  # 1 is 30 % larger on scans, 3 and more is slower only
        bits=16,
        has_alpha=True,
        is_lossless=True,
        metadata=frozenset({"icc", "exif", "xmp", "text"}),
    ),
    ImageFormat(
        "JPEG",
        JPEG,
        (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        re.compile(rb"\xff\xd8\xff"),
        aliases=("image/jpg", "image/pjpeg", "image/jfif", "image/mpo"),
        loader="jpeg",
        loader_class="Jpeg",
        saver="jpeg",
        save_options={"Q": 95},
        max_side=65500,
        metadata=frozenset({"icc", "exif", "xmp", "iptc"}),
    ),
    ImageFormat(
        "WebP",
        WEBP,
        (".webp",),
        re.compile(rb"RIFF....WEBP", re.DOTALL),
        aliases=("image/x-webp",),
        loader="webp",
        loader_class="Webp",
        saver="webp",
        save_options={"Q": 95},
        max_side=16383,
        has_alpha=True,
        has_grey=False,
        metadata=frozenset({"icc", "exif", "xmp"}),
    ),
    ImageFormat(
        "TIFF",
        TIFF,
        (".tif", ".tiff"),
        re.compile(rb"II[*+]\0|MM\0[*+]"),
        aliases=("image/tif", "image/x-tif", "image/x-tiff"),
        loader="tiff",
        loader_class="Tiff",
        saver="tiff",
        save_options={"compression": "deflate", "predictor": "horizontal", "resunit": "inch"},
        bits=16,
        has_alpha=True,
        is_lossless=True,
        metadata=frozenset({"icc", "xmp", "iptc", "description"}),
    ),
    ImageFormat(
        "AVIF",
        AVIF,
        (".avif",),
        _brands("avif", "avis"),
        aliases=("image/avif-sequence",),
        loader="heif",
        loader_class="Heif",
        saver="heif",
        # effort 1 takes four times as long for a photograph of 1 megapixel and makes it no smaller
        save_options={"Q": 90, "compression": "av1", "effort": 0, "subsample_mode": "off"},
        max_side=16384,
        max_pixels=50_000_000,
        bits=12,
        has_alpha=True,
        has_grey=False,
        metadata=frozenset({"icc", "exif", "xmp"}),
    ),
    ImageFormat(  # libvips reads no BMP
        "BMP", BMP, (".bmp", ".dib"), re.compile(rb"BM"), aliases=("image/x-ms-bmp", "image/x-bmp"), reader="pillow"
    ),
    ImageFormat("GIF", GIF, (".gif",), re.compile(rb"GIF8[79]a"), loader="gif", loader_class="Nsgif"),
    ImageFormat(
        "HEIC",
        HEIC,
        (".heic", ".heif", ".hif"),
        _brands("heic", "heix", "heim", "heis", "hevc", "hevx"),
        aliases=("image/heif", "image/heic-sequence", "image/heif-sequence"),
        reader="heif",
        max_pixels=50_000_000,
        package=("pillow_heif", "heic"),
    ),
)


@dataclass(frozen=True)
class TableFormat:
    """One format of tables: rows of numbers for models of vectors, and of latents [N,D].

    Args:
        name, media_type, suffixes, aliases, package: as of ImageFormat.
    """

    name: str
    media_type: str
    suffixes: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    package: tuple[str, str] | None = None

    @property
    def is_readable(self) -> bool:
        """Whether the package that reads and writes it is installed."""
        return self.package is None or find_spec(self.package[0]) is not None


TABLE_FORMATS = (
    TableFormat(
        "CSV",
        CSV,
        (".csv", ".tsv"),
        aliases=(
            "application/csv", "text/x-csv", "text/comma-separated-values", "text/tab-separated-values", "text/tsv",
            "application/vnd.ms-excel",  # what browsers on Windows call .csv
        ),
    ),
    TableFormat(
        "Parquet",
        PARQUET,
        (".parquet", ".pq"),
        aliases=("application/parquet", "application/x-parquet", "application/vnd.apache.parquet+file"),
        package=("pyarrow", "parquet"),
    ),
)  # fmt: skip

_READABLE = tuple(image_format for image_format in IMAGE_FORMATS if image_format.is_readable)
_NAMES = [image_format.name for image_format in _READABLE]
ANY_IMAGE_NAME = f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}"
ALL_IMAGE_NAMES = f"{', '.join(_NAMES[:-1])} and {_NAMES[-1]}"
IMAGE_FORMAT_OF = {image_format.media_type: image_format for image_format in IMAGE_FORMATS}
READABLE_MEDIA_TYPES = tuple(image_format.media_type for image_format in _READABLE)
WRITABLE_MEDIA_TYPES = tuple(image_format.media_type for image_format in IMAGE_FORMATS if image_format.saver)
READABLE_SUFFIXES = tuple(suffix for image_format in _READABLE for suffix in image_format.suffixes)
MEDIA_TYPE_OF_SUFFIX = {  # of the formats that are written
    suffix: image_format.media_type
    for image_format in IMAGE_FORMATS
    if image_format.saver
    for suffix in image_format.suffixes
}
MEDIA_TYPE_OF_ALIAS = {
    alias: file_format.media_type for file_format in (*IMAGE_FORMATS, *TABLE_FORMATS) for alias in file_format.aliases
}
TABLE_MEDIA_TYPES = tuple(table_format.media_type for table_format in TABLE_FORMATS if table_format.is_readable)
TABLE_MEDIA_TYPE_OF_SUFFIX = {  # those that are not readable here among them
    suffix: table_format.media_type for table_format in TABLE_FORMATS for suffix in table_format.suffixes
}
# what clients send when they do not know: the first bytes decide
_UNSPECIFIC = {"", "*/*", "binary/octet-stream", "application/binary", "application/x-binary", "application/unknown",
               "application/force-download", "application/download", "application/x-download", "unknown/unknown",
               "multipart/octet-stream", "content/unknown"}  # fmt: skip


def detect_image_format(data: bytes) -> ImageFormat | None:
    """An image's format by its first bytes, None if they are of no format of the table."""
    for image_format in IMAGE_FORMATS:
        if image_format.signature.match(data):
            return image_format
    return None


def parse_media_type(content_type: str | None) -> str:
    """The bare media type of a Content-Type, in lower case, aliases resolved.

    OCTET_STREAM for None, for types that say nothing, and for pictures of a type that is not in the table: what such a
    body is, its first bytes say.
    """
    if content_type is None:
        return OCTET_STREAM
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in IMAGE_FORMAT_OF or not (media_type.startswith("image/") or media_type in _UNSPECIFIC):
        return MEDIA_TYPE_OF_ALIAS.get(media_type, media_type)
    return MEDIA_TYPE_OF_ALIAS.get(media_type, OCTET_STREAM)
