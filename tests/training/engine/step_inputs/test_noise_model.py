"""The noise of pictures, estimated from them: its strength by brightness, its correlation, and draws that are alike."""

import cv2
import numpy as np
import pytest
import torch

from training.engine.step_inputs import noise_model
from training.engine.step_inputs.noise_model import NoiseModel

RNG = np.random.default_rng(0)


def scenes(count: int, channels: int = 3) -> np.ndarray:
    """Smooth places of all brightnesses beside edges and texture, float [N,160,160,C] in 0.1..0.9."""
    rng = np.random.default_rng(1)
    images = [cv2.resize(rng.uniform(0.15, 0.85, (3, 3, channels)), (160, 160)) for _ in range(count)]
    for image in images:
        image = image.reshape(160, 160, channels)
        image[:40, :40] = rng.uniform(0.1, 0.9, (40, 40, channels))
        cv2.rectangle(image, (80, 90), (130, 150), tuple(rng.uniform(0.2, 0.8, channels).tolist()), 3)
    return np.stack([image.reshape(160, 160, channels) for image in images])


def estimate(noise: np.ndarray, clean: np.ndarray) -> NoiseModel:
    noisy = np.rint((clean + noise).clip(0, 1) * 65_535).astype(np.uint16)
    denoised = np.rint((clean + 0.2 * noise).clip(0, 1) * 65_535).astype(np.uint16)  # a denoiser is never perfect
    model = noise_model.estimate(noisy, denoised, RNG)
    assert model is not None
    return model


def test_noise_that_grows_with_the_light_is_found_and_drawn() -> None:
    clean = scenes(12)
    model = estimate(RNG.standard_normal(clean.shape) * np.sqrt(0.01**2 + 0.004 * clean), clean)
    for level in (0.25, 0.5, 0.75):
        true = np.sqrt(0.01**2 + 0.004 * level)
        found = model.deviation[:, round(level * 255)].mean()
        assert found == pytest.approx(true, rel=0.12), level
        drawn = model.draw(torch.full((2, 3, 64, 80), level), torch.Generator().manual_seed(0))
        assert float(drawn.std()) == pytest.approx(found, rel=0.05)
    assert abs(model.correlation) < 0.06
    assert "hardly correlated" in str(model)


def test_correlation_over_pixels_and_colours_is_found_and_drawn() -> None:
    clean = scenes(12)
    white = RNG.standard_normal(clean.shape)
    white[..., 1] = 0.6 * white[..., 0] + 0.8 * white[..., 1]
    noise = np.stack([cv2.GaussianBlur(image, (0, 0), 0.8) for image in white])
    noise *= 0.04 / noise.std()
    true_neighbours = float(np.mean(noise[:, :, 1:] * noise[:, :, :-1]) / np.mean(noise**2))
    true_colours = float(np.mean(noise[..., 0] * noise[..., 1]) / np.mean(noise**2))
    model = estimate(noise, clean)
    assert model.correlation == pytest.approx(true_neighbours, abs=0.1)
    drawn = model.draw(torch.full((4, 3, 96, 96), 0.5), torch.Generator().manual_seed(0))
    variance = drawn.square().mean()
    assert float((drawn[..., 1:] * drawn[..., :-1]).mean() / variance) == pytest.approx(true_neighbours, abs=0.1)
    assert float((drawn[:, 0] * drawn[:, 1]).mean() / variance) == pytest.approx(true_colours, abs=0.1)
    assert abs(float((drawn[:, 0] * drawn[:, 2]).mean() / variance)) < 0.1
    assert "0." in str(model)
    assert "correlated" in str(model)


def test_noise_that_the_denoiser_does_not_remove_is_found_all_the_same() -> None:
    clean = scenes(12)
    noise = RNG.standard_normal(clean.shape) * 0.05
    noisy = np.rint((clean + noise).clip(0, 1) * 65_535).astype(np.uint16)
    model = noise_model.estimate(noisy, noisy, RNG)
    assert model is not None
    assert model.strength == pytest.approx(0.05, rel=0.15)


def test_grey_pictures_in_three_channels_get_grey_noise() -> None:
    clean = np.repeat(scenes(8, 1), 3, axis=3)
    model = estimate(np.repeat(RNG.standard_normal((8, 160, 160, 1)) * 0.03, 3, axis=3), clean)
    drawn = model.draw(torch.full((1, 3, 32, 32), 0.5), torch.Generator().manual_seed(0))
    assert torch.equal(drawn[:, 0], drawn[:, 2])


def test_without_noise_or_without_a_block_there_is_no_model() -> None:
    clean = np.rint(scenes(4) * 255).astype(np.uint8)
    smooth = np.rint(cv2.GaussianBlur(clean[0], (0, 0), 9)).astype(np.uint8)[None]
    assert noise_model.estimate(smooth // 128 * 128, smooth // 128 * 128, RNG) is None
    assert noise_model.estimate(clean[:, :12, :12], clean[:, :12, :12], RNG) is None
