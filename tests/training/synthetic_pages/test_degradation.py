import cv2
import numpy as np

from training.synthetic_pages.degradation import UNCHANGED_SHARE, Backgrounds, Page, degrade, lay_ink, recombine


def text_page(size: int = 160) -> Page:
    """Black and grey words on white."""
    page = np.full((size, size), 255, np.uint8)
    for line, grey in zip(range(20, size, 22), [0, 30, 120, 0, 170, 60, 0, 140] * 4, strict=False):
        cv2.putText(page, "Hold the ink", (6, line), cv2.FONT_HERSHEY_SIMPLEX, 0.6, grey, 1, cv2.LINE_AA)
    return page


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
    assert 0.5 * UNCHANGED_SHARE < same / 400 < 1.8 * UNCHANGED_SHARE


def test_shape_and_type_stay_and_the_clean_page_is_not_written_to() -> None:
    clean = text_page()[:97, :131]
    original = clean.copy()
    for seed in range(30):
        noisy = degrade(clean, np.random.default_rng(seed))
        assert noisy.shape == clean.shape
        assert noisy.dtype == np.uint8
    assert np.array_equal(clean, original)


def test_the_same_generator_state_makes_the_same_page() -> None:
    clean = text_page()
    first, second = (degrade(clean, np.random.default_rng(8)) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, degrade(clean, np.random.default_rng(9)))


def test_ink_leaves_a_trace_wherever_the_target_shows_it() -> None:
    """Before the sensor's noise, each inked pixel is darker than the bare sheet; also grey ink, also on dark paper."""
    clean = text_page()
    inked = clean < 128
    for seed in range(40):
        sheet = np.full(clean.shape, np.random.default_rng(seed).uniform(0.4, 1), np.float32)
        page = lay_ink(np.random.default_rng(seed), clean, sheet, 1.0)
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
    noisy = Backgrounds([background]).degrade(clean, np.random.default_rng(3))
    assert noisy.shape == clean.shape
