"""Metadata between formats: what a format cannot hold is named, resolution survives in every one."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from service.codecs import images
from service.codecs.formats import WRITABLE_MEDIA_TYPES
from service.codecs.libvips import pyvips
from service.imaging.picture import Metadata, Picture
from tests.service.denoisers import PROFILE
from tests.service.picture_files import gradient, png_chunks, png_with_chunks, saved

GAMMA_1 = struct.pack(">I", 100_000)
DPI_300 = pytest.approx((300 / 25.4, 300 / 25.4), abs=0.01)


def read(data: bytes) -> Picture:
    (picture,) = images.decode(data, images.inspect(data, 10**6, "image"), "image")
    return picture


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP"])
def test_a_resolution_survives_in_every_format(form: str, media_type: str) -> None:
    picture = read(saved(gradient(), form, dpi=(300, 300)))
    assert picture.metadata.resolution == DPI_300
    assert read(images.encode(picture, media_type)).metadata.resolution == DPI_300


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_bmp_of_every_depth_has_its_resolution(mode: str) -> None:
    picture = read(saved(Image.fromarray(gradient()).convert(mode), "BMP", dpi=(300, 300)))
    assert picture.metadata.resolution == DPI_300


def test_a_bmp_without_resolution_or_with_a_short_header_has_none() -> None:
    data = bytearray(saved(gradient(), "BMP"))
    data[38:46] = b"\0" * 8
    assert read(bytes(data)).metadata.resolution is None
    core = struct.pack("<IHHHH", 12, 2, 1, 1, 24) + b"\1\2\3\4\5\6\0\0"
    old = b"BM" + struct.pack("<IHHI", 14 + len(core), 0, 0, 26) + core
    assert read(old).metadata == Metadata()


def test_a_profile_in_a_bmp_is_kept() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = gradient(4, 4)[:, :, ::-1].tobytes()
    header = bytearray(124)
    struct.pack_into("<IiiHHIIii", header, 0, 124, 4, 4, 1, 24, 0, len(pixels), 11811, 11811)
    header[56:60] = b"DEBM"
    struct.pack_into("<II", header, 112, 124 + len(pixels), len(profile))
    data = b"BM" + struct.pack("<IHHI", 138 + len(pixels) + len(profile), 0, 0, 138) + bytes(header) + pixels + profile
    picture = read(data)
    assert Image.open(io.BytesIO(images.encode(picture, "image/png"))).info["icc_profile"] == profile
    assert picture.metadata.resolution == DPI_300


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "chunks",
    [{"gAMA": GAMMA_1}, {"cICP": bytes([9, 16, 0, 1])}, {"sRGB": b"\0", "gAMA": struct.pack(">I", 45455)},
     {"gAMA": GAMMA_1, "cHRM": struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)}],
    ids=["gamma", "HDR", "sRGB", "chromaticities"],
)  # fmt: skip
def test_colour_chunks_of_a_png_are_kept_as_they_are(chunks: dict[str, bytes], dtype: Any) -> None:
    pixels = gradient() if dtype == np.uint8 else np.ascontiguousarray(gradient()[..., 0].astype(np.uint16) * 257)
    picture = read(png_with_chunks(pixels, **chunks))
    answer = images.encode(picture, "image/png")
    kept = png_chunks(answer)
    for name, content in chunks.items():
        assert kept[name.encode()] == content
    assert next(iter(kept)) == b"IHDR"
    np.testing.assert_array_equal(read(answer).pixels, picture.pixels)
    Image.open(io.BytesIO(answer)).verify()


@pytest.mark.parametrize("media_type", [media_type for media_type in WRITABLE_MEDIA_TYPES if media_type != "image/png"])
def test_a_gamma_becomes_a_profile_where_there_are_no_chunks(media_type: str) -> None:
    picture = read(png_with_chunks(gradient(), gAMA=GAMMA_1))
    answer = Image.open(io.BytesIO(images.encode(picture, media_type)))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(answer.info["icc_profile"]))
    shade = ImageCms.profileToProfile(Image.new("RGB", (1, 1), (64, 64, 64)), profile, ImageCms.createProfile("sRGB"))
    assert shade is not None
    np.testing.assert_allclose(np.asarray(shade)[0, 0], 137, atol=2)


def test_chunks_with_a_wrong_length_or_checksum_are_left_out() -> None:
    data = bytearray(png_with_chunks(gradient(), gAMA=GAMMA_1))
    data[data.index(b"gAMA") + 8] ^= 1
    assert read(bytes(data)).metadata.colour == {}
    assert read(png_with_chunks(gradient(), cICP=b"\1\2\3")).metadata.colour == {}


def test_what_a_format_cannot_hold_is_named() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "Seite 7")
    exif = Image.Exif()
    exif[0x010F] = "Scanner"
    picture = read(saved(gradient(), "PNG", pnginfo=text, exif=exif))
    named = {media_type: set(images.encode_and_report(picture, media_type)[1]) for media_type in WRITABLE_MEDIA_TYPES}
    assert named == {
        "image/png": set(), "image/jpeg": {"text"}, "image/webp": {"text"}, "image/tiff": {"EXIF", "text"},
        "image/avif": {"text"},
    }  # fmt: skip


@pytest.mark.parametrize("profile", [b"x" * 300, PROFILE[:-1], b"\0\x11" + PROFILE[2:]], ids=["text", "cut", "length"])
def test_a_broken_profile_is_dropped_and_named(profile: bytes) -> None:
    picture = read(saved(gradient(), "JPEG", icc_profile=profile))
    assert picture.metadata.dropped == ("colour profile that is broken",)
    assert images.encode_and_report(picture, "image/png")[1] == picture.metadata.dropped


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
def test_a_profile_of_rgb_on_a_grey_scan_is_kept_where_grey_is_written_as_rgb_and_else_named(media_type: str) -> None:
    picture = read(saved(gradient()[..., 0], "JPEG", icc_profile=PROFILE))
    answer, dropped = images.encode_and_report(picture, media_type)
    is_kept = media_type in ("image/webp", "image/avif")
    assert ("icc_profile" in Image.open(io.BytesIO(answer)).info) is is_kept
    assert dropped == (() if is_kept else ("colour profile of another colour space",))


def test_a_profile_that_the_reader_of_pngs_leaves_out_is_named() -> None:
    picture = read(saved(gradient()[..., 0], "PNG", icc_profile=PROFILE))
    assert picture.metadata.dropped == ("colour profile that is broken",)


def test_metadata_that_a_writer_refuses_is_named() -> None:
    picture = Picture(gradient(), Metadata(((pyvips.GValue.blob_type, "icc-profile-data", b"\0\x11" + PROFILE[2:]),)))
    data, dropped = images.encode_and_report(picture, "image/png")
    assert read(data).metadata.fields == ()
    assert dropped == ("colour profile",)


@pytest.mark.parametrize("bands", [3, 4])
def test_a_lossless_webp_stays_lossless_and_a_lossy_one_lossy(bands: int) -> None:
    pixels = np.dstack([gradient(), gradient()[..., 0] // 4 * 4])[..., :bands]
    lossless = saved(pixels, "WEBP", lossless=True, exact=True)
    picture = read(lossless)
    assert picture.metadata.lossless_media_type == "image/webp"
    answer = images.encode(picture, "image/webp")
    assert b"VP8L" in answer[:40]
    np.testing.assert_array_equal(read(answer).pixels, pixels)
    assert read(images.encode(read(saved(pixels, "WEBP")), "image/webp")).metadata.lossless_media_type is None


@pytest.mark.parametrize("media_type", ["image/png", "image/tiff", "image/avif"])
@pytest.mark.parametrize("bits", [10, 12])
def test_a_deep_avif_keeps_its_pixels_in_every_format_that_is_deep_enough(bits: int, media_type: str) -> None:
    numbers = gradient().astype(np.uint16) << (bits - 8)
    pixels = numbers << (16 - bits) | numbers >> (2 * bits - 16)
    deep = read(
        images.encode(
            Picture(pixels.astype(np.uint16), Metadata(bits=bits, lossless_media_type="image/avif")), "image/avif"
        )
    )
    np.testing.assert_array_equal(deep.pixels, pixels)
    np.testing.assert_array_equal(read(images.encode(deep, media_type)).pixels, pixels)


def test_a_grey_gif_is_grey_and_a_transparent_one_has_alpha() -> None:
    assert read(saved(gradient()[..., 0], "GIF")).pixels.shape == (48, 64, 1)
    colours = Image.fromarray(gradient()).convert("P")
    assert read(saved(colours, "GIF")).pixels.shape == (48, 64, 3)
    transparent = Image.fromarray(np.dstack([gradient(), np.where(gradient()[..., :1] > 99, 255, 0)]).astype(np.uint8))
    assert read(saved(transparent, "GIF")).pixels.shape == (48, 64, 4)
    np.testing.assert_array_equal(read(saved(colours, "GIF")).pixels, np.asarray(colours.convert("RGB")))
