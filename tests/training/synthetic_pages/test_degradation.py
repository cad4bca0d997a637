from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.training import fonts as faces
from training.synthetic_pages import generate
from training.synthetic_pages.degradation import UNHARMED, Backgrounds, Page, degrade, lay, recombine
from training.synthetic_pages.fonts import FontBook
from training.synthetic_pages.text import Prose


def text_page(size: int = 160) -> Page:
    """Black and grey words on white."""
    drawn = np.full((size, size), 255, np.uint8)
    for line, grey in zip(range(20, size, 22), [0, 30, 120, 0, 170, 60, 0, 140] * 4, strict=False):
        cv2.putText(drawn, "Hold the ink", (6, line), cv2.FONT_HERSHEY_SIMPLEX, 0.6, grey, 1, cv2.LINE_AA)
    return drawn


def shift_of(clean: Page, noisy: Page) -> tuple[int, int]:
    """Where the cross-correlation of ink with the noisy page's details peaks; (0, 0) if aligned."""
    ink = 255.0 - clean
    dirt = 255.0 - noisy
    dirt -= cv2.GaussianBlur(dirt, (0, 0), 4)
    peak = np.fft.irfft2(np.fft.rfft2(ink - ink.mean()).conj() * np.fft.rfft2(dirt), clean.shape)
    row, column = np.unravel_index(int(peak.argmax()), clean.shape)
    return int(row), int(column)


def test_ink_is_never_moved() -> None:
    clean = text_page()
    for seed in range(60):
        assert shift_of(clean, degrade(clean, np.random.default_rng(seed))) == (0, 0), seed


def test_about_one_page_in_twelve_is_left_alone() -> None:
    clean = text_page(64)
    same = sum(np.array_equal(clean, degrade(clean, np.random.default_rng(seed))) for seed in range(400))
    assert 0.5 * UNHARMED < same / 400 < 1.8 * UNHARMED


def test_shape_and_type_stay_and_the_clean_page_is_not_written_to() -> None:
    clean = text_page()[:97, :131]
    before = clean.copy()
    for seed in range(30):
        noisy = degrade(clean, np.random.default_rng(seed))
        assert noisy.shape == clean.shape
        assert noisy.dtype == np.uint8
    assert np.array_equal(clean, before)


def test_the_same_generator_state_makes_the_same_page() -> None:
    clean = text_page()
    one, two = (degrade(clean, np.random.default_rng(8)) for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, degrade(clean, np.random.default_rng(9)))


def test_ink_leaves_a_trace_wherever_the_target_shows_it() -> None:
    """Before the sensor's noise, each inked pixel is darker than the bare sheet; also grey ink, also on dark paper."""
    clean = text_page()
    inked = clean < 128
    for seed in range(40):
        sheet = np.full(clean.shape, np.random.default_rng(seed).uniform(0.4, 1), np.float32)
        page = lay(np.random.default_rng(seed), clean, sheet, 1.0)
        assert (page[inked] < 0.9 * sheet[inked]).mean() > 0.97, seed


def test_pages_range_from_mild_to_heavy() -> None:
    clean = text_page()
    errors = [
        float(np.sqrt(np.square((degrade(clean, np.random.default_rng(s)).astype(float) - clean) / 255).mean()))
        for s in range(80)
    ]
    mild, heavy = np.percentile(errors, [15, 90])
    assert mild < 0.15
    assert heavy > 0.25


def test_a_real_background_is_laid_under_the_ink_without_moving_it() -> None:
    clean = text_page()
    background = np.random.default_rng(0).integers(150, 230, (90, 120)).astype(np.uint8)  # smaller than the page
    for seed in range(20):
        noisy = recombine(clean, background, np.random.default_rng(seed))
        assert noisy.shape == clean.shape
        assert np.median(noisy[clean == 255]) < 250
        assert shift_of(clean, noisy) == (0, 0)
    kept = Backgrounds([background]).degrade(clean, np.random.default_rng(3))
    assert kept.shape == clean.shape


def test_pairs_of_a_seed_are_the_same_and_a_longer_file_begins_with_a_shorter() -> None:
    text = Prose("train")
    short = list(generate.pairs(2, 96, 4, faces.book(), text))
    longer = list(generate.pairs(3, 96, 4, faces.book(), text))
    for one, two in zip(short, longer, strict=False):
        assert np.array_equal(one[0], two[0])
        assert np.array_equal(one[1], two[1])


def test_the_step_writes_pairs_and_a_sheet_to_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FontBook, "installed", lambda split: faces.book())
    out, sheet = tmp_path / "pages.npz", tmp_path / "sheet.png"
    assert generate.main(["--pages", "5", "--size", "80", "--out", str(out), "--sheet", str(sheet)]) == 0
    with np.load(out) as made:
        assert made["clean"].shape == made["noisy"].shape == (5, 80, 80)
        assert made["clean"].dtype == made["noisy"].dtype == np.uint8
    picture = cv2.imread(str(sheet), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    assert picture.shape == (2 * 86, 4 * 166)


def test_a_senseless_size_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--pages", "5", "--size", "9", "--out", str(tmp_path / "x.npz")]) == 2
    assert capsys.readouterr().err == "5 pages of 9 pixels: at least 1 page, of 64 to 4096 pixels a side\n"
