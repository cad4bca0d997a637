"""Formats that are known and not read: each has a name, and a remedy.

first bytes -> describe -> "is a JPEG XL, which is not read here; save it as PNG, TIFF or JPEG"

Who sends one of these has an intact file: the sentence says what it is and what to send instead, never that it is
damaged. Kinds of TIFF and of JPEG that are not read are named by image_formats.tiff and image_formats.jpeg.
"""

import re
from dataclasses import dataclass

from service.codecs.formats import ANY_IMAGE_NAME, IMAGE_FORMATS

SAVE = "save it as PNG, TIFF or JPEG"
RAW = "develop it, and send the result as a TIFF of 16 bits"
_DRAW = "draw it as a PNG of the size that you want"
_SCIENCE = "export the picture in it as a TIFF of 8 or 16 bits"
_VIDEO = "send one frame of it as PNG or JPEG"
_UNPACK = "unpack it, and send the picture in it"
_PRINT = "print it to a PDF, or save the page as PNG"


@dataclass(frozen=True)
class UnreadFormat:
    """`name`: with its article. `remedy`: what to do instead. `signature`: of the first bytes; `suffixes`."""

    name: str
    remedy: str
    signature: re.Pattern[bytes] | None
    suffixes: tuple[str, ...] = ()


def _entry(name: str, remedy: str, pattern: bytes | None, suffixes: str = "") -> UnreadFormat:
    signature = re.compile(pattern, re.DOTALL | re.IGNORECASE) if pattern is not None else None
    return UnreadFormat(name, remedy, signature, tuple(suffixes.split()))


_SPACE = rb"(?:\xef\xbb\xbf)?\s*"
UNREAD_FORMATS = (
    _entry("a JPEG XL", SAVE, rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", ".jxl"),
    _entry("a JPEG 2000", SAVE, rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n", ".jp2 .j2k .jpx .jpf .j2c .jpm"),
    _entry("a JPEG XR", SAVE, rb"II\xbc", ".jxr .wdp .hdp"),
    _entry("a PSD of Photoshop", SAVE, rb"8BPS", ".psd .psb"),
    _entry("an XCF of GIMP", SAVE, rb"gimp xcf", ".xcf"),
    _entry("a camera's raw file (CR3)", RAW, rb"....ftypcrx ", ".cr3"),
    _entry("a camera's raw file (ORF)", RAW, rb"II(?:RO|RS)|MMOR", ".orf"),
    _entry("a camera's raw file (RW2)", RAW, rb"IIU\0", ".rw2 .raw"),
    _entry("a camera's raw file (RAF)", RAW, rb"FUJIFILMCCD-RAW", ".raf"),
    _entry("a camera's raw file (X3F)", RAW, rb"FOVb", ".x3f"),
    _entry("a camera's raw file (MRW)", RAW, rb"\0MRM", ".mrw"),
    _entry("a camera's raw file", RAW, None, ".dng .cr2 .nef .nrw .arw .sr2 .pef .srw .3fr .iiq .erf .kdc .dcr"),
    _entry("an EPS or PostScript", _DRAW, rb"\xc5\xd0\xd3\xc6|%!PS", ".eps .ps .ai"),
    _entry("an SVG", _DRAW, _SPACE + rb"(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg\b", ".svg"),
    _entry("a gzip file, perhaps an SVGZ", _UNPACK, rb"\x1f\x8b", ".svgz .gz"),
    _entry("a drawing of Windows (EMF, WMF)", _DRAW, rb"\x01\0\0\0.{36} EMF|\xd7\xcd\xc6\x9a", ".emf .wmf"),
    _entry("a DICOM", _SCIENCE, rb".{128}DICM", ".dcm .dicom"),
    _entry("a FITS", _SCIENCE, rb"SIMPLE  =", ".fits .fit .fts"),
    _entry("a NIfTI", _SCIENCE, rb"\x5c\x01\0\0.{340}n[i+]1\0", ".nii"),
    _entry("an NRRD", _SCIENCE, rb"NRRD000", ".nrrd"),
    _entry("an HDF5", _SCIENCE, rb"\x89HDF\r\n\x1a\n", ".h5 .hdf5"),
    _entry("an OpenEXR", _SCIENCE, rb"\x76\x2f\x31\x01", ".exr"),
    _entry("a Radiance HDR", _SCIENCE, rb"#\?(?:RADIANCE|RGBE)", ".hdr"),
    _entry("a PFM", _SCIENCE, rb"P[fF]\s+\d", ".pfm"),
    _entry("a PNM (PBM, PGM, PPM, PAM)", SAVE, rb"P[1-7]\s", ".pbm .pgm .ppm .pnm .pam"),
    _entry("a Windows icon or cursor", SAVE, rb"\0\0[\x01\x02]\0[^\0]\0", ".ico .cur"),
    _entry("an icon of a Mac", SAVE, rb"icns", ".icns"),
    _entry("a DjVu", _PRINT, rb"AT&TFORM....DJV", ".djvu .djv"),
    _entry("a JBIG2", SAVE, rb"\x97JB2\r\n\x1a\n", ".jb2 .jbig2"),
    _entry("a PCX", SAVE, rb"\x0a[\0\x02-\x05]\x01[\x01\x02\x04\x08]", ".pcx"),
    _entry("a TGA", SAVE, None, ".tga"),
    _entry("a QOI", SAVE, rb"qoif", ".qoi"),
    _entry("a DDS texture", SAVE, rb"DDS \x7c", ".dds"),
    _entry("an MNG or JNG", SAVE, rb"[\x8a\x8b][MJ]NG\r\n", ".mng .jng"),
    _entry("a BPG", SAVE, rb"BPG\xfb", ".bpg"),
    _entry("an IFF picture", SAVE, rb"FORM....(?:ILBM|PBM )", ".iff .lbm"),
    _entry("a video", _VIDEO, rb"....ftyp(?:mp4|isom|iso\d|avc1|qt  |M4V|3gp|3g2|mmp4|dash|MSNV)",
           ".mp4 .mov .m4v .3gp"),
    _entry("a video", _VIDEO, rb"\x1a\x45\xdf\xa3|RIFF....AVI |....(?:moov|mdat|wide)|\0\0\x01\xba|FLV\x01|OggS"
           rb"|\x30\x26\xb2\x75", ".mkv .webm .avi .mpg .mpeg .wmv .flv .ogv"),
    _entry("a HEIF of a kind that is not read", SAVE, rb"....ftyp(?:mif1|msf1|miaf|jpeg|j2ki|jpgs|vvic|evbi)", ""),
    _entry("an Office document or another zip", _UNPACK, rb"PK\x03\x04",
           ".zip .docx .pptx .xlsx .odt .odp .kra .ora .cbz"),
    _entry("an old Office document", _PRINT, rb"\xd0\xcf\x11\xe0", ".doc .ppt .xls"),
    _entry("a RAR archive", _UNPACK, rb"Rar!\x1a\x07", ".rar .cbr"),
    _entry("a 7z archive", _UNPACK, rb"7z\xbc\xaf", ".7z"),
    _entry("a bzip2, xz or zstd file", _UNPACK, rb"BZh\d|\xfd7zXZ\0|\x28\xb5\x2f\xfd", ".bz2 .xz .zst"),
    _entry("a web page, not the picture on it", "download the picture itself",
           _SPACE + rb"<(?:!doctype html|html|head)\b", ".html .htm"),
    _entry("a pointer of Git LFS, not the picture", "fetch it with git lfs pull", rb"version https://git-lfs"),
    _entry("the resource part of a Mac's file (its name begins with ._)", "send the file without ._ in its name",
           rb"\0\x05\x16[\0\x07]"),
    _entry("base64 text, not the picture", 'decode it, or send it as JSON: {"inputs": "..."}',
           rb"data:image/|iVBORw0KGgo|/9j/[4\-27]|UklGR|R0lGOD|SUkqA|TU0AK"),
)  # fmt: skip
_BY_SUFFIX = {suffix: entry for entry in UNREAD_FORMATS for suffix in entry.suffixes}


def describe(data: bytes, label: str) -> str:
    """The sentence for a file that is of no format that is read; `label` names it."""
    return find(data, label) or f"{label} is not a picture in {ANY_IMAGE_NAME}"


def find(data: bytes, label: str) -> str | None:
    """The sentence for a file that is empty, or of a known format that is not read; None for others."""
    if not data:
        return f"{label} is empty: the file has 0 bytes"
    start = bytes(data[:1024])
    for image_format in IMAGE_FORMATS:
        if not image_format.is_readable and image_format.signature.match(start):
            return f"{label} is {_needs_package(image_format.name, image_format.package)}"
    for entry in UNREAD_FORMATS:
        if entry.signature is not None and entry.signature.match(start):
            return f"{label} is {entry.name}, which is not read here; {entry.remedy}"
    if not start.strip(b"\0"):
        return f"{label} begins with zeros, as after a transfer that failed: it is not a picture; send it again"
    return None


def describe_suffix(suffix: str) -> str | None:
    """The name and the remedy of the known format whose files have that suffix, in lower case; None for others."""
    for image_format in IMAGE_FORMATS:
        if suffix in image_format.suffixes and not image_format.is_readable:
            return _needs_package(image_format.name, image_format.package)
    entry = _BY_SUFFIX.get(suffix)
    return None if entry is None else f"{entry.name}, which is not read here; {entry.remedy}"


def _needs_package(name: str, package: tuple[str, str] | None) -> str:
    extra = "" if package is None else f": pip install 'autoencoder-service[{package[1]}]'"
    return f"{name}, which needs an extra that is not installed here{extra}; or {SAVE}"
