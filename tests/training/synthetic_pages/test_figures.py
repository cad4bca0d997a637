import numpy as np
import pytest

from training.synthetic_pages import figures, scenes

PHOTOGRAPHS = [np.random.default_rng(0).integers(0, 256, (120, 90, 3), dtype=np.uint8)]


@pytest.mark.parametrize("kind", list(figures.KINDS))
def test_every_ground_has_colours_and_says_what_is_kept(kind: str) -> None:
    drawn = [figures.draw_ground(np.random.default_rng(seed), (100, 110), kind, PHOTOGRAPHS) for seed in range(15)]
    for ground in drawn:
        assert ground.colours.shape == (100, 110, 3)
        assert ground.colours.dtype == np.float32
        assert ground.colours.min() >= -0.01
        assert ground.colours.max() <= 1.05
        assert ground.kept.shape == ground.written.shape == (100, 110)
        assert ground.kept.min() >= 0
        assert ground.kept.max() <= 1
    is_kept = [bool(ground.kept.any()) for ground in drawn]
    assert all(is_kept) == (kind in {"photograph", "dark", "screen"}) or kind == "surround"
    assert any((ground.colours != 1).any() for ground in drawn) == (kind not in {"paper", "grey"})


def test_the_kinds_are_those_that_scenes_choose_from() -> None:
    assert set(scenes.GROUNDS) == set(figures.KINDS)
    assert sum(scenes.GROUNDS.values()) == pytest.approx(1)


def test_a_photograph_is_cut_to_any_shape() -> None:
    for shape in ((8, 300), (119, 89), (200, 20)):
        piece = figures.cut_photograph(np.random.default_rng(1), PHOTOGRAPHS, shape)
        assert piece.shape == (*shape, 3)
        assert 0 <= piece.min() < piece.max() <= 1
    assert figures.cut_photograph(np.random.default_rng(1), [], (30, 40)).shape == (30, 40, 3)
