"""Corruptions of photographs inside a training step."""

import numpy as np
import torch

from training.engine.photo_noise import PhotoNoise, corrupt_for_validation, has_image_corruption
from training.recipe import Corruption

GAUSSIAN = Corruption(kind="gaussian", level=(0.1, 0.1))
CAMERA = Corruption(kind="camera", level=(0.3, 0.6))
JPEG = Corruption(kind="jpeg", level=(0.5, 0.9), weight=2)


def crops(count: int = 12, channels: int = 3) -> torch.Tensor:
    coarse = torch.rand(count, channels, 6, 6, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=(48, 48), mode="bicubic").clamp(0, 1)


def test_each_crop_gets_one_corruption_and_the_generator_decides_all() -> None:
    noise = PhotoNoise([GAUSSIAN, CAMERA, JPEG])
    first, second = (noise(crops(), torch.Generator().manual_seed(7)) for _ in range(2))
    for left, right in zip(first, second, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)
    clean, noisy = first
    assert clean.shape == noisy.shape == (12, 3, 48, 48)
    assert ((clean - noisy).flatten(1).abs().mean(1) > 0).all()
    is_replaced = (clean - crops()).abs().amax((1, 2, 3)) > 0.02
    assert 0 < is_replaced.sum() < 12, "only the camera develops the clean crop as well"


def test_weights_are_the_shares_of_the_draws() -> None:
    noise = PhotoNoise([Corruption(kind="gaussian", level=(0, 0), weight=1), JPEG])
    clean, noisy = noise(crops(300), torch.Generator().manual_seed(1))
    share = float(((clean - noisy).abs().amax((1, 2, 3)) > 0).float().mean())
    assert abs(share - 2 / 3) < 0.1


def test_grey_crops_keep_equal_channels() -> None:
    grey = crops().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    for result in PhotoNoise([CAMERA, JPEG])(grey, torch.Generator().manual_seed(2)):
        torch.testing.assert_close(result[:, 0], result[:, 2])
    for result in PhotoNoise([CAMERA, JPEG])(crops(channels=1), torch.Generator().manual_seed(2)):
        assert result.shape == (12, 1, 48, 48)


def test_validation_pairs_are_the_same_each_time() -> None:
    image = (crops(1)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    first, second = (corrupt_for_validation(image, [GAUSSIAN, CAMERA, JPEG], 3) for _ in range(2))
    assert list(first) == ["camera 0.15", "camera 0.45", "camera 0.75", "jpeg 0.9", "jpeg 0.8", "jpeg 0.6"]
    for name, (clean, noisy) in first.items():
        assert np.array_equal(clean, second[name][0])
        assert np.array_equal(noisy, second[name][1])
        assert clean.shape == noisy.shape == (48, 48, 3)
    assert has_image_corruption([GAUSSIAN, JPEG])
    assert not has_image_corruption([GAUSSIAN])
