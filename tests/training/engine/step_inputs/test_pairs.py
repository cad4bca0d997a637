"""Corruptions of photographs, prepared ahead of a training step."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.training.restoration import build_recipe
from tests.training.synthetic_pages.test_sampler import make_sampler
from training.engine.step_inputs.crops import RandomCrops
from training.engine.step_inputs.pairs import PairBatches, has_image_corruption, make_pair
from training.recipe import Corruption

GAUSSIAN = Corruption(kind="gaussian", level=(0.1, 0.1))
CAMERA = Corruption(kind="camera", level=(0.3, 0.6))
JPEG = Corruption(kind="jpeg", level=(0.5, 0.9), weight=2)
CPU = torch.device("cpu")


def patches(count: int = 12, channels: int = 3) -> NDArray[np.uint8]:
    coarse = torch.rand(count, channels, 6, 6, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, size=(48, 48), mode="bicubic").clamp(0, 1)
    return np.asarray((smooth * 255).round().byte().permute(0, 2, 3, 1).numpy())


def epoch(batches: PairBatches, seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    order = [torch.arange(4) + start for start in range(0, len(batches), 4)]
    loaded = list(batches.load(order, torch.Generator().manual_seed(seed)))
    return [(pairs, is_pair) for pairs, is_pair in loaded if is_pair is not None]


@pytest.mark.parametrize("processes", [0, 2])
def test_the_generator_decides_all_whatever_the_number_of_processes(processes: int) -> None:
    batches = PairBatches(patches(), [GAUSSIAN, CAMERA, JPEG], CPU, processes)
    expected = epoch(PairBatches(patches(), [GAUSSIAN, CAMERA, JPEG], CPU, 0), 7)
    for _ in range(2):
        loaded = epoch(batches, 7)
        assert len(loaded) == 3
        for (pairs, is_pair), (expected_pairs, expected_mask) in zip(loaded, expected, strict=True):
            assert torch.equal(pairs, expected_pairs)
            assert torch.equal(is_pair, expected_mask)
    assert not torch.equal(epoch(batches, 8)[0][0], expected[0][0])


@pytest.mark.parametrize("processes", [0, 2])
def test_a_sampler_draws_other_pairs_in_every_epoch(processes: int) -> None:
    batches = PairBatches(make_sampler(), [], CPU, processes)
    first, again, second = (epoch(batches, seed) for seed in (7, 7, 8))
    assert len(first) == 5
    assert first[0][0].shape == (4, 64, 64, 6)
    assert all(is_pair.all() for _, is_pair in first)
    assert torch.equal(first[2][0], again[2][0])
    assert not torch.equal(first[2][0], second[2][0])


def test_pairs_are_processed_and_all_other_patches_are_there_twice() -> None:
    for pairs, is_pair in epoch(PairBatches(patches(), [GAUSSIAN, CAMERA, JPEG], CPU), 1):
        clean, noisy = pairs.split(3, dim=3)  # type: ignore[no-untyped-call]
        assert pairs.shape == (4, 48, 48, 6)
        assert torch.equal((clean == noisy).flatten(1).all(1), ~is_pair)


def test_weights_are_the_shares_of_the_draws() -> None:
    batches = PairBatches(np.repeat(patches(1), 300, axis=0), [GAUSSIAN, JPEG], CPU)
    share = torch.cat([is_pair for _, is_pair in epoch(batches, 1)]).float().mean().item()
    assert share == pytest.approx(2 / 3, abs=0.1)


def test_without_such_corruptions_batches_are_the_patches() -> None:
    assert not has_image_corruption([GAUSSIAN])
    assert has_image_corruption([GAUSSIAN, JPEG])
    loaded = list(PairBatches(patches(), [GAUSSIAN], CPU).load([torch.tensor([3, 1])], torch.Generator()))
    assert torch.equal(loaded[0][0], torch.from_numpy(patches()[[3, 1]]))
    assert loaded[0][1] is None


def test_grey_patches_keep_equal_channels() -> None:
    grey = patches(1, 1)[0]
    for channels in (1, 3):
        for corruption in (CAMERA, JPEG):
            for result in make_pair(np.repeat(grey, channels, 2), corruption, np.random.default_rng(2)):
                assert result.shape == (48, 48, channels)
                assert result.dtype == np.uint8
                assert (result == result[..., :1]).all()


def test_crops_add_numeric_noise_only_to_what_is_no_pair() -> None:
    sections = [corruption.model_dump() for corruption in (GAUSSIAN, CAMERA, JPEG)]
    recipe = build_recipe("x", {"augmentation": {"grey": 0.5}, "architecture.channels": 3}, corruption=sections)
    crops = RandomCrops(recipe, paired=False)
    image = np.concatenate([np.full((8, 48, 48, 3), value, np.uint8) for value in (90, 140)], -1)
    is_pair = torch.tensor([True, False] * 4)
    clean, noisy = crops(torch.from_numpy(image), torch.Generator().manual_seed(0), is_pair)
    assert torch.allclose(clean * 255, torch.tensor(90.0))
    assert torch.allclose(noisy[is_pair] * 255, torch.tensor(140.0))
    deviations = (noisy[~is_pair] - clean[~is_pair]).flatten(1).std(1)
    assert deviations.min() > 0.08
    assert all(first != second for first, second in pairwise(deviations.tolist()))
