"""Resizing to a model's size."""

import numpy as np
from starlette.testclient import TestClient

from tests.service.http import opened, picture, refused, url


def test_another_size_is_refused_and_can_be_resized(client: TestClient) -> None:
    wide = np.full((10, 40), 200, np.uint8)
    document = refused(client.post(url("encode"), files={"image": picture(wide)}), 422, "is 40x10, small takes 28x28")
    assert (document["width"], document["height"]) == (28, 28)
    for how in ("contain", "cover", "stretch"):
        response = client.post(f"{url('encode')}?fit={how}", files={"image": picture(wide)})
        np.testing.assert_allclose(response.json()["latents"][0], 200 / 255, atol=0.01)
    refused(
        client.post(f"{url('encode')}?fit=squash", files={"image": picture()}), 422, "'contain', 'cover' or 'stretch'"
    )
    refused(client.post(f"{url('encode')}?size=3", files={"image": picture()}), 422, "the only one is fit")


def test_contain_keeps_all_and_cover_fills(client: TestClient) -> None:
    halves = np.zeros((28, 56), np.uint8)
    halves[:, 28:] = 255
    contained, covered = (
        opened(client.post(f"{url('denoise')}?fit={how}", files={"image": picture(halves)}).content)
        for how in ("contain", "cover")
    )
    assert contained.shape == covered.shape == (28, 28)
    assert covered[0, :10].max() == 0
    assert covered[0, 20:].min() == 255
