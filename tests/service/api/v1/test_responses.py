"""Responses of /v1: media types, depth, alpha."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from service.codecs import images
from service.imaging.picture import Picture
from tests.service.denoisers import ALL_DEPTHS, decode_pages, send
from tests.service.http import picture, refused, url


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
