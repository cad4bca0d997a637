"""Resizing to a model's size."""

import numpy as np
import pytest
from starlette.testclient import TestClient

from service.imaging.resize import Fit, resize
from tests.service.http import opened, picture, refused, url


def test_another_size_is_refused_and_can_be_resized(client: TestClient) -> None:
    wide = np.full((10, 40), 200, np.uint8)
    document = refused(client.post(url("encode"), files={"image": picture(wide)}), 422, "is 40x10, small takes 28x28")
    assert (document["width"], document["height"]) == (28, 28)
    for mode in ("contain", "cover", "stretch"):
        response = client.post(f"{url('encode')}?fit={mode}", files={"image": picture(wide)})
        np.testing.assert_allclose(response.json()["latents"][0], 200 / 255, atol=0.01)
    refused(
        client.post(f"{url('encode')}?fit=squash", files={"image": picture()}), 422, "'contain', 'cover' or 'stretch'"
    )
    refused(client.post(f"{url('encode')}?size=3", files={"image": picture()}), 422, "allowed are fit, white")


def test_contain_keeps_all_and_cover_fills(client: TestClient) -> None:
    halves = np.zeros((28, 56), np.uint8)
    halves[:, 28:] = 255
    contained, covered = (
        opened(client.post(f"{url('denoise')}?fit={mode}", files={"image": picture(halves)}).content)
        for mode in ("contain", "cover")
    )
    assert contained.shape == covered.shape == (28, 28)
    assert covered[0, :10].max() == 0
    assert covered[0, 20:].min() == 255


@pytest.mark.parametrize("mode", ["contain", "cover", "stretch"])
@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 90, 1), (50, 20, 3)])
def test_every_mode_gives_the_size_and_keeps_one_colour(mode: Fit, shape: tuple[int, int, int]) -> None:
    resized = resize(np.full(shape, 77, np.uint8), 16, 24, mode)
    assert resized.shape == (16, 24, shape[2])
    assert resized.dtype == np.uint8
    assert (resized == 77).all()


def test_contain_is_centred_on_the_colour_of_the_border_and_cover_is_cut() -> None:
    image = np.full((10, 40, 1), 30, np.uint8)
    image[2:8, 10:30] = 230
    contained, covered = resize(image, 20, 20, "contain")[..., 0], resize(image, 20, 20, "cover")[..., 0]
    assert (contained[:7] == 30).all()
    assert (contained[13:] == 30).all()
    assert contained[10, 10] > 200
    assert covered[10, 0] > 200, "the middle of the width is all that is left"


def test_an_image_of_the_size_is_the_same_object() -> None:
    image = np.zeros((4, 5, 1), np.uint8)
    assert resize(image, 4, 5, "cover") is image
