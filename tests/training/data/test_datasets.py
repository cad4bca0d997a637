from pathlib import Path

import numpy as np
import pytest

from tests.drawings import drawings
from tests.training.data.files import load_dataset, write_images
from training.errors import DataError


def test_a_folder_of_images_becomes_three_splits_of_uint8(tmp_path: Path) -> None:
    data = load_dataset(write_images(tmp_path / "images", drawings(100)))
    assert data.modality == "image"
    assert data.sample_shape == (12, 12, 1)
    assert len(data.train) + len(data.validation) + len(data.test) == 100
    assert len(data.train) > 60


def test_duplicates_never_stand_on_both_sides(tmp_path: Path) -> None:
    np.save(tmp_path / "twice.npy", np.concatenate([drawings(100), drawings(100)]))
    data = load_dataset(tmp_path / "twice.npy")
    contents = [{s.tobytes() for s in part} for part in (data.train, data.validation, data.test)]
    assert contents[0].isdisjoint(contents[1] | contents[2])
    assert contents[1].isdisjoint(contents[2])


def test_too_few_samples_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", drawings(20))
    with pytest.raises(DataError, match=r"20 samples .* are too few; at least 50"):
        load_dataset(tmp_path / "few.npy")


def test_arrays_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "float.npy", np.zeros((60, 8, 8)))
    with pytest.raises(DataError, match=r"float64 \[60, 8, 8\]; images are uint8"):
        load_dataset(tmp_path / "float.npy")
    np.savez(tmp_path / "two.npz", a=drawings(60), b=drawings(60))
    with pytest.raises(DataError, match="holds a, b; one must be named"):
        load_dataset(tmp_path / "two.npz")
    np.savez(tmp_path / "split.npz", images=drawings(60), split=np.full(60, 7))
    with pytest.raises(DataError, match="split must hold"):
        load_dataset(tmp_path / "split.npz")
    (tmp_path / "rows.csv").write_text("1,2\n3,4\n")
    with pytest.raises(DataError, match="no column 5"):
        load_dataset(tmp_path / "rows.csv", label_column=5)


def test_data_that_are_nowhere_are_refused() -> None:
    with pytest.raises(DataError, match="no data at does/not/exist: give a folder"):
        load_dataset(Path("does/not/exist"))
