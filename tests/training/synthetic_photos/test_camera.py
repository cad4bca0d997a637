import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthetic_photos import camera

SIZE = 96


def picture(seed: int = 0) -> NDArray[np.uint8]:
    """Smooth colours of all brightnesses, with an edge."""
    coarse = np.random.default_rng(seed).integers(20, 236, (5, 5, 3), dtype=np.uint8)
    image = np.asarray(cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), np.uint8)
    image[:, SIZE // 2 :] = image[:, SIZE // 2 :] // 2
    return image


def draws(level: float, count: int = 40) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    rng = np.random.default_rng(1)
    return [camera.corrupt(picture(n % 7), level, rng) for n in range(count)]


def error(pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> NDArray[np.float64]:
    return pair[1].astype(np.float64) - pair[0]


def test_a_pair_has_the_shape_of_the_picture_and_depends_on_the_generator_alone() -> None:
    first, second = (camera.corrupt(picture(), 0.5, np.random.default_rng(3)) for _ in range(2))
    other = camera.corrupt(picture(), 0.5, np.random.default_rng(4))
    for a, b, c in zip(first, second, other, strict=True):
        assert a.shape == (SIZE, SIZE, 3)
        assert a.dtype == np.uint8
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)


def test_noise_grows_with_the_level_from_hardly_visible_to_strong() -> None:
    medians = [float(np.median([error(pair).std() for pair in draws(level)])) for level in (0, 0.5, 1)]
    assert 0.5 < medians[0] < 5
    assert medians[0] * 1.5 < medians[1] < medians[2]
    assert 15 < medians[2] < 60


def test_noise_shifts_no_colour() -> None:
    for level in (0.2, 0.8):
        shifts = np.array([error(pair).mean((0, 1)) for pair in draws(level, 100)])
        assert np.abs(shifts.mean(0)).max() < 0.5, "of 255, on average"


def test_the_clean_picture_keeps_the_colours_of_the_scene() -> None:
    even = np.full((SIZE, SIZE, 3), (180, 110, 60), np.uint8)
    rng = np.random.default_rng(0)
    means = np.array([camera.corrupt(even, 0.0, rng)[0].mean((0, 1)) for _ in range(30)])
    assert np.abs(means - (180, 110, 60)).max() < 4


def test_a_mosaic_without_noise_gives_its_colours_back() -> None:
    raw = np.full((16, 16, 3), (0.2, 0.5, 0.8), np.float32)
    for pattern in range(4):
        colours = camera._demosaic(camera._cells(raw, pattern), pattern)
        assert np.abs(colours[4:-4, 4:-4] - (0.2, 0.5, 0.8)).max() < 1e-3, f"pattern {pattern}"


def test_noise_depends_on_the_light_and_is_correlated_in_space_and_between_colours() -> None:
    ramp = np.repeat(np.repeat(np.linspace(10, 245, SIZE).astype(np.uint8)[None], SIZE, 0)[..., None], 3, 2)
    rng = np.random.default_rng(0)
    errors = np.array([error(camera.corrupt(ramp, 0.6, rng)) for _ in range(60)])  # [N,H,W,3]
    by_light = errors.std((0, 1, 3))
    assert by_light.max() > 1.5 * by_light[-8:].mean(), "less noise where it is bright"
    inner = errors - errors.mean((1, 2), keepdims=True)
    variance = (inner**2).mean()
    assert (inner[:, :, 1:] * inner[:, :, :-1]).mean() > 0.2 * variance, "neighbours"
    assert (inner[..., 0] * inner[..., 1]).mean() > 0.05 * variance, "colours"
