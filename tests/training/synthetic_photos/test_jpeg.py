"""JPEG as a corruption: quality by level, halved colours."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.synthetic_photos.test_camera import picture
from training.synthetic_photos import jpeg


@pytest.mark.parametrize(("level", "quality"), [(0.05, 95), (0.9, 10), (0.6, 40)])
def test_the_level_of_jpeg_is_what_its_quality_lacks(
    level: float, quality: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    qualities: list[int] = []
    real = jpeg.compress

    def compress(image: NDArray[np.uint8], quality: int, *, subsampled: bool) -> NDArray[np.uint8]:
        qualities.append(quality)
        return real(image, quality, subsampled=subsampled)

    monkeypatch.setattr(jpeg, "compress", compress)
    clean, compressed = jpeg.corrupt(picture(), level, np.random.default_rng(0))
    assert qualities == [quality]
    assert np.array_equal(clean, picture())
    assert not np.array_equal(compressed, clean)


def test_jpeg_halves_the_colours_only_if_told_to() -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = (255, 0, 0)
    stripes[:, 1::2] = (0, 0, 255)
    errors = [
        np.abs(jpeg.compress(stripes, 95, subsampled=subsampled).astype(int) - stripes).mean()
        for subsampled in (False, True)
    ]
    assert errors[0] < 5 < 30 < errors[1]
    grey = picture()[..., :1]
    assert jpeg.compress(grey, 30, subsampled=True).shape == grey.shape
