"""AVIF and HEIC: pixels, depth, what else is in a file, films, cut files."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from service.codecs import images
from service.codecs.image_formats import heif
from service.errors import InvalidInput, NotAcceptable, TooLarge
from service.imaging.picture import Metadata, Picture
from tests.service.picture_files import GAIN_MAP_XMP, gradient, heic, saved

AVIF = "image/avif"
LOSSLESS = Metadata(lossless_media_type=AVIF)


def read(data: bytes, label: str = "image") -> Picture:
    (picture,) = images.decode(data, images.inspect(data, 10**6, label), label)
    return picture


def ten_bits(pixels: np.ndarray) -> np.ndarray:
    """8 bits -> 10 bits in 16, white at 65535."""
    numbers = (pixels.astype(np.uint16) * 257) >> 6 << 6
    return numbers | numbers >> 10


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_a_lossless_avif_comes_back_pixel_for_pixel(bands: int) -> None:
    pixels = np.dstack([gradient(), 255 - gradient()[..., 0]])[..., :bands]
    once = read(images.encode(Picture(pixels, LOSSLESS), AVIF))
    np.testing.assert_array_equal(once.pixels, pixels)
    assert once.metadata.lossless_media_type == AVIF
    np.testing.assert_array_equal(read(images.encode(once, AVIF)).pixels, pixels)


@pytest.mark.parametrize("bits", [10, 12])
def test_an_avif_of_more_than_8_bits_keeps_its_depth_and_its_white(bits: int) -> None:
    pixels = np.ascontiguousarray(ten_bits(gradient()))
    pixels[:4] = 65535
    data = images.encode(Picture(pixels, Metadata(bits=bits, lossless_media_type=AVIF)), AVIF)
    decoded = read(data)
    assert decoded.pixels.dtype == np.uint16
    assert decoded.metadata.bits == bits
    assert decoded.pixels.max() == 65535
    if bits == 10:
        np.testing.assert_array_equal(decoded.pixels, pixels)
    else:
        np.testing.assert_allclose(decoded.pixels, pixels, atol=16)


def test_an_avif_of_another_writer_is_read_with_its_profile_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Phone"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = saved(gradient(), "AVIF", quality=95, exif=exif, icc_profile=profile)
    picture = read(data)
    assert picture.pixels.shape == (64, 48, 3)
    answer = Image.open(io.BytesIO(images.encode(picture, AVIF)))
    assert answer.size == (48, 64)
    assert answer.info["icc_profile"] == profile
    assert answer.getexif()[0x010F] == "Phone"
    assert answer.getexif().get(0x0112, 1) == 1


def test_a_grey_avif_is_grey() -> None:
    assert read(saved(gradient()[..., 0], "AVIF")).pixels.shape == (48, 64, 1)
    grey = Picture(gradient()[..., :1])
    assert read(images.encode(grey, AVIF)).pixels.shape == (48, 64, 1)


def test_a_lossy_avif_is_close() -> None:
    decoded = read(images.encode(Picture(gradient()), AVIF))
    assert np.abs(decoded.pixels.astype(int) - gradient()).mean() < 1.5
    assert decoded.metadata.lossless_media_type is None


def test_code_points_of_an_avif_are_kept_as_a_chunk_of_a_png_and_as_a_profile_elsewhere() -> None:
    data = bytearray(images.encode(Picture(gradient(), LOSSLESS), AVIF))
    start = data.index(b"colrnclx") + 8
    data[start : start + 4] = b"\0\x0c\0\x0d"  # Display P3
    picture = read(bytes(data))
    assert picture.metadata.colour == {"cICP": b"\x0c\x0d\0\x01"}
    assert b"cICP\x0c\x0d\0\x01" in images.encode(picture, "image/png")
    for media_type in ("image/jpeg", "image/webp", "image/tiff", AVIF):
        answer = Image.open(io.BytesIO(images.encode(picture, media_type)))
        profile = ImageCms.ImageCmsProfile(io.BytesIO(answer.info["icc_profile"]))
        assert profile.profile.red_primary[1][0] == pytest.approx(0.680, abs=0.01)  # type: ignore[index]


def test_the_resolution_of_a_scan_is_in_the_exif_block_of_an_avif_and_a_webp() -> None:
    scan = Picture(gradient(), Metadata(resolution=(300 / 25.4, 300 / 25.4)))
    for media_type in (AVIF, "image/webp", "image/jpeg"):
        assert read(images.encode(scan, media_type)).metadata.resolution == pytest.approx((11.811, 11.811), abs=0.01)


@pytest.mark.parametrize("bits", [8, 10])
def test_a_heic_is_read_with_its_depth(bits: int) -> None:
    picture = read(heic(gradient(), bits=bits))
    expected = gradient().astype(np.int64) * (1 if bits == 8 else 257)
    assert picture.pixels.shape == (48, 64, 3)
    assert picture.pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert np.abs(picture.pixels - expected).mean() < (3 if bits == 8 else 3 * 257)


def test_a_heic_becomes_a_png_with_its_metadata_and_without_its_gain_map() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Phone"
    picture = read(heic(gradient(), exif=exif.tobytes(), xmp=GAIN_MAP_XMP))
    assert picture.pixels.shape == (64, 48, 3)
    assert picture.metadata.dropped == ("gain map",)
    answer = Image.open(io.BytesIO(images.encode(picture, "image/png")))
    assert answer.getexif()[0x010F] == "Phone"
    assert answer.getexif().get(0x0112, 1) == 1
    xmp = answer.info["XML:com.adobe.xmp"].encode()
    assert b"dc:rights" in xmp
    assert b"hdr-gain-map" not in xmp


def test_films_and_collections_are_refused_by_what_they_are() -> None:
    film = saved(gradient(), "AVIF", save_all=True, append_images=[Image.fromarray(255 - gradient())])
    with pytest.raises(InvalidInput, match="is animated"):
        read(film)
    with pytest.raises(InvalidInput, match="holds several pictures"):
        read(heic(gradient(), count=2))


def test_a_size_over_the_limit_is_refused_from_the_header() -> None:
    for data in (saved(gradient(), "AVIF"), heic(gradient()), saved(gradient(), "GIF")):
        with pytest.raises(TooLarge, match="64x48"):
            images.inspect(data, 3000, "image")
        with pytest.raises(TooLarge, match="the limit is 60 pixels a side"):
            images.inspect(data, 10**6, "image", max_side=60)


def test_pixels_that_take_long_and_cannot_be_stopped_have_a_limit() -> None:
    data = bytearray(images.encode(Picture(gradient()), AVIF))
    size = data.index(b"ispe") + 8
    data[size : size + 8] = (10_000).to_bytes(4) + (6_000).to_bytes(4)
    with pytest.raises(TooLarge, match=r"10000x6000 .*; the limit is 50 Mpixel"):
        images.inspect(bytes(data), 10**9, "image")
    with pytest.raises(NotAcceptable, match=r"has 51\.2 Mpixel, AVIF is written up to 50; ask for image/png"):
        images.encode(Picture(np.zeros((5120, 10_000, 1), np.uint8)), AVIF)


@pytest.mark.parametrize("form", ["AVIF", "HEIC"])
def test_a_cut_file_is_refused(form: str) -> None:
    data = saved(gradient(), "AVIF") if form == "AVIF" else heic(gradient())
    for length in (len(data) - 1, len(data) // 2, 60, 20):
        with pytest.raises(InvalidInput, match="damaged or cut off"):
            read(data[:length])


def test_boxes_that_lie_about_their_size_end_the_header() -> None:
    data = bytearray(saved(gradient(), "AVIF"))
    for size in (0, 1, 7, 2**31):
        start = data.index(b"meta") - 4
        data[start : start + 4] = size.to_bytes(4)
        assert heif.read_header(bytes(data)).attachments == []
    for nonsense in (b"", b"\0" * 40, b"\0\0\0\x08meta", b"\0\0\0\x01meta" + b"\xff" * 8):
        assert not heif.read_header(nonsense).is_sequence


def test_auxiliary_pictures_are_named() -> None:
    names = {
        b"urn:com:apple:photo:2020:aux:hdrgainmap": "gain map",
        b"urn:mpeg:hevc:2015:auxid:2": "depth map",
        b"urn:com:apple:photo:2018:aux:portraiteffectsmatte": "auxiliary picture",
    }
    for urn, name in names.items():
        auxiliary = box(b"auxC", b"\0\0\0\0" + urn + b"\0")
        meta = box(b"meta", b"\0\0\0\0" + box(b"iprp", box(b"ipco", auxiliary)))
        assert heif.read_header(box(b"ftyp", b"heic\0\0\0\0") + meta).attachments == [name]


def box(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4) + kind + content
