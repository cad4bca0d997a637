from collections.abc import Callable

import numpy as np
import pytest

from training.synthetic_pages import paper
from training.synthetic_pages.paper import Floats

SHAPE = (120, 160)
Draw = Callable[[np.random.Generator, tuple[int, int], float], Floats]


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_sheet_is_a_brightness_and_follows_the_seed() -> None:
    for seed in range(12):
        sheet = paper.draw_sheet(rng(seed), SHAPE, seed / 12)
        assert sheet.shape == SHAPE
        assert sheet.dtype == np.float32
        assert 0 < sheet.min() <= sheet.max() <= 1
        assert np.array_equal(sheet, paper.draw_sheet(rng(seed), SHAPE, seed / 12))
    assert not np.array_equal(paper.draw_sheet(rng(0), SHAPE, 0.5), paper.draw_sheet(rng(1), SHAPE, 0.5))


def test_the_strength_makes_sheets_dirtier() -> None:
    mild, heavy = (
        np.mean([paper.draw_sheet(rng(seed), SHAPE, strength).std() for seed in range(40)]) for strength in (0.0, 1.0)
    )
    assert heavy > 1.5 * mild


def test_smooth_noise_has_unit_variance_and_features_of_its_cell() -> None:
    coarse, fine = (paper.smooth_noise(rng(0), (400, 400), cell) for cell in (40, 4))
    assert fine.std() == pytest.approx(1, abs=0.3)
    roughness = [float(np.abs(np.diff(noise, axis=1)).mean()) for noise in (coarse, fine)]
    assert roughness[0] < 0.2 * roughness[1]
    assert paper.fractal_noise(rng(0), (400, 400), 20, 4).std() == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(
    "draw",
    [
        paper.draw_light, paper.draw_wrinkles, paper.draw_folds, paper.draw_ring, paper.draw_blob, paper.draw_footprint,
    ],
)  # fmt: skip
def test_every_mark_is_a_factor_that_darkens(
    draw: Callable[[np.random.Generator, tuple[int, int], float], Floats],
) -> None:
    darkest = []
    for seed in range(10):
        factor = draw(rng(seed), SHAPE, 1.0)
        assert factor.shape == SHAPE
        assert factor.dtype == np.float32
        assert 0 < factor.min() <= factor.max() < 1.5
        darkest.append(factor.min())
    assert min(darkest) < 0.9
