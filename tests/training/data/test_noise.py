import numpy as np
import pytest

from tests.drawings import drawings
from training.data.noise import describe_noise, estimate_noise


def smooth(count: int, size: int = 96, channels: int = 3) -> np.ndarray:
    """uint8 [count, size, size, channels]: gradients with some edges."""
    generator = np.random.default_rng(0)
    ramp = np.linspace(0, 1, size)
    images = []
    for _ in range(count):
        a, b, edge = generator.uniform(0.2, 0.6), generator.uniform(-0.2, 0.2), generator.integers(10, size - 10)
        image = a + b * ramp[:, None] + b * ramp[None] + 0.3 * (np.arange(size)[None] > edge)
        images.append(np.repeat(image[..., None], channels, axis=2))
    return np.asarray(np.clip(255 * np.stack(images), 0, 255), np.uint8)


def add_noise(images: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, deviation, images.shape)
    noisy: np.ndarray = np.asarray(np.clip(images + noise, 0, 255).round(), np.uint8)
    return noisy


@pytest.mark.parametrize("deviation", [8, 20, 40])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_deviation_of_noise_is_estimated(deviation: float, channels: int) -> None:
    noisy = add_noise(smooth(6, channels=channels), deviation)
    estimates = [estimate_noise(image) * 255 for image in noisy]
    assert np.median(estimates) == pytest.approx(deviation, rel=0.2)
    assert min(estimates) > 0.6 * deviation, "white cuts off a part of it"


def test_clean_pictures_drawings_and_flat_ones_have_no_noise() -> None:
    for images in (smooth(6), drawings(6, 64)[..., None], np.full((3, 20, 20, 1), 7, np.uint8)):
        assert max(estimate_noise(image) for image in images) < 1.5 / 255
        assert describe_noise(images) == ""


def test_noisy_pictures_are_said_to_be_so_with_what_to_do() -> None:
    line = describe_noise(add_noise(smooth(20), 25))
    assert "most pictures look noisy: a standard deviation of about 2" in line
    assert "autoencoder-service denoise" in line
    mixed = [*add_noise(smooth(4), 25), *smooth(10)]
    assert describe_noise(mixed) == "", "a few noisy ones among many are no reason"
    assert describe_noise(add_noise(smooth(20, 28, 1), 30)) != ""


def test_tiny_pictures_and_lines_are_no_error() -> None:
    assert describe_noise(np.zeros((3, 1, 40, 1), np.uint8)) == ""
    assert describe_noise(np.zeros((3, 2, 2, 1), np.uint8)) == ""
