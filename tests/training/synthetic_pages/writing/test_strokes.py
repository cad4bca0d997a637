import numpy as np
import pytest

from training.synthetic_pages.writing import strokes

BOX = (40, 50, 260, 150)


def paper() -> np.ndarray:
    return np.full((200, 300), 255, np.uint8)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_stroke_runs_from_its_first_point_to_its_last() -> None:
    page = paper()
    strokes.draw_stroke(page, [(10, 20), (100, 20)], grey=30)
    inked = np.argwhere(page < 128)
    assert set(inked[:, 0]) <= {19, 20, 21}
    assert (page[20, 12:99] < 60).all()
    assert abs(inked[:, 1].min() - 10) <= 1
    assert abs(inked[:, 1].max() - 100) <= 1


def test_a_smooth_curve_goes_through_its_corners() -> None:
    corners = np.array([(0, 0), (10, 5), (20, -5), (30, 0)], np.float32)
    curve = strokes.smooth_curve(corners, 8)
    assert curve.shape == (3 * 8 + 1, 2)
    assert np.allclose(curve[::8], corners, atol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_handwriting_is_thin_grey_and_stays_near_its_box(seed: int) -> None:
    page = paper()
    strokes.draw_handwriting(page, rng(seed), BOX, grey=100, width=1)
    inked = np.argwhere(page < 200)
    assert 0.001 < len(inked) / page.size < 0.25
    assert page.min() >= 60, "no darker than the pen's own pressure"
    assert inked[:, 1].max() <= BOX[2] + 22


@pytest.mark.parametrize("draw", [strokes.draw_scribble, strokes.draw_line_art])
def test_drawings_are_strokes_on_white(draw: object) -> None:
    shares = []
    for seed in range(16):
        page = paper()
        extra = (20, 1) if draw is strokes.draw_scribble else (20,)
        draw(page, rng(seed), BOX, *extra)  # type: ignore[operator]
        assert page.min() < 128
        shares.append(np.mean(page < 255))
    assert max(shares) < 0.35


def test_a_figure_fills_only_its_box_and_keeps_what_was_darker() -> None:
    kinds = set()
    for seed in range(24):
        page = paper()
        page[60:64, 45:60] = 0
        strokes.draw_figure(page, rng(seed), BOX)
        outside = page.copy()
        outside[BOX[1] : BOX[3] + 2, BOX[0] : BOX[2] + 2] = 255
        assert outside.min() == 255
        assert page[60:64, 45:60].max() == 0
        kinds.add(len(np.unique(page)) > 20)
    assert kinds == {True, False}, "halftones and bar charts both occur"
