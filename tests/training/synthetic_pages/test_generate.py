from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.training import fonts as faces
from tests.training.synthetic_pages import office
from tests.training.synthetic_pages.test_sampler import make_sampler
from training.synthetic_pages import generate
from training.synthetic_pages.writing.fonts import FontBook


def test_pairs_of_a_seed_are_the_same_and_a_longer_file_begins_with_a_shorter() -> None:
    pairs, more_pairs = (list(generate.draw_pairs(count, 4, make_sampler())) for count in (2, 3))
    for first, second in zip(pairs, more_pairs, strict=False):
        assert np.array_equal(first[0], second[0])
        assert np.array_equal(first[1], second[1])


def test_pairs_of_the_corpus_are_grey_and_some_keep_their_own_noisy_page() -> None:
    pairs = list(generate.draw_corpus_pairs(12, 64, 0, office.draw_corpus()))
    assert {page.shape for pair in pairs for page in pair} == {(64, 64)}
    assert all((clean != noisy).any() for clean, noisy in pairs)


def test_the_step_writes_pairs_and_a_sheet_to_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FontBook, "installed", lambda split: faces.book())
    out, sheet = tmp_path / "pages.npz", tmp_path / "sheet.png"
    assert generate.main(["--pages", "5", "--size", "80", "--out", str(out), "--sheet", str(sheet)]) == 0
    with np.load(out) as pages:
        assert pages["clean"].shape == pages["noisy"].shape == (5, 80, 80, 3)
        assert pages["clean"].dtype == pages["noisy"].dtype == np.uint8
    picture = cv2.imread(str(sheet), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (2 * 86, 4 * 166, 3)


def test_a_senseless_size_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--pages", "5", "--size", "9", "--out", str(tmp_path / "x.npz")]) == 2
    assert capsys.readouterr().err == "5 pages of 9 pixels: at least 1 page, of 64 to 4096 pixels a side\n"


def test_a_folder_without_photographs_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FontBook, "installed", lambda split: faces.book())
    options = ["--pages", "1", "--size", "80", "--out", str(tmp_path / "x.npz"), "--photographs", str(tmp_path)]
    assert generate.main(options) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"{tmp_path} holds no .jpg files"
