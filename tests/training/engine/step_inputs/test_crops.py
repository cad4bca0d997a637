import numpy as np
import pytest
import torch

from tests.training.restoration import build_recipe
from training.engine.step_inputs.crops import RandomCrops


def test_crops_cut_clean_and_noisy_alike() -> None:
    position = np.arange(40 * 40, dtype=np.uint32).reshape(40, 40)
    sample = np.stack([position % 251, position % 251], -1).astype(np.uint8)
    recipe = build_recipe("x", {"data.patch": 40, "augmentation": {"flip": True, "quarter_turns": True}})
    crops = RandomCrops(recipe, paired=True)
    generator = torch.Generator().manual_seed(0)
    clean, noisy = crops(torch.from_numpy(np.stack([sample] * 8)), generator)
    assert clean.shape == (8, 1, 32, 32)
    assert torch.equal(clean, noisy)
    assert len({tuple(crop.flatten().tolist()) for crop in clean}) > 4, "each is turned and cropped on its own"


def test_some_crops_are_given_clean_and_some_grey() -> None:
    rng = np.random.default_rng(0)
    batch = torch.from_numpy(rng.integers(60, 200, (200, 32, 32, 3), dtype=np.uint8))
    recipe = build_recipe(
        "x",
        {"augmentation": {"clean": 0.25, "grey": 0.5}, "architecture.channels": 3},
        corruption=[{"kind": "gaussian", "level": [0.1, 0.1]}],
    )
    clean, noisy = RandomCrops(recipe, paired=False)(batch, torch.Generator().manual_seed(0))
    same = (clean == noisy).flatten(1).all(1)
    grey = (clean[:, :1] == clean).flatten(1).all(1)
    assert same.float().mean().item() == pytest.approx(0.25, abs=0.1)
    assert grey.float().mean().item() == pytest.approx(0.5, abs=0.12)
    assert (noisy[:, :1] == noisy).flatten(1).all(1)[grey].all(), "grey noise on grey"
    files = ((noisy * 255).round() / 255 == noisy).flatten(1).all(1)[~same]
    assert 0.3 < files.float().mean().item() < 0.7, "half of them as a file holds them"
