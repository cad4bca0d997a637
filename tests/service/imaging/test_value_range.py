"""White of pixels of more than 8 bits: found, said by the file or by the request; the gain is the same in all."""

import io
from typing import Any

import numpy as np
import pytest
import pyvips
from starlette.testclient import TestClient

from service.codecs import images
from service.errors import InvalidInput
from service.imaging.picture import Picture, apply_correction, to_8_bits, to_model_input, with_white
from service.imaging.value_range import find_white
from tests.service.denoisers import decode_pages, denoise_url, send
from tests.service.http import npy, refused
from tests.service.imaging.test_tiling import structured

NPY = {"Content-Type": "application/x-npy"}


def tiff(pixels: np.ndarray, **tags: Any) -> bytes:
    """A TIFF of any type, [H,W] or [H,W,B]; SMaxSampleValue is set by `max_sample`."""
    array = pixels if pixels.ndim == 3 else pixels[:, :, None]
    data = images.encode(Picture(np.ascontiguousarray(array)), "image/tiff")
    if "max_sample" in tags:
        from service.codecs.image_formats.tiff_tags import Tag, restore_tags

        data = restore_tags(data, {341: Tag(341, 3, 1, int(tags["max_sample"]).to_bytes(2, "little"))})
    return data


def ramp(white: float, dtype: Any = np.uint16) -> np.ndarray:
    return (np.linspace(0, 1, 60 * 50).reshape(60, 50, 1) * white).astype(dtype)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_bits_of_whole_numbers_are_found(bits: int) -> None:
    assert find_white([ramp(2**bits - 1)], "it") == 2**bits - 1
    assert find_white([ramp(2**bits - 1), ramp(3)], "it") == 2**bits - 1, "one white for all pages"
    assert find_white([ramp(0.9 * 2**bits)], "it") == 2**bits - 1


def test_hot_pixels_do_not_hide_the_others() -> None:
    pixels = np.repeat(np.repeat(ramp(1000), 4, 0), 4, 1)
    pixels[3, 5] = pixels[100, 90] = 65000
    assert find_white([pixels], "it") == 1023
    pixels[:20] = 65000
    assert find_white([pixels], "it") == 65535


def test_what_the_file_says_of_its_range_counts_if_it_can_be_true() -> None:
    assert find_white([ramp(700)], "it", max_sample=4095) == 4095
    assert find_white([ramp(700)], "it", max_sample=300) == 1023
    (picture,) = decode_pages(tiff(ramp(700), max_sample=4095))
    assert picture.white == 4095
    (picture,) = images.decode(tiff(ramp(700)), images.inspect(tiff(ramp(700)), 10**6, "it"), "it", 2000)
    assert picture.white == 2000


@pytest.mark.parametrize(("peak", "white"), [(1, 1), (1.7, 1), (0.5, 1), (0.2, 0.25), (200, 255), (4000, 4095)])
def test_floats_are_0_to_1_or_darker_or_whole_numbers(peak: float, white: float) -> None:
    pixels = ramp(peak, np.float32)
    pixels[0, 0], pixels[1, 1] = np.nan, -0.1 * peak
    assert find_white([pixels], "it") == white


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.int32])
def test_an_unknown_black_or_white_is_refused_with_the_remedy(dtype: Any) -> None:
    below = ramp(3000, dtype) - np.array(1000, dtype)
    with pytest.raises(InvalidInput, match=r"it has pixels from -1000, and which is black is not known: add a number"):
        find_white([below], "it")
    if dtype == np.float32:
        with pytest.raises(InvalidInput, match=r"pixels up to 1e\+06, and which is white is not known: .*white="):
            find_white([ramp(1e6, np.float32)], "it")


def test_alpha_is_no_colour() -> None:
    pixels = np.concatenate([ramp(4095), np.full((60, 50, 1), 65535, np.uint16)], axis=2)
    (picture,) = with_white([Picture(pixels)], "it")
    assert picture.white == 4095
    assert to_8_bits(pixels, 4095)[-1, -1].tolist() == [255, 255]


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64])
def test_a_correction_stays_within_black_and_white_but_keeps_what_is_outside(dtype: Any) -> None:
    pixels = np.array([0, 100, 4000, 4095, 5000], dtype).reshape(1, 5, 1)
    model_input = to_model_input(pixels, 1, 4095)
    assert model_input.ravel().tolist() == [0, 6, 249, 255, 255]
    lighter = apply_correction(pixels, model_input, np.full_like(model_input, 255), 1, 4095)
    assert lighter.dtype == dtype
    np.testing.assert_allclose(lighter.ravel(), [4095, 4095, 4095, 4095, 5000], atol=5)
    np.testing.assert_array_equal(apply_correction(pixels, model_input, np.zeros_like(model_input), 0, 4095), pixels)


def scaled(array: np.ndarray, white: float, dtype: Any) -> np.ndarray:
    """uint8 [H,W,B] -> the same picture in another range."""
    return (
        np.rint(array / 255.0 * white).astype(dtype)
        if dtype not in (np.float32, np.float64)
        else ((array / 255.0 * white).astype(dtype))
    )


RANGES = [
    (1023, np.uint16), (4095, np.uint16), (16383, np.uint16), (65535, np.uint16), (4095, np.int16), (4095, np.int32),
    (1023, np.uint32), (1, np.float32),
]  # fmt: skip


@pytest.mark.parametrize(("white", "dtype"), RANGES)
@pytest.mark.parametrize("bands", [1, 3])
def test_the_correction_is_that_of_8_bits_in_every_range(
    denoisers: TestClient, white: float, dtype: Any, bands: int
) -> None:
    array = structured(60, 70, bands)
    if bands == 3 and not np.issubdtype(dtype, np.floating):
        array[0, :, :] = 255
    expected = decode_pages(send(denoisers, "page", tiff(array)).content)[0].pixels.astype(float) / 255
    pixels = scaled(array, white, dtype)
    response = send(denoisers, "page", tiff(pixels))
    assert response.headers["content-type"] == "image/tiff"
    (result,) = decode_pages(response.content)
    assert result.pixels.dtype == dtype
    np.testing.assert_allclose(result.pixels / white, expected, atol=2.5 / 255)
    assert response.headers.get("pixel-white") == (
        None if (white, dtype) in ((65535, np.uint16), (1, np.float32)) else f"{white:g}"
    )
    unchanged = send(denoisers, "page", tiff(pixels), "?strength=0").content
    np.testing.assert_array_equal(decode_pages(unchanged)[0].pixels, pixels.reshape(result.pixels.shape))


@pytest.mark.parametrize(("white", "dtype"), [*RANGES, (1, np.float64)])
def test_arrays_are_taken_in_every_range_too(denoisers: TestClient, white: float, dtype: Any) -> None:
    array = structured(60, 70)
    whole = denoisers.post(denoise_url("page"), content=npy(array), headers=NPY)
    response = denoisers.post(denoise_url("page"), content=npy(scaled(array, white, dtype)), headers=NPY)
    assert response.status_code == 200, response.text
    result = np.load(io.BytesIO(response.content))
    assert result.dtype == dtype
    np.testing.assert_allclose(result / white, np.load(io.BytesIO(whole.content)) / 255.0, atol=2.5 / 255)
    picture = denoisers.post(
        denoise_url("page", "?strength=0"),
        content=npy(scaled(array, white, dtype)),
        headers={**NPY, "Accept": "image/jpeg"},
    )
    assert abs(decode_pages(picture.content)[0].pixels.mean() - array.mean()) < 2


def test_pages_have_one_white_and_png_is_no_exception(denoisers: TestClient) -> None:
    light, dark = scaled(structured(40, 50), 4095, np.uint16), np.full((40, 50, 1), 60, np.uint16)
    light[0, 0] = 4095
    pages = images.encode_pages([Picture(light), Picture(dark)])
    assert [picture.white for picture in decode_pages(pages)] == [4095, 4095]
    data = images.encode(Picture(light), "image/png")
    response = send(denoisers, "page", data)
    assert response.headers["pixel-white"] == "4095"
    assert decode_pages(response.content)[0].pixels.dtype == np.uint16
    jpeg = send(denoisers, "page", data, "?strength=0", Accept="image/jpeg")
    assert abs(decode_pages(jpeg.content)[0].pixels.mean() - light.mean() / 4095 * 255) < 2


def test_white_may_be_said(denoisers: TestClient) -> None:
    data = tiff(ramp(700))
    assert send(denoisers, "page", data).headers["pixel-white"] == "1023"
    assert send(denoisers, "page", data, "?white=700").headers["pixel-white"] == "700"
    refused(denoisers.post(denoise_url("page", "?white=0"), content=data), 422, "white is '0'")
    for url in ("/v1/models/signal/denoise?white=3", "/v1/models/signal/encode?white=3"):
        answer = denoisers.post(url, json={"inputs": [1, 2, 3, 4, 5, 6]})
        refused(answer, 422, "white is for pictures")


def test_a_model_of_one_size_takes_the_found_range_too(client: TestClient) -> None:
    whole = structured(28, 28)
    latents = []
    for data in (tiff(whole), tiff(scaled(whole, 1023, np.uint16)), tiff(scaled(whole, 1, np.float32))):
        latents.append(client.post("/v1/models/small/encode", content=data).json()["latents"])
    for other in latents[1:]:
        np.testing.assert_allclose(other, latents[0], atol=0.01)


def test_pixels_of_floats_survive_as_they_are(denoisers: TestClient) -> None:
    pixels = structured(40, 50).astype(np.float32) / 255
    pixels[0, 0], pixels[1, 1], pixels[2, 2] = np.nan, np.inf, -0.25
    (result,) = decode_pages(send(denoisers, "page", tiff(pixels), "?strength=0").content)
    np.testing.assert_array_equal(result.pixels, pixels)
    (cleaned,) = decode_pages(send(denoisers, "page", tiff(pixels)).content)
    assert np.isnan(cleaned.pixels[0, 0, 0])
    assert np.isfinite(cleaned.pixels).sum() == pixels.size - 2
    assert isinstance(pyvips.Image.new_from_memory(pixels, 50, 40, 1, "float"), pyvips.Image)
