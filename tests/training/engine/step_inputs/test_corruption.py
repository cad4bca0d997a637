from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from training.engine.step_inputs.corruption import CORRUPTIONS, Corruptor
from training.recipe import Corruption, CorruptionKind


def corrupt(kind: CorruptionKind, level: float, clean: Tensor, *, pixels: bool = True, seed: int = 0) -> Tensor:
    corruptor = Corruptor([Corruption(kind=kind, level=(level, level))], pixels=pixels)
    return corruptor(clean, torch.Generator().manual_seed(seed))


GREY = torch.full((8, 1, 64, 64), 0.5)


def test_gaussian_noise_has_the_standard_deviation_that_was_asked_for() -> None:
    noise = corrupt("gaussian", 0.1, GREY) - GREY
    assert noise.std().item() == pytest.approx(0.1, rel=0.02)
    assert abs(noise.mean().item()) < 0.002


def test_masking_sets_the_share_to_zero_and_leaves_the_rest() -> None:
    masked = corrupt("masking", 0.3, GREY)
    assert (masked == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert set((masked * 255).round().int().flatten().tolist()) == {0, 128}


def test_masking_can_fill_with_the_mean_and_says_where() -> None:
    masking = Corruption(kind="masking", level=(0.3, 0.3), fill="mean")
    mean = torch.linspace(0, 1, 64).repeat(64, 1)[None]
    corruptor = Corruptor([masking], pixels=False, mean=mean)
    clean = torch.full_like(GREY, 2.0)
    masked, mask = corruptor.corrupt_with_mask(clean, torch.Generator().manual_seed(0))
    assert mask.float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert torch.equal(masked, torch.where(mask, mean, clean))


def test_noise_is_marked_everywhere_and_salt_and_pepper_where_it_fell() -> None:
    kinds = [Corruption(kind="gaussian", level=(0.1, 0.1)), Corruption(kind="salt-and-pepper", level=(0.2, 0.2))]
    noisy, mask = Corruptor(kinds, pixels=False).corrupt_with_mask(GREY, torch.Generator().manual_seed(0))
    shares = {round(share, 1) for share in mask.float().mean((1, 2, 3)).tolist()}
    assert shares == {0.2, 1.0}
    assert torch.equal(noisy[~mask], GREY[~mask])
    assert not Corruptor([], pixels=True).corrupt_with_mask(GREY, torch.Generator())[1].any()


def test_salt_and_pepper_are_equally_many() -> None:
    noisy = corrupt("salt-and-pepper", 0.4, GREY)
    assert (noisy == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert (noisy == 1).float().mean().item() == pytest.approx(0.2, abs=0.01)


def test_pixels_stay_what_an_8_bit_file_can_hold() -> None:
    noisy = corrupt("gaussian", 0.5, GREY)
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    assert torch.equal((noisy * 255).round() / 255, noisy)


def test_vectors_are_neither_clipped_nor_rounded() -> None:
    noisy = corrupt("gaussian", 1.0, torch.zeros(100, 100), pixels=False)
    assert noisy.max() > 2
    assert noisy.std().item() == pytest.approx(1, rel=0.05)


def test_level_zero_changes_nothing() -> None:
    clean = (torch.rand(4, 1, 8, 8) * 255).round() / 255
    for kind in ("gaussian", "masking", "salt-and-pepper"):
        assert torch.equal(corrupt(kind, 0, clean), clean)


def test_the_same_generator_state_gives_the_same_noise_and_another_gives_another() -> None:
    assert torch.equal(corrupt("gaussian", 0.2, GREY), corrupt("gaussian", 0.2, GREY))
    assert not torch.equal(corrupt("gaussian", 0.2, GREY), corrupt("gaussian", 0.2, GREY, seed=1))


def test_of_several_corruptions_each_sample_gets_one() -> None:
    kinds = [Corruption(kind="masking", level=(1, 1)), Corruption(kind="gaussian", level=(0, 0))]
    noisy = Corruptor(kinds, pixels=True)(torch.full((64, 1, 4, 4), 1.0), torch.Generator().manual_seed(0))
    means = noisy.mean((1, 2, 3))
    assert set(means.tolist()) == {0.0, 1.0}


def test_no_corruption_gives_the_clean_samples_back() -> None:
    assert Corruptor([], pixels=True)(GREY, torch.Generator()) is GREY


def test_every_kind_of_a_recipe_has_its_function_which_keeps_the_shape() -> None:
    assert set(CORRUPTIONS) == set(get_args(CorruptionKind))
    images = torch.rand(5, 3, 16, 12, generator=torch.Generator().manual_seed(0))
    image = (images[0].permute(1, 2, 0).numpy()[:12] * 255).astype(np.uint8)
    for kind, corruption in CORRUPTIONS.items():
        assert (corruption.apply is None) != (corruption.apply_to_image is None)
        if corruption.apply_to_image is not None:
            clean, noisy_image = corruption.apply_to_image(image, 0.5, np.random.default_rng(0))
            assert clean.shape == noisy_image.shape == image.shape
            assert not np.array_equal(clean, noisy_image)
            continue
        noisy = corrupt(kind, 0.2, images)
        assert noisy.shape == images.shape
        assert not torch.equal(noisy, images)
