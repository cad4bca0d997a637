import numpy as np
import pytest

from training.synthetic_pages.writing import pens


def stroke() -> np.ndarray:
    coverage = np.zeros((64, 64), np.float32)
    coverage[:, 24:40] = 1
    return coverage


@pytest.mark.parametrize("kind", list(pens.KINDS))
def test_every_ink_has_a_quarter_to_all_of_its_contrast_and_leaves_paper_white(kind: str) -> None:
    contrasts = []
    for seed in range(40):
        ink = pens.lay_ink(np.random.default_rng(seed), stroke(), kind)
        assert ink.reflectance.shape == (64, 64, 3)
        assert ink.reflectance.dtype == np.float32
        assert (ink.reflectance[:, :20] == 1).all()
        assert pens.MIN_CONTRAST <= round(ink.contrast, 4) <= 1
        darkest = 1 - ink.reflectance[:, 24:40].min()
        assert 0.4 * ink.contrast < darkest <= ink.contrast + 1e-5
        contrasts.append(ink.contrast)
    assert max(contrasts) - min(contrasts) > 0.2, "pale and dark"


def test_only_kinds_of_ink_are_chosen() -> None:
    rng = np.random.default_rng(0)
    assert {choose(rng) for choose in (pens.choose_print, pens.choose_pen) for _ in range(300)} == set(pens.KINDS)


def test_pressure_makes_strokes_thicker_or_thinner_but_keeps_them() -> None:
    widths = [pens.vary_width(np.random.default_rng(seed), stroke(), 3.0).sum(1).mean() for seed in range(20)]
    assert 8 < min(widths) < 16.5 < max(widths) < 28
