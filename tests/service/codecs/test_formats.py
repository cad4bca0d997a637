"""The table of image formats: what is derived from it says what was written out by hand before."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from service.cli import file_jobs
from service.codecs import formats, images
from service.errors import UnsupportedMediaType
from service.imaging.picture import Picture

ROUND_TRIP = r"""
import numpy as np
from service.codecs import formats, images
from service.imaging.picture import Picture

picture = Picture(np.full((24, 40, 3), 90, np.uint8))
data = images.encode(picture, "image/avif")
header = images.inspect(data, 10_000, "it")
assert header == images.Header("image/avif", ((40, 24),)), header
(decoded,) = images.decode(data, header, "it")
np.testing.assert_allclose(decoded.pixels, 90, atol=3)
print(formats.ANY_IMAGE_NAME, formats.MEDIA_TYPE_OF_SUFFIX[".avif"])
"""
AVIF = """ImageFormat("AVIF", "image/avif", (".avif",), re.compile(rb"....ftypavi[fs]", re.DOTALL),
    loader="heif", loader_class="Heif", saver="heif", save_options={"compression": "av1", "Q": 90}, max_side=16384,
    has_alpha=True),"""


def test_lists_and_sentences_are_those_of_the_table() -> None:
    written = ("image/png", "image/jpeg", "image/webp", "image/tiff", "image/avif")
    assert formats.READABLE_MEDIA_TYPES[:7] == (*written, "image/bmp", "image/gif")
    assert written == formats.WRITABLE_MEDIA_TYPES
    suffixes = [".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".tif", ".tiff", ".avif"]
    assert formats.READABLE_SUFFIXES[:13] == (*suffixes, ".bmp", ".dib", ".gif")
    assert list(formats.MEDIA_TYPE_OF_SUFFIX) == suffixes
    assert formats.MEDIA_TYPE_OF_SUFFIX[".jfif"] == "image/jpeg"
    assert formats.ALL_IMAGE_NAMES == "PNG, JPEG, WebP, TIFF, AVIF, BMP, GIF and HEIC"
    assert list(file_jobs.DENOISED_TYPES) == [*suffixes, ".pdf"]
    with pytest.raises(UnsupportedMediaType, match="image is not a picture in PNG, JPEG, WebP, TIFF, AVIF, BMP, GIF"):
        images.inspect(b"hello", 1, "image")


@pytest.mark.parametrize(
    ("start", "media_type"),
    [(b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"RIFF\n\0\n\0WEBPVP8 ", "image/webp"),
     (b"II*\0", "image/tiff"), (b"MM\0*", "image/tiff"), (b"II+\0", "image/tiff"), (b"MM\0+", "image/tiff"),
     (b"BM6", "image/bmp"), (b"GIF89a", "image/gif"), (b"\0\0\0\x1cftypavif\0\0\0\0", "image/avif"),
     (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "image/heic"),
     (b"\0\0\0\x1cftypmp42\0\0\0\0isom", None), (b"", None), (b"\x89PNG", None), (b"RIFF....WAVE", None),
     (b"II\0*", None), (b" BM", None),
     (b"%PDF-1.7", None)],
)  # fmt: skip
def test_a_format_is_detected_by_its_first_bytes(start: bytes, media_type: str | None) -> None:
    image_format = formats.detect_image_format(start)
    assert (image_format and image_format.media_type) == media_type


@pytest.mark.parametrize(
    ("content_type", "media_type"),
    [(None, "application/octet-stream"), ("", "application/octet-stream"), ("image/jpg", "image/jpeg"),
     ("Image/TIF; q=1", "image/tiff"), ("image/x-ms-bmp", "image/bmp"), ("image/x-png", "image/png"),
     ("image/pjpeg", "image/jpeg"), ("image/*", "application/octet-stream"), ("*/*", "application/octet-stream"),
     ("image/whatever", "application/octet-stream"), ("binary/octet-stream", "application/octet-stream"),
     ("application/x-download", "application/octet-stream"), ("text/plain", "text/plain"),
     (" application/JSON ;charset=utf-8", "application/json")],
)  # fmt: skip
def test_a_content_type_is_reduced_to_its_media_type(content_type: str | None, media_type: str) -> None:
    assert formats.parse_media_type(content_type) == media_type


@pytest.mark.parametrize("media_type", formats.WRITABLE_MEDIA_TYPES)
def test_what_is_written_is_detected(media_type: str) -> None:
    image_format = formats.detect_image_format(images.encode(Picture(np.zeros((2, 3, 1), np.uint8)), media_type))
    assert image_format is formats.IMAGE_FORMAT_OF[media_type]


def test_a_format_that_libvips_reads_and_writes_is_added_by_one_entry(tmp_path: Path) -> None:
    import pyvips

    if not pyvips.type_find("VipsForeignSave", "heifsave_buffer"):
        pytest.skip("this libvips writes no AVIF")
    source = Path(formats.__file__).read_text(encoding="utf-8")
    without = re.sub(r'    ImageFormat\(\n        "AVIF",.*?\n    \),\n', "", source, flags=re.DOTALL)
    assert len(without) < len(source)
    marker = "    ImageFormat(  # libvips reads no BMP\n"
    assert without.count(marker) == 1
    (tmp_path / "formats.py").write_text(without.replace(marker, f"    {AVIF}\n{marker}"))
    load = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('service.codecs.formats', {str(tmp_path / 'formats.py')!r})\n"
        "sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "import service.codecs\nservice.codecs.formats = module\n"
    )
    run = subprocess.run([sys.executable, "-c", load + ROUND_TRIP], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "PNG, JPEG, WebP, TIFF, AVIF, BMP, GIF or HEIC image/avif\n"
