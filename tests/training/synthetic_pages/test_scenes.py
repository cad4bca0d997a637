from functools import cache

import numpy as np
import pytest

from tests.training import fonts as faces
from training.synthetic_pages import pool, scenes
from training.synthetic_pages.pool import Pool
from training.synthetic_pages.writing.text import TextCorpus


@cache
def small_pool() -> Pool:
    return Pool(pool.draw_ink(4, 0, faces.book(), TextCorpus("train"), 256), pool.draw_sheets(3, 0, 256))


def draw(seed: int, ground: str | None = None) -> scenes.Scene:
    return scenes.draw_scene(np.random.default_rng(seed), 96, small_pool(), photographs(), ground)


@cache
def photographs() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, (150, 200, 3), dtype=np.uint8) for _ in range(2)]


def test_a_seed_draws_the_same_scene_and_another_seed_another_one() -> None:
    first, second, other = draw(3), draw(3), draw(4)
    assert np.array_equal(first.clean, second.clean)
    assert np.array_equal(first.noisy, second.noisy)
    assert not np.array_equal(first.noisy, other.noisy)


@pytest.mark.parametrize("ground", list(scenes.GROUNDS))
def test_clean_and_noisy_are_colour_images_of_one_size_on_every_ground(ground: str) -> None:
    for seed in range(12):
        scene = draw(seed, ground)
        for image in (scene.clean, scene.noisy):
            assert image.shape == (96, 96, 3)
            assert image.dtype == np.uint8


def test_paper_without_ink_is_white_in_the_clean_page_whatever_the_light() -> None:
    found = [draw(seed, "paper") for seed in range(60)]
    whites = [np.percentile(scene.clean, 99) for scene in found]
    darks = [np.percentile(scene.noisy, 99) < 150 for scene in found]
    assert np.mean(np.asarray(whites) > 250) > 0.9
    assert sum(darks) >= 2, "some are taken in the dark"


def test_a_photograph_that_fills_the_scene_is_not_brightened() -> None:
    """Nothing says how bright it ought to be: its target differs from what came by noise and JPEG alone."""
    differences = []
    for seed in range(100):
        scene = draw(seed, "photograph")
        if scene.clean.mean(-1).std() > 10 and (scene.clean.max(-1) > 200).mean() < 0.05:  # no paper to be seen
            differences.append(abs(scene.clean.mean() - scene.noisy.mean()))
    assert len(differences) >= 10
    assert np.median(differences) < 1


def test_a_digital_page_differs_by_compression_alone() -> None:
    digital = [scene for scene in (draw(seed, "paper") for seed in range(100)) if scene.is_digital]
    assert len(digital) >= 8
    assert any(np.array_equal(scene.clean, scene.noisy) for scene in digital)
    assert max(np.abs(scene.clean.astype(float) - scene.noisy).mean() for scene in digital) < 12


def test_ink_is_cut_at_any_scale() -> None:
    for scale in (0.3, 1.0, 5.0):
        coverage = scenes.cut_ink(np.random.default_rng(1), small_pool(), (120, 120), scale)
        assert coverage.shape == (2, 120, 120)
        assert coverage.min() >= 0
        assert coverage.max() <= 1
