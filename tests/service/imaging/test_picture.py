"""Pictures as a model takes them, and the model's correction applied to them."""

from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from service.imaging.picture import Array, apply_correction, blend, flatten_to_uint8, to_model_input
from tests.service.denoisers import decode_pages, send
from tests.service.http import picture
from tests.service.imaging.test_tiling import structured


def test_colour_through_a_grey_model_is_three_pages(denoisers: TestClient) -> None:
    array = structured(101, 133, 3)
    (denoised,) = decode_pages(send(denoisers, "page", picture(array)).content)
    for channel in range(3):
        alone = decode_pages(send(denoisers, "page", picture(array[:, :, channel])).content)[0]
        assert np.abs(denoised.pixels[:, :, channel].astype(int) - alone.pixels[:, :, 0]).max() <= 1


def test_grey_through_a_colour_model_is_grey(denoisers: TestClient) -> None:
    array = structured(70, 80)[:, :, 0]
    colour = decode_pages(send(denoisers, "photo", picture(np.dstack([array] * 3))).content)[0].pixels.astype(int)
    (denoised,) = decode_pages(send(denoisers, "photo", picture(array)).content)
    assert denoised.pixels.shape == (70, 80, 1)
    np.testing.assert_allclose(denoised.pixels[:, :, 0], colour.mean(axis=2), atol=0.5)


@pytest.mark.parametrize(
    ("bands", "channels", "shape"),
    [(1, 1, (1, 2, 5, 1)), (2, 1, (1, 2, 5, 1)), (4, 1, (3, 2, 5, 1)), (3, 3, (1, 2, 5, 3)), (2, 3, (1, 2, 5, 3))],
)
def test_a_model_takes_planes_of_its_channels_without_alpha(bands: int, channels: int, shape: tuple[int, ...]) -> None:
    pixels = np.arange(2 * 5 * bands, dtype=np.uint8).reshape(2, 5, bands)
    model_input = to_model_input(pixels, channels)
    assert model_input.shape == shape
    assert model_input.dtype == np.uint8
    colours = pixels[..., : 1 if bands < 3 else 3]
    planes = model_input[0] if len(model_input) == 1 else np.moveaxis(model_input[..., 0], 0, 2)
    np.testing.assert_array_equal(planes, np.broadcast_to(colours, planes.shape))


def test_16_bits_are_rounded_to_the_nearest_of_8() -> None:
    pixels = np.array([0, 128, 129, 257, 65406, 65535], np.uint16).reshape(1, 6, 1)
    assert to_model_input(pixels, 1).ravel().tolist() == [0, 0, 1, 1, 254, 255]
    assert flatten_to_uint8(pixels, 1).ravel().tolist() == [0, 0, 1, 1, 254, 255]


def test_a_pixel_that_the_model_leaves_alone_keeps_its_16_bits() -> None:
    pixels = np.array([[[1000, 40000], [30000, 7]]], np.uint16)  # grey, alpha
    model_input = to_model_input(pixels, 1)
    denoised = model_input.copy()
    denoised[0, 0, 1] -= 10
    corrected = apply_correction(pixels, model_input, denoised, 0.5)
    np.testing.assert_array_equal(corrected, [[[1000, 40000], [30000 - 10 * 257 // 2, 7]]])
    np.testing.assert_array_equal(apply_correction(pixels, model_input, denoised, 0), pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_blend_goes_from_the_batch_to_the_output(dtype: Any) -> None:
    batch: Array = np.array([[0, 100]], dtype)
    output: Array = np.array([[11, 50]], dtype)
    for strength, expected in ((0, [[0, 100]]), (0.5, [[6 if dtype is np.uint8 else 5.5, 75]]), (1, [[11, 50]])):
        mixture = blend(batch, output, strength)
        assert mixture.dtype == dtype
        np.testing.assert_array_equal(mixture, expected)


def test_flat_pictures_are_over_white_and_colours_become_luma() -> None:
    pixels = np.array([[[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255], [10, 20, 30, 0]]], np.uint8)
    assert flatten_to_uint8(pixels, 1).ravel().tolist() == [76, 150, 29, 255]
    assert flatten_to_uint8(pixels, 3)[0, 3].tolist() == [255, 255, 255]
