import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.errors import DataError
from training.synthetic_pages.noisyoffice import Corpus, Page, Pair, backgrounds, fit, load

HEIGHT, WIDTH = 90, 120


def sheet(seed: int) -> Page:
    rough = np.random.default_rng(seed).integers(150, 250, (12, 16)).astype(np.uint8)
    return np.asarray(cv2.resize(rough, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR), np.uint8)


def printed(seed: int, height: int = HEIGHT) -> Page:
    rng = np.random.default_rng(seed)
    page = np.full((height, WIDTH), 255, np.uint8)
    for _ in range(5):
        at = (int(rng.integers(0, WIDTH - 30)), int(rng.integers(12, height)))
        cv2.putText(page, "ink", at, cv2.FONT_HERSHEY_SIMPLEX, 0.7, int(rng.integers(0, 60)), 1, cv2.LINE_AA)
    return page


def inverted(clean: Page, background: Page) -> Page:
    """Ink of paper of brightness b at 1 - b: as the corpus has it on folded and wrinkled sheets."""
    c, b = clean / 255.0, background[: len(clean)] / 255.0
    return np.round(255 * (c * b + (1 - c) * (1 - b))).astype(np.uint8)


def multiplied(clean: Page, background: Page) -> Page:
    return np.round(clean * (background[: len(clean)] / 255.0)).astype(np.uint8)


def corpus() -> list[Pair]:
    pairs = []
    for number in range(16):
        clean = printed(number, HEIGHT if number % 3 else HEIGHT - 30)
        pairs.append(Pair(f"{number}", "folded", clean, inverted(clean, sheet(1))))
        pairs.append(Pair(f"{number}b", "coffee", clean, multiplied(clean, sheet(2))))
    return pairs


def test_the_background_is_found_under_the_ink() -> None:
    found = backgrounds(corpus())
    assert set(found) == {"folded", "coffee"}
    for noise, seed in (("folded", 1), ("coffee", 2)):
        assert found[noise].shape == (HEIGHT, WIDTH)
        assert np.abs(found[noise].astype(int) - sheet(seed)).mean() < 0.5


@pytest.mark.parametrize(("noise", "rule"), [("folded", inverted), ("coffee", multiplied)])
def test_the_law_of_ink_is_found_whichever_it_is(noise: str, rule: Callable[[Page, Page], Page]) -> None:
    pairs = [pair for pair in corpus() if pair.noise == noise]
    background = backgrounds(pairs)[noise]
    law = fit(pairs, background)
    assert law.error < 0.01
    new_ink, new_paper = printed(99), sheet(77)
    error = (law.compose(new_ink, new_paper).astype(float) - rule(new_ink, new_paper)) / 255
    assert np.sqrt(np.square(error).mean()) < 0.01


def test_new_pairs_have_any_size_stay_aligned_and_follow_the_seed() -> None:
    made = Corpus(corpus())
    clean = np.tile(printed(50), (2, 2))  # larger than the backgrounds
    one, two = (made.recombine(clean, np.random.default_rng(4)) for _ in range(2))
    assert one.shape == clean.shape
    assert one.dtype == np.uint8
    assert np.array_equal(one, two)
    for seed in range(10):
        noisy = made.recombine(clean, np.random.default_rng(seed))
        assert noisy[clean < 60].mean() < noisy[clean == 255].mean() - 40


def write(folder: Path, pairs: list[Pair], splits: list[str]) -> None:
    (folder / "train").mkdir()
    (folder / "train_cleaned").mkdir()
    with (folder / "index.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "folder", "split", "noise"])
        for pair, split in zip(pairs, splits, strict=True):
            rows.writerow([pair.id, "train", split, pair.noise])
            cv2.imwrite(str(folder / "train" / f"{pair.id}.png"), pair.noisy)
            cv2.imwrite(str(folder / "train_cleaned" / f"{pair.id}.png"), pair.clean)


def test_pairs_are_read_by_split(tmp_path: Path) -> None:
    pairs = corpus()[:4]
    write(tmp_path, pairs, ["train", "val", "train", "test"])
    read = load(tmp_path, "train")
    assert [pair.id for pair in read] == [pairs[0].id, pairs[2].id]
    assert np.array_equal(read[1].noisy, pairs[2].noisy)
    assert np.array_equal(read[1].clean, pairs[2].clean)
    assert [pair.id for pair in load(tmp_path, "val")] == [pairs[1].id]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index\.csv cannot be read"):
        load(tmp_path, "train")
    write(tmp_path, corpus()[:1], ["train"])
    with pytest.raises(DataError, match="no page of the split val"):
        load(tmp_path, "val")
    (tmp_path / "train_cleaned" / "0.png").unlink()
    with pytest.raises(DataError, match=r"train_cleaned/0\.png is missing or no image"):
        load(tmp_path, "train")


def test_a_kind_without_paper_is_refused() -> None:
    dark = np.zeros((20, 20), np.uint8)
    with pytest.raises(DataError, match="'soot' shows any paper"):
        backgrounds([Pair("1", "soot", dark, dark)])
