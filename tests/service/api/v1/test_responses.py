"""Responses of /v1: media types, depth, alpha."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from service.codecs import images
from service.imaging.picture import Metadata, Picture
from tests.service.denoisers import ALL_DEPTHS, decode_pages, denoise_url, pixels, send
from tests.service.http import picture, refused, url
from tests.service.picture_files import GAIN_MAP_XMP, gradient, heic, jpeg, png_chunks, png_with_chunks, saved


@pytest.mark.parametrize(("accept", "media"), [("image/jpeg", "JPEG"), ("image/webp", "WEBP"), ("image/*", "PNG")])
def test_accept_chooses_the_form(client: TestClient, accept: str, media: str) -> None:
    response = client.post(url("denoise"), files={"image": picture()}, headers={"Accept": accept})
    assert Image.open(io.BytesIO(response.content)).format == media
    refused(client.post(url("encode"), files={"image": picture()}, headers={"Accept": accept}), 406, "application/json")
    refused(client.post(url("denoise"), files={"image": picture()}, headers={"Accept": "text/html"}), 406, "image/png")


@pytest.mark.parametrize(
    ("form", "media"),
    [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp"), ("TIFF", "tiff"), ("BMP", "png")],
)
def test_a_picture_comes_back_in_its_own_format(denoisers: TestClient, form: str, media: str) -> None:
    pixels = np.full((20, 30, 3), 100, np.uint8)
    response = send(denoisers, "negative", picture(pixels, form))
    assert response.headers["content-type"] == f"image/{media}"
    np.testing.assert_allclose(decode_pages(response.content)[0].pixels, 155, atol=2)
    assert (
        send(denoisers, "negative", picture(pixels, form), accept="image/tiff").headers["content-type"] == "image/tiff"
    )


@pytest.mark.parametrize(("dtype", "bands"), ALL_DEPTHS)
def test_formats_of_8_bits_get_8_bits_and_jpeg_is_over_white(denoisers: TestClient, dtype: Any, bands: int) -> None:
    pixels = np.zeros((24, 24, bands), dtype)
    data = images.encode(Picture(pixels), "image/png")
    for media in ("image/jpeg", "image/webp"):
        (got,) = decode_pages(send(denoisers, "negative", data, "?strength=0", accept=media).content)
        assert got.pixels.dtype == np.uint8
        white = bands in (2, 4) and media == "image/jpeg"
        np.testing.assert_allclose(got.pixels[:, :, 0], 255 if white else 0, atol=2)


CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"


def lossless_files() -> dict[str, bytes]:
    """A file of each format, depth and channels that can be coded without loss."""
    files: dict[str, bytes] = {}
    for dtype, bands in ALL_DEPTHS:
        array = pixels(dtype, bands)
        depth = f"{np.dtype(dtype).itemsize * 8} bits, {bands}"
        files |= {f"{form} {depth}": images.encode(Picture(array), f"image/{form}") for form in ("png", "tiff")}
        if dtype == np.uint8 and bands >= 3:
            for form in ("webp", "avif"):
                metadata = Metadata(lossless_media_type=f"image/{form}")
                files[f"{form} {depth}"] = images.encode(Picture(array, metadata), f"image/{form}")
    deep = pixels(np.uint16, 3) >> 6
    metadata = Metadata(bits=10, lossless_media_type="image/avif")
    files["avif 10 bits"] = images.encode(Picture((deep << 6 | deep >> 4).astype(np.uint16), metadata), "image/avif")
    colours = pixels(np.uint8, 3)
    files["bmp"], files["heic"] = picture(colours, "BMP"), heic(colours)
    files["gif"] = saved(Image.fromarray(colours).convert("P"), "GIF")
    return files


LOSSLESS_FILES = lossless_files()


@pytest.mark.parametrize(
    ("name", "accept"),
    [(name, None) for name in LOSSLESS_FILES]
    + [(name, CHROME) for name in LOSSLESS_FILES if name != "heic"],  # which is lossy: a browser gets WebP
)
def test_strength_0_gives_back_the_same_pixels_in_the_same_depth(
    denoisers: TestClient, name: str, accept: str | None
) -> None:
    data = LOSSLESS_FILES[name]
    headers = {} if accept is None else {"accept": accept}
    response = send(denoisers, "negative", data, "?strength=0", **headers)
    (before,), (after,) = decode_pages(data), decode_pages(response.content)
    assert after.pixels.dtype == before.pixels.dtype
    np.testing.assert_array_equal(after.pixels, before.pixels)
    if accept is None:
        form = name.split()[0]
        assert response.headers["content-type"] == f"image/{'png' if form in ('bmp', 'gif', 'heic') else form}"


def test_a_browser_gets_no_shallow_picture_for_a_deep_one_and_webp_for_a_jpeg(denoisers: TestClient) -> None:
    deep = images.encode(Picture(pixels(np.uint16, 3)), "image/tiff")
    assert send(denoisers, "negative", deep, accept=CHROME).headers["content-type"] == "image/tiff"
    assert send(denoisers, "negative", deep, accept="image/avif,image/webp").headers["content-type"] == "image/webp"
    photo = saved(gradient(), "JPEG")
    assert send(denoisers, "negative", photo, accept=CHROME).headers["content-type"] == "image/webp"
    assert send(denoisers, "negative", photo, accept="image/jpg").headers["content-type"] == "image/jpeg"


def test_a_picture_is_not_answered_as_a_pdf(denoisers: TestClient) -> None:
    response = denoisers.post(denoise_url("page"), files={"image": picture()}, headers={"Accept": "application/pdf"})
    refused(response, 406, "a picture is not answered as a PDF", "image/png")


@pytest.mark.parametrize("accept", ["image/jpeg", "image/png", "image/webp", "image/avif", "application/json"])
def test_what_is_dropped_is_named_in_a_header(denoisers: TestClient, accept: str) -> None:
    data = jpeg(segments=(b"\xff\xe1http://ns.adobe.com/xap/1.0/\0" + GAIN_MAP_XMP, b"\xff\xe2MPF\0II*\0")) + jpeg()
    response = send(denoisers, "photo", data, accept=accept)
    assert response.headers["dropped-metadata"] == "gain map, further pictures (MPF)"
    assert "dropped-metadata" not in send(denoisers, "photo", jpeg(), accept=accept).headers
    assert "dropped-metadata" not in send(denoisers, "photo", data, accept="application/x-npy").headers


def test_a_gamma_is_kept(denoisers: TestClient) -> None:
    data = png_with_chunks(gradient(), gAMA=b"\0\1\x86\xa0")
    response = send(denoisers, "photo", data)
    assert png_chunks(response.content)[b"gAMA"] == b"\0\1\x86\xa0"
