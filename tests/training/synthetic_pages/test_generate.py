from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.training import fonts as faces
from training.synthetic_pages import generate
from training.synthetic_pages.fonts import FontBook
from training.synthetic_pages.text import TextCorpus


def test_pairs_of_a_seed_are_the_same_and_a_longer_file_begins_with_a_shorter() -> None:
    text = TextCorpus("train")
    pairs = list(generate.draw_pairs(2, 96, 4, faces.book(), text))
    more_pairs = list(generate.draw_pairs(3, 96, 4, faces.book(), text))
    for first, second in zip(pairs, more_pairs, strict=False):
        assert np.array_equal(first[0], second[0])
        assert np.array_equal(first[1], second[1])


def test_the_step_writes_pairs_and_a_sheet_to_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FontBook, "installed", lambda split: faces.book())
    out, sheet = tmp_path / "pages.npz", tmp_path / "sheet.png"
    assert generate.main(["--pages", "5", "--size", "80", "--out", str(out), "--sheet", str(sheet)]) == 0
    with np.load(out) as pages:
        assert pages["clean"].shape == pages["noisy"].shape == (5, 80, 80)
        assert pages["clean"].dtype == pages["noisy"].dtype == np.uint8
    picture = cv2.imread(str(sheet), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    assert picture.shape == (2 * 86, 4 * 166)


def test_a_senseless_size_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--pages", "5", "--size", "9", "--out", str(tmp_path / "x.npz")]) == 2
    assert capsys.readouterr().err == "5 pages of 9 pixels: at least 1 page, of 64 to 4096 pixels a side\n"
