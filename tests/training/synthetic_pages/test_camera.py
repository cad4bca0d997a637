import numpy as np
import pytest

from training.synthetic_pages import camera


def test_light_reaches_from_a_tenth_to_full_and_is_common_to_the_channels() -> None:
    darkest, brightest = [], []
    for seed in range(150):
        light = camera.draw_light(np.random.default_rng(seed), (60, 80), seed / 150)
        assert light.shape == (60, 80)
        darkest.append(light.min())
        brightest.append(light.max())
    assert pytest.approx(camera.DARKEST, abs=0.02) == min(darkest)
    assert 0.95 < max(brightest) <= 1.3


def test_blur_softens_and_moves_no_light() -> None:
    page = np.ones((60, 60, 3), np.float32)
    page[:, 28:32] = 0
    for seed in range(20):
        soft = camera.blur(np.random.default_rng(seed), page, 2.0)
        assert soft.shape == page.shape
        assert soft.mean() == pytest.approx(page.mean(), abs=0.01)
    assert soft.min() > 0


def test_noise_stays_below_what_is_allowed() -> None:
    grey = np.full((80, 80, 3), 0.5, np.float32)
    deviations = [camera.add_noise(np.random.default_rng(seed), grey, 0.01).std() for seed in range(40)]
    assert max(deviations) < 0.02
    assert min(deviations) == pytest.approx(0, abs=1e-6)


def test_jpeg_and_resampling_keep_shape_colour_and_brightness() -> None:
    page = np.zeros((50, 70, 3), np.uint8)
    page[..., 0], page[..., 2] = 200, 40
    for seed in range(10):
        rng = np.random.default_rng(seed)
        assert np.abs(camera.compress(rng, page, 25).astype(int) - page).max() < 8
        again = camera.to_uint8(camera.resample(rng, page.astype(np.float32) / np.float32(255)))
        assert np.abs(again.astype(int) - page).max() <= 1


def test_tints_are_one_colour_of_a_page_or_uneven() -> None:
    shapes = {camera.draw_tint(np.random.default_rng(seed), (20, 30)).shape for seed in range(80)}
    assert shapes == {(1, 1, 3), (20, 30, 3)}
