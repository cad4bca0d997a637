from pathlib import Path

import numpy as np
import pytest

from tests.training import fonts as faces
from training.errors import DiskError
from training.synthetic_pages import pool
from training.synthetic_pages.writing.fonts import FontBook
from training.synthetic_pages.writing.text import TextCorpus


def test_a_pool_is_drawn_once_and_read_from_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FontBook, "installed", lambda split: faces.book())
    monkeypatch.setattr(pool, "SIZE", 128)
    first = pool.open_pool(tmp_path / "pool", 2, 0, "train")
    assert first.ink.shape[:2] == first.sheets.shape[:2] == (2, 2)
    assert first.ink.dtype == first.sheets.dtype == np.uint8
    monkeypatch.setattr(FontBook, "installed", lambda split: pytest.fail("drawn again"))
    second = pool.open_pool(tmp_path / "pool", 2, 0, "train")
    assert np.array_equal(first.ink, second.ink)
    assert np.array_equal(first.sheets, second.sheets)


def test_a_longer_pool_begins_with_a_shorter_one() -> None:
    text = TextCorpus("train")
    short, long = (pool.draw_ink(count, 3, faces.book(), text, 96) for count in (1, 2))
    assert np.array_equal(short[0], long[0])
    short, long = (pool.draw_sheets(count, 3, 96) for count in (1, 2))
    assert np.array_equal(short[0], long[0])


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FontBook, "installed", lambda split: faces.book())
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match=r"cannot write .*file/train-1-0"):
        pool.open_pool(tmp_path / "file", 1, 0, "train")
