"""Pictures as a model sees them."""

import numpy as np
from starlette.testclient import TestClient

from tests.service.denoisers import decode_pages, send
from tests.service.http import picture
from tests.service.imaging.test_tiling import structured


def test_colour_through_a_grey_model_is_three_pages(denoisers: TestClient) -> None:
    sent = structured(101, 133, 3)
    (got,) = decode_pages(send(denoisers, "page", picture(sent)).content)
    for channel in range(3):
        alone = decode_pages(send(denoisers, "page", picture(sent[:, :, channel])).content)[0]
        assert np.abs(got.pixels[:, :, channel].astype(int) - alone.pixels[:, :, 0]).max() <= 1


def test_grey_through_a_colour_model_is_grey(denoisers: TestClient) -> None:
    sent = structured(70, 80)[:, :, 0]
    colour = decode_pages(send(denoisers, "photo", picture(np.dstack([sent] * 3))).content)[0].pixels.astype(int)
    (got,) = decode_pages(send(denoisers, "photo", picture(sent)).content)
    assert got.pixels.shape == (70, 80, 1)
    np.testing.assert_allclose(got.pixels[:, :, 0], colour.mean(axis=2), atol=0.5)
