from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.drawings import drawings
from tests.training.data.sample_files import load_dataset, write_images
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


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((120, 90, 3), np.uint8), r"one picture with 3 channels, not 120 samples; save many as \[N,H,W,3\]"),
        (np.zeros((120, 90, 4), np.uint8), "one picture with 4 channels"),
        (np.zeros((120, 90, 3), np.float32), "one picture with 3 channels"),
        (np.zeros((60, 3, 8, 8), np.uint8), r"channels come last.*numpy\.moveaxis"),
        (np.zeros((60, 1, 8, 8), np.float32), "channels come last"),
        (np.zeros((60, 8, 8, 4), np.uint8), r"without alpha: array\[\.\.\., :3\]"),
        (np.full((60, 8, 8), -1.0), r"from -1 to -1; pictures are uint8, or numbers in 0\.\.1"),
        (np.full((60, 8, 8), 4095, np.uint16), "from 4095 to 4095"),
        (np.full((60, 8, 8), np.nan), "NaN"),
        (np.zeros(600), r"vectors are numbers \[N,D\]: reshape"),
        (np.zeros((60, 8), np.complex64), "vectors are numbers"),
        (np.full((60, 2), "a"), "vectors are numbers"),
        (np.zeros((0, 8)), "no samples"),
    ],
)
def test_arrays_that_are_no_samples_are_refused_with_the_way_on(
    tmp_path: Path, array: np.ndarray, sentence: str
) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=sentence):
        load_dataset(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("convert", "words"),
    [
        (lambda images: images.astype(np.float32) / 255, "float32 in 0..1"),
        (lambda images: images.astype(np.float64)[..., None] / 255, "float64 in 0..1"),
        (lambda images: images.astype(np.float32), "float32 in 0..255"),
        (lambda images: images.astype(np.int64), "int64 in 0..255"),
        (lambda images: images, "12x12, grey"),
    ],
)
def test_arrays_of_pixels_in_other_numbers_are_pictures(tmp_path: Path, convert: Any, words: str) -> None:
    images = drawings(100)
    np.save(tmp_path / "a.npy", convert(images))
    data = load_dataset(tmp_path / "a.npy")
    assert data.modality == "image"
    samples = np.concatenate([data.train, data.validation, data.test])
    assert {sample.tobytes() for sample in samples} == {image.tobytes() for image in images}
    assert words in data.remarks[0]


def test_rows_of_pixels_are_said_to_be_vectors(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", drawings(100).reshape(100, -1))
    data = load_dataset(tmp_path / "flat.npy")
    assert data.modality == "vector"
    assert (
        "100 rows of 144 numbers, uint8 from 0 to 255: vectors; if they are pictures, save them as [N,12,12]"
        in data.remarks[0]
    )


def test_the_split_of_vectors_depends_on_the_row_alone(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((200, 3))
    for name, rows in (
        ("a", vectors),
        ("scaled", vectors * 1e-9 + 1e6),
        ("more", np.concatenate([vectors, vectors[:50]])),
    ):
        np.save(tmp_path / f"{name}.npy", rows)
    first, scaled, more = (load_dataset(tmp_path / f"{name}.npy") for name in ("a", "scaled", "more"))
    assert len(first.train) == len(scaled.train)
    assert len(first.test) == len(scaled.test)
    assert {row.tobytes() for row in more.test} == {row.tobytes() for row in first.test}, (
        "duplicates stay where they were"
    )
