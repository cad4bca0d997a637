from pathlib import Path

import numpy as np
import pytest

from tests.training import fonts as faces
from training.synthetic_pages.writing.text import TextCorpus
from training.synthetic_pages.writing.typesetting import _Sheet, draw_page

NOWHERE = Path("/nowhere")  # no manual pages: words are invented


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def some_page(seed: int, height: int = 200, width: int = 260) -> np.ndarray:
    return draw_page(rng(seed), height, width, faces.book(), TextCorpus("train", NOWHERE))


def test_a_page_is_dark_ink_on_white_paper_of_the_asked_shape() -> None:
    for seed in range(8):
        pixels = some_page(seed)
        assert pixels.dtype == np.uint8
        assert pixels.shape == (200, 260)
        assert np.median(pixels) == 255
    dark = [some_page(seed).min() for seed in range(8)]
    assert np.median(dark) < 60


@pytest.mark.parametrize(
    "block",
    ["paragraph", "heading", "bullets", "table", "form", "box", "line_art", "handwriting", "inverted", "figure"],
)
def test_every_block_puts_ink_below_its_top_and_says_where_it_ends(block: str) -> None:
    for seed in range(12):
        sheet = _Sheet(rng(seed), 400, 300, faces.book(), TextCorpus("train", NOWHERE))
        bottom = getattr(sheet, f"add_{block}")(10, 100, 280)
        pixels = np.minimum(np.asarray(sheet.print), sheet.strokes)
        assert bottom > 100
        top = 60 if block == "form" else 90  # what is written by hand into a form may reach above its line
        assert pixels[:top].min() == 255, "nothing stands above the block"
        assert pixels[top:].min() < 200


def test_the_same_seed_draws_the_same_page_and_another_seed_another() -> None:
    assert np.array_equal(some_page(5), some_page(5))
    assert not np.array_equal(some_page(5), some_page(6))
