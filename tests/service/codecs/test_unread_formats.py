"""A table of files against sentences: known formats are named, an empty file is empty, no intact file is damaged."""

import pytest

from service.codecs import formats, images, unread_formats
from service.errors import InvalidInput, ServiceError, UnsupportedMediaType
from tests.service.picture_files import jpeg_of_kind, tiff_with_tag

BOX = b"\0\0\0\x18ftyp"
FILES = [
    ("JPEG XL", b"\xff\x0a\x00\x10"), ("JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n"),
    ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n"), ("JPEG 2000", b"\xff\x4f\xff\x51\0"), ("JPEG XR", b"II\xbc\x01"),
    ("PSD of Photoshop", b"8BPS\0\x01"), ("XCF of GIMP", b"gimp xcf v011"),
    ("raw file (CR3)", BOX + b"crx \0\0\0\1"),
    ("raw file (ORF)", b"IIRO\x08\0"), ("raw file (RW2)", b"IIU\0\x18"), ("raw file (RAF)", b"FUJIFILMCCD-RAW 0201"),
    ("EPS or PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n"), ("EPS or PostScript", b"\xc5\xd0\xd3\xc6\x20\0"),
    ("an SVG", b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
    ("an SVG", b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- made by hand -->\n<svg width="9">'),
    ("a DICOM", b"\0" * 128 + b"DICM\x02\0"), ("a FITS", b"SIMPLE  =                    T"),
    ("OpenEXR", b"\x76\x2f\x31\x01\x02"), ("Radiance", b"#?RADIANCE\n"), ("a PNM", b"P6 3 4 255\n"),
    ("icon", b"\0\0\1\0\1\0\x10\x10"), ("DjVu", b"AT&TFORM\0\0\x01\0DJVU"), ("QOI", b"qoif\0\0\0\1"),
    ("a video", BOX + b"isom\0\0\2\0isomavc1"), ("a video", BOX + b"qt  \0\0\0\0qt  "),
    ("a video", b"\x1a\x45\xdf\xa3\x9f"), ("a video", b"RIFF\x10\0\0\0AVI LIST"),
    ("HEIF of a kind", BOX + b"mif1\0\0\0\0mif1jpeg"), ("another zip", b"PK\x03\x04\x14\0"),
    ("old Office document", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), ("gzip", b"\x1f\x8b\x08\0"),
    ("a web page", b"<!DOCTYPE html><html>"), ("a web page", b"\n <html lang='en'>"),
    ("Git LFS", b"version https://git-lfs.github.com/spec/v1\noid sha256:1"),
    ("Mac's file", b"\0\x05\x16\x07\0\2\0\0Mac OS X"), ("base64 text", b"iVBORw0KGgoAAAANSUhEUgAA"),
    ("base64 text", b"data:image/png;base64,iVBORw0K"),
]  # fmt: skip
KINDS = [
    ("JPEG of 12 bits", jpeg_of_kind(0xC1, 12)), ("a lossless JPEG", jpeg_of_kind(0xC3)),
    ("a JPEG-LS", jpeg_of_kind(0xF7)), ("raw file (CR2)", b"II*\0\x10\0\0\0CR\x02\0"),
    ("hierarchical JPEG", jpeg_of_kind(0xC5)), ("TIFF with ZSTD compression", tiff_with_tag(259, 50000)),
    ("TIFF with LERC compression", tiff_with_tag(259, 34887)), ("TIFF with JPEG 2000", tiff_with_tag(259, 34712)),
    ("TIFF with LZMA compression", tiff_with_tag(259, 34925)), ("TIFF of 12 bits", tiff_with_tag(258, 12)),
    ("TIFF with CIE L*a*b*", tiff_with_tag(262, 9)), ("raw file (DNG)", tiff_with_tag(50706, 1)),
    ("a camera's raw file", tiff_with_tag(262, 32803)),
]  # fmt: skip


def sentence(data: bytes) -> str:
    with pytest.raises(ServiceError) as error:
        images.decode(data, images.inspect(data, 10**6, "image"), "image")
    return error.value.detail


@pytest.mark.parametrize(("name", "data"), FILES, ids=[f"{name} {data[:4]!r}" for name, data in FILES])
def test_a_known_format_is_named_with_a_remedy(name: str, data: bytes) -> None:
    with pytest.raises(UnsupportedMediaType) as error:
        images.inspect(data, 10**6, "image", max_pages=9)
    detail = error.value.detail
    assert name in detail
    assert "which is not read here; " in detail
    assert "damaged" not in detail


@pytest.mark.parametrize(("name", "data"), KINDS, ids=[name for name, _ in KINDS])
def test_an_intact_file_of_a_kind_that_is_not_read_is_never_called_damaged(name: str, data: bytes) -> None:
    detail = sentence(data)
    assert name in detail
    assert "not read here; " in detail
    assert "damaged" not in detail


def test_an_empty_file_is_called_empty_and_zeros_are_called_zeros() -> None:
    with pytest.raises(InvalidInput, match="image 3 is empty: the file has 0 bytes"):
        images.inspect(b"", 10**6, "image 3")
    with pytest.raises(UnsupportedMediaType, match="begins with zeros"):
        images.inspect(b"\0" * 2000, 10**6, "image")


def test_what_nobody_knows_is_not_a_picture() -> None:
    assert unread_formats.find(b"hello, world", "it") is None
    assert unread_formats.describe(b"hello, world", "it") == f"it is not a picture in {formats.ANY_IMAGE_NAME}"


def test_suffixes_have_the_names_of_their_formats() -> None:
    assert unread_formats.describe_suffix(".jxl") == "a JPEG XL, which is not read here; save it as PNG, TIFF or JPEG"
    assert "raw file" in str(unread_formats.describe_suffix(".nef"))
    assert unread_formats.describe_suffix(".txt") is None
    known = {suffix for entry in unread_formats.UNREAD_FORMATS for suffix in entry.suffixes}
    assert not known & {suffix for image_format in formats.IMAGE_FORMATS for suffix in image_format.suffixes}


@pytest.mark.parametrize("image_format", formats.IMAGE_FORMATS, ids=lambda image_format: image_format.name)
def test_no_signature_of_an_unread_format_matches_a_file_that_is_read(image_format: formats.ImageFormat) -> None:
    starts = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff\xe0", "WebP": b"RIFF\n\0\n\0WEBPVP8 ",
              "TIFF": b"II*\0\x08\0\0\0", "AVIF": BOX + b"avif\0\0\0\0avifmif1", "BMP": b"BM6\0", "GIF": b"GIF89a",
              "HEIC": BOX + b"mif1\0\0\0\0mif1heic"}  # fmt: skip
    start = starts[image_format.name]
    assert formats.detect_image_format(start) is image_format
    with pytest.raises(InvalidInput, match="it cannot be read"):  # too short, and not of another format
        images.inspect(start, 10**6, "it")


def test_without_the_extra_a_heic_is_named_and_the_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats.ImageFormat, "is_readable", property(lambda image_format: image_format.name != "HEIC"))
    with pytest.raises(UnsupportedMediaType, match=r"image is HEIC, which needs an extra .*\[heic\]'"):
        images.inspect(BOX + b"heic\0\0\0\0mif1heic", 10**6, "image")
    assert "autoencoder-service[heic]" in str(unread_formats.describe_suffix(".heic"))
