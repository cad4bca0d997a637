import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.training.synthetic_pages.office import (
    draw_corpus,
)
from training.errors import DataError
from training.synthetic_pages.noisyoffice import PagePair, load


def write(folder: Path, pairs: list[PagePair], splits: list[str]) -> None:
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
    pairs = draw_corpus()[:4]
    write(tmp_path, pairs, ["train", "val", "train", "test"])
    read = load(tmp_path, "train")
    assert [pair.id for pair in read] == [pairs[0].id, pairs[2].id]
    assert np.array_equal(read[1].noisy, pairs[2].noisy)
    assert np.array_equal(read[1].clean, pairs[2].clean)
    assert [pair.id for pair in load(tmp_path, "val")] == [pairs[1].id]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index\.csv cannot be read"):
        load(tmp_path, "train")
    write(tmp_path, draw_corpus()[:1], ["train"])
    with pytest.raises(DataError, match="no page of the split val"):
        load(tmp_path, "val")
    (tmp_path / "train_cleaned" / "0.png").unlink()
    with pytest.raises(DataError, match=r"train_cleaned/0\.png is missing or no image"):
        load(tmp_path, "train")
