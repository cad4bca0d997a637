from collections.abc import Callable

import numpy as np
import pytest

from tests.training.synthetic_pages.office import (
    HEIGHT,
    WIDTH,
    draw_corpus,
    draw_print,
    draw_sheet,
    invert_ink,
    multiply_ink,
)
from training.errors import DataError
from training.synthetic_pages.noisyoffice import Page, PagePair
from training.synthetic_pages.writing.ink import Compositor, estimate_backgrounds, fit_ink_model


def test_the_background_is_found_under_the_ink() -> None:
    backgrounds = estimate_backgrounds(draw_corpus())
    assert set(backgrounds) == {"folded", "coffee"}
    for noise, seed in (("folded", 1), ("coffee", 2)):
        assert backgrounds[noise].shape == (HEIGHT, WIDTH)
        assert np.abs(backgrounds[noise].astype(int) - draw_sheet(seed)).mean() < 0.5


@pytest.mark.parametrize(("noise", "rule"), [("folded", invert_ink), ("coffee", multiply_ink)])
def test_the_law_of_ink_is_found_whichever_it_is(noise: str, rule: Callable[[Page, Page], Page]) -> None:
    pairs = [pair for pair in draw_corpus() if pair.noise == noise]
    background = estimate_backgrounds(pairs)[noise]
    model = fit_ink_model(pairs, background)
    assert model.error < 0.01
    new_ink, new_paper = draw_print(99), draw_sheet(77)
    error = (model.lay_ink(new_ink, new_paper).astype(float) - rule(new_ink, new_paper)) / 255
    assert np.sqrt(np.square(error).mean()) < 0.01


def test_new_pairs_have_any_size_stay_aligned_and_follow_the_seed() -> None:
    compositor = Compositor(draw_corpus())
    clean = np.tile(draw_print(50), (2, 2))  # larger than the backgrounds
    first, second = (compositor.compose(clean, np.random.default_rng(4)) for _ in range(2))
    assert first.shape == clean.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    for seed in range(10):
        noisy = compositor.compose(clean, np.random.default_rng(seed))
        assert noisy[clean < 60].mean() < noisy[clean == 255].mean() - 40


def test_a_kind_without_paper_is_refused() -> None:
    dark = np.zeros((20, 20), np.uint8)
    with pytest.raises(DataError, match="'soot' shows any paper"):
        estimate_backgrounds([PagePair("1", "soot", dark, dark)])
