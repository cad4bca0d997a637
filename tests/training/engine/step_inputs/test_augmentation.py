import pytest
import torch

from tests.drawings import drawings
from training.engine.step_inputs.augmentation import Augmenter
from training.recipe import AutoencoderAugmentation

CLEAN = torch.from_numpy(drawings(32)).unsqueeze(1).float() / 255


def test_without_any_change_the_images_come_back_as_they_are() -> None:
    assert torch.equal(Augmenter(AutoencoderAugmentation())(CLEAN, 0.0, torch.Generator()), CLEAN)


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_others() -> None:
    flipped = Augmenter(AutoencoderAugmentation(flip=True))(CLEAN, 0.0, torch.Generator().manual_seed(0))
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(flipped, CLEAN, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(flipped, CLEAN, strict=True)]
    assert all(m or s for m, s in zip(mirrored, same, strict=True))
    assert 8 <= sum(mirrored) <= 24


def test_a_shift_moves_by_at_most_so_many_pixels() -> None:
    dot = torch.zeros(64, 1, 21, 21)
    dot[:, :, 10, 10] = 1
    moved = Augmenter(AutoencoderAugmentation(shift=2))(dot, 0.0, torch.Generator().manual_seed(0))
    where = moved.flatten(1).argmax(1)
    offsets = torch.stack([where // 21 - 10, where % 21 - 10]).abs()
    assert 1 <= offsets.max() <= 2


def test_it_fades_between_its_two_bounds() -> None:
    augment = Augmenter(AutoencoderAugmentation(shift=2, fade=(0.5, 0.9)))
    assert augment.strength(0.2) == 1
    assert augment.strength(0.7) == pytest.approx(0.5)
    assert augment.strength(0.9) == 0
    assert torch.equal(augment(CLEAN, 0.95, torch.Generator()), CLEAN)


def test_bent_images_stay_in_range_and_near_their_originals() -> None:
    recipe = AutoencoderAugmentation(rotate=6, scale=0.08, shear=0.1, elastic=0.06, shift=1)
    bent = Augmenter(recipe)(CLEAN, 0.0, torch.Generator().manual_seed(0))
    assert bent.min() >= 0
    assert bent.max() <= 1
    distance = (bent - CLEAN).pow(2).mean()
    strangers = (CLEAN.roll(1, 0) - CLEAN).pow(2).mean()
    assert 0 < distance < strangers / 2


def test_the_same_generator_state_gives_the_same_images() -> None:
    augment = Augmenter(AutoencoderAugmentation(flip=True, elastic=0.1))
    first, second = (augment(CLEAN, 0.0, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)


def test_mirrored_edges_bring_nothing_black_into_a_moved_picture() -> None:
    white = torch.ones(16, 1, 12, 12)
    generator = torch.Generator().manual_seed(0)
    black = Augmenter(AutoencoderAugmentation(shift=4))(white, 0.0, generator)
    mirrored = Augmenter(AutoencoderAugmentation(shift=4, rotate=20, edge="mirrored"))(white, 0.0, generator)
    assert black.min() < 0.1
    assert mirrored.min() > 0.99
