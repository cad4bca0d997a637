"""Figures on a page: what is taken for one, and what is not."""

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from service.imaging.figures import FEATHER, LARGEST_GAIN, FigureMap, expose

Image = NDArray[np.uint8]


def draw_page(seed: int, *, ink: int = 30, paper: int = 235, size: tuple[int, int] = (640, 800)) -> Image:
    """Lines of text on noisy paper, [H,W,3]."""
    page = np.full(size, paper, np.uint8)
    for y in range(40, size[0] - 10, 26):
        cv2.putText(page, "The quick brown fox jumps over the lazy dog", (20, y), 0, 0.8, ink, 2, cv2.LINE_AA)
    noise = np.random.default_rng(seed).normal(0, 3, (*size, 1))
    return np.repeat(np.clip(page[..., None] + noise, 0, 255), 3, 2).astype(np.uint8)


def draw_photograph(seed: int, shape: tuple[int, int], *, is_coloured: bool) -> Image:
    """Clouds between black and white with objects in front of them, [H,W,3]."""
    rng = np.random.default_rng(seed)
    clouds = [
        sum(cv2.resize(rng.normal(0, 1, (6 * n, 8 * n)).astype(np.float32), shape[::-1]) for n in (1, 2, 4)) / 1.4
        for _ in range(3)
    ]
    if not is_coloured:
        clouds = [clouds[0]] * 3
    picture = np.stack([np.clip(110 + 25 * cloud, 20, 180) for cloud in clouds], -1).astype(np.uint8)
    for _ in range(6):
        centre, level = (int(rng.integers(shape[1])), int(rng.integers(shape[0]))), int(rng.integers(50, 180))
        cv2.circle(picture, centre, int(rng.integers(10, 40)), (level, level, level), -1, cv2.LINE_AA)
    return picture


def find_kept(page: Image) -> NDArray[np.bool_]:
    """bool [H,W]: the pixels that stay as they are."""
    strengths = FigureMap(page, 255).cut(slice(0, page.shape[0]), slice(0, page.shape[1]))
    return np.zeros(page.shape[:2], np.bool_) if strengths is None else strengths[..., 0] == 0


@pytest.mark.parametrize("is_coloured", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_photograph_on_a_page_is_a_figure_and_its_text_is_not(seed: int, is_coloured: bool) -> None:
    page = draw_page(seed)
    rows, columns = slice(224, 480), slice(320, 704)
    page[rows, columns] = draw_photograph(seed, (256, 384), is_coloured=is_coloured)
    kept = find_kept(page)
    assert kept[rows, columns].mean() > 0.98
    around = FEATHER + 8
    kept[rows.start - around : rows.stop + around, columns.start - around : columns.stop + around] = False
    assert not kept.any()


@pytest.mark.parametrize(("top", "left"), [(224, 320), (231, 337), (219, 305), (238, 349)])
@pytest.mark.parametrize("paper", [245, 200])
def test_a_photograph_is_kept_up_to_its_edges_wherever_these_are(top: int, left: int, paper: int) -> None:
    """A few pixels of paper around it at most; the blocks are much larger."""
    page = draw_page(7, paper=paper)
    rows, columns = slice(top, top + 250), slice(left, left + 330)
    page[rows.start - 20 : rows.stop + 20, columns.start - 20 : columns.stop + 20] = paper
    page[rows, columns] = draw_photograph(7, (250, 330), is_coloured=False)
    kept = find_kept(page)
    assert kept[top + 4 : top + 246, left + 4 : left + 326].all()
    kept[top - 8 : top + 258, left - 8 : left + 338] = False
    assert not kept.any()


def test_a_bright_part_of_a_photograph_belongs_to_it_up_to_its_edge() -> None:
    page = draw_page(6)
    page[224:480, 96:352] = draw_photograph(6, (256, 256), is_coloured=False)
    page[224:480, 352:512] = 205  # a window beside a dog
    page[100:600, 560:780] = 235  # no text
    kept = find_kept(page)
    assert kept[224:480, 96:512].mean() > 0.97
    assert not kept[:, 528:].any()


@pytest.mark.parametrize("change", ["none", "slope", "dark", "shadow", "yellow", "pale"])
def test_pages_without_figures_have_none(change: str) -> None:
    page = draw_page(3, ink=150 if change == "pale" else 30).astype(float)
    light = np.ones(page.shape[:2])
    x = np.arange(page.shape[1])
    if change == "slope":
        light = light * np.linspace(1, 0.4, len(x))
    if change == "dark":
        light = light * 0.35
    if change == "shadow":
        light = light * (1 - 0.5 / (1 + np.exp((x - 300) / 12)))
    page *= light[..., None]
    if change == "yellow":
        page *= [1, 0.95, 0.75]
    assert not find_kept(page.astype(np.uint8)).any()


@pytest.mark.parametrize("kind", ["negative", "slide", "slide with an empty half"])
def test_white_on_black_is_a_figure(kind: str) -> None:
    page = 255 - draw_page(4)
    if kind != "negative":
        page = np.clip(page.astype(int) + np.array([5, 5, 40]), 0, 255).astype(np.uint8)
    if kind == "slide with an empty half":
        page[:, 400:] = page[:10, :10].mean((0, 1)).astype(np.uint8)
    assert find_kept(page).all()


def test_what_was_never_on_paper_is_a_figure_and_a_stained_scan_is_not() -> None:
    page = np.full((640, 800, 3), 255, np.uint8)
    cv2.putText(page, "Screenshot", (30, 60), 0, 1, (0, 0, 0), 2, cv2.LINE_AA)
    page[200:400, 100:500] = np.linspace(180, 60, 400)[None, :, None]
    cv2.rectangle(page, (550, 200), (700, 500), (250, 220, 180), -1)
    assert find_kept(page).all()
    noise = np.random.default_rng(0).normal(0, 4, page.shape)
    stain = 60 * np.exp(-np.square(np.hypot(*np.ogrid[-320:320, -400:400]) - 200) / 300)  # a ring of coffee
    scan = np.full(page.shape, 250) + noise - stain[..., None]
    assert not find_kept(np.clip(scan, 0, 255).astype(np.uint8)).any()


@pytest.mark.parametrize("ground", [(255, 255, 255), (240, 240, 240), (200, 225, 255), (40, 44, 52)])
def test_what_was_never_on_paper_is_a_figure_with_its_shades_whatever_its_ground(ground: tuple[int, ...]) -> None:
    page = np.full((640, 800, 3), ground, np.uint8)
    cv2.putText(page, "Application", (30, 60), 0, 1, (128, 128, 128), 2, cv2.LINE_AA)
    page[200:360, 300:500] = np.add.outer(np.linspace(0, 90, 160), np.linspace(20, 120, 200))[..., None]
    assert find_kept(page).all()
    noise = np.random.default_rng(0).normal(0, 4, page.shape)
    photographed = np.clip(page * np.linspace(1, 0.8, 800)[:, None] + noise, 0, 255).astype(np.uint8)
    assert not find_kept(photographed)[:128, 300:].any() or max(ground) < 100


@pytest.mark.parametrize("is_coloured", [False, True])
def test_a_small_area_is_a_figure_if_it_has_colours(is_coloured: bool) -> None:
    page = draw_page(0)
    page[224:352, 320:480] = draw_photograph(5, (128, 160), is_coloured=is_coloured)
    assert find_kept(page).any() == is_coloured, "dense grey print looks like a small grey photograph"


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 4095), (np.float32, 1.0)])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_figures_are_found_at_any_depth_and_kept_bit_for_bit(dtype: Any, white: float, bands: int) -> None:
    page = draw_page(5)
    page[224:480, 320:704] = draw_photograph(5, (256, 384), is_coloured=False)
    pixels = np.full((*page.shape[:2], bands), white, dtype)
    colours = 1 if bands < 3 else 3
    pixels[..., :colours] = page[..., :colours] / 255 * white
    result = np.zeros_like(pixels)
    figures = FigureMap(pixels, white)
    cleaned = figures.keep(slice(0, 640), slice(0, 800), result)
    assert cleaned.dtype == dtype
    np.testing.assert_array_equal(cleaned[256:448, 352:640], pixels[256:448, 352:640])
    assert not cleaned[:160].any()
    parts = [
        figures.keep(rows, columns, result[rows, columns])
        for rows in (slice(0, 301), slice(301, 640))
        for columns in (slice(0, 437), slice(437, 800))
    ]
    np.testing.assert_array_equal(np.concatenate([np.concatenate(parts[:2], 1), np.concatenate(parts[2:], 1)]), cleaned)


@pytest.mark.parametrize(
    ("paper", "shadow", "expected"),
    [(235, 1.0, 1.0), (210, 1.0, 1.0), (150, 1.0, 205 / 150), (60, 1.0, LARGEST_GAIN), (235, 0.5, 245 / 235)],
)
@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 4095)])
def test_the_gain_makes_dark_paper_bright_and_keeps_bright_paper_below_white(
    paper: int, shadow: float, expected: float, dtype: Any, white: int
) -> None:
    """`shadow`: the light on three quarters of the page."""
    page = draw_page(3, ink=20, paper=paper).astype(np.float64)
    page[:, 200:] *= shadow
    pixels = np.rint(page * white / 255).astype(dtype)
    for keeps_figures in (True, False):
        assert FigureMap(pixels, white, keeps_figures=keeps_figures).gain == pytest.approx(expected, rel=0.03)


def test_without_figures_a_map_has_a_gain_alone() -> None:
    page = draw_page(0)
    page[224:480, 320:704] = draw_photograph(0, (256, 384), is_coloured=True)
    everything = slice(0, 640), slice(0, 800)
    assert FigureMap(page, 255).cut(*everything) is not None
    assert FigureMap(page, 255, keeps_figures=False).cut(*everything) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_exposed_planes_are_multiplied_and_cut_at_white(dtype: Any) -> None:
    white = np.iinfo(dtype).max
    planes = np.array([0, 1, 100, white // 2, white - 1, white], dtype).reshape(1, 2, 3, 1)
    expected = np.minimum(np.rint(planes * 1.5), white)
    np.testing.assert_array_equal(expose(planes, 1.5), expected.astype(dtype), strict=True)
    assert expose(planes, 1) is planes


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (33, 31), (513, 2)])
def test_pictures_of_any_size_have_a_map(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    result = FigureMap(pixels, 255).keep(slice(0, size[0]), slice(0, size[1]), pixels)
    np.testing.assert_array_equal(result, pixels)
