from pathlib import Path

import numpy as np
import pytest

from training.data.public import quickdraw
from training.errors import DataError


def google_file(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 784), dtype=np.uint8)


def test_the_drawings_are_the_first_4000_and_every_100th_without_empty_ones_and_duplicates() -> None:
    bitmaps = google_file(6000)
    bitmaps[5] = 0
    bitmaps[7] = bitmaps[6]
    drawings = quickdraw.select_drawings(bitmaps)
    assert drawings.shape == (4000 + 20 - 2, 28, 28)
    assert np.array_equal(drawings[5].reshape(-1), bitmaps[6])
    assert np.array_equal(drawings[6].reshape(-1), bitmaps[8])
    assert np.array_equal(drawings[-1].reshape(-1), bitmaps[5900])


def test_another_file_than_googles_is_refused() -> None:
    with pytest.raises(DataError, match=r"expected uint8 \[N, 784\]"):
        quickdraw.select_drawings(np.zeros((4, 10), np.uint8))


def test_without_a_data_folder_the_cats_come_from_google_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOENCODER_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("AUTOENCODER_CACHE", str(tmp_path / "cache"))
    urls: list[str] = []

    def fetch(url: str, destination: Path) -> Path:
        urls.append(url)
        destination.parent.mkdir(parents=True)
        np.save(destination, google_file(4200))
        return destination

    monkeypatch.setattr(quickdraw, "fetch", fetch)
    first, second = quickdraw.fetch_cats(), quickdraw.fetch_cats()
    assert first == second
    assert urls == [quickdraw.URL]
    with np.load(first) as file:
        assert file["images"].shape == (4002, 28, 28)


def test_a_data_folder_comes_before_google(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "quickdraw").mkdir()
    (tmp_path / "quickdraw" / "cats.npz").touch()
    monkeypatch.setenv("AUTOENCODER_DATA", str(tmp_path))
    assert quickdraw.fetch_cats() == tmp_path / "quickdraw" / "cats.npz"
