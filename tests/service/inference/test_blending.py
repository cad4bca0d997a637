"""Pages blended with their results."""

from typing import Any

import numpy as np
import pytest

from service.errors import InvalidInput
from service.imaging.picture import Metadata, Picture
from service.inference.blending import blend_pictures


def page(dtype: Any, channels: int = 1, seed: int = 0) -> Picture:
    random = np.random.default_rng(seed).random((9, 7, channels))
    scaled = random if np.dtype(dtype).kind == "f" else np.rint(random * np.iinfo(dtype).max)
    return Picture(scaled.astype(dtype))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_a_blend_lies_between_and_ends_are_exact(dtype: Any) -> None:
    pages = [page(dtype, 3, seed) for seed in range(3)]
    first, second, third = ([single] for single in pages)
    for strength, expected in ((0.0, pages[0]), (1.0, pages[1]), (2.0, pages[2])):
        (result,) = blend_pictures(first, second, third, strength)
        np.testing.assert_array_equal(result.pixels, expected.pixels)
    for strength, low, high in ((0.3, pages[0], pages[1]), (1.3, pages[1], pages[2])):
        (result,) = blend_pictures(first, second, third, strength)
        exact = low.pixels + 0.3 * (high.pixels.astype(np.float64) - low.pixels)
        assert result.pixels.dtype == dtype
        assert np.abs(result.pixels - exact).max() <= 0.5 + 1e-6


def test_a_page_of_one_bit_has_few_levels() -> None:
    original = Picture(np.where(page(np.uint8).pixels > 127, 255, 0).astype(np.uint8), Metadata(bits=1))
    few = Picture(np.where(np.arange(63).reshape(9, 7, 1) == 31, 255 - original.pixels, original.pixels))
    (result,) = blend_pictures([original], [few], None, 0.25)
    np.testing.assert_array_equal(result.pixels, original.pixels)  # one pixel is no area of grey
    (result,) = blend_pictures([original], [Picture(255 - original.pixels)], None, 0.25)
    assert result.metadata.bits == 4
    assert not (result.pixels % 17).any()


def test_what_does_not_belong_together_is_refused() -> None:
    one = [page(np.uint8)]
    with pytest.raises(InvalidInput, match="1 pages, its result has 2"):
        blend_pictures(one, one * 2, None, 0.5)
    with pytest.raises(InvalidInput, match="7x9 in uint8, that of its result 7x9 in uint16"):
        blend_pictures(one, [page(np.uint16)], None, 0.5)
    with pytest.raises(InvalidInput, match="denoised_twice"):
        blend_pictures(one, one, None, 1.5)
    with pytest.raises(InvalidInput, match="1 channels, its result 3"):
        blend_pictures(one, [page(np.uint8, 3)], None, 0.5)
    (grey,) = blend_pictures([page(np.uint8, 3)], one, None, 1)
    assert grey.pixels.shape == (9, 7, 3)
