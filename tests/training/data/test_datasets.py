import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.drawings import drawings, waves
from training.data import datasets
from training.errors import DataError
from training.recipe import Data


def load(source: Path, **options: int) -> datasets.Dataset:
    return datasets.load(Data(source=str(source), licence="drawn by the tests", **options))


def folder_of_images(folder: Path, images: np.ndarray, suffix: str = "png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03}.{suffix}")
    return folder


def idx(images: np.ndarray) -> bytes:
    return struct.pack(">IIII", 0x803, *images.shape) + images.tobytes()


def test_a_folder_of_images_becomes_three_splits_of_uint8(tmp_path: Path) -> None:
    data = load(folder_of_images(tmp_path / "images", drawings(100)))
    assert data.modality == "image"
    assert data.sample_shape == (12, 12, 1)
    assert len(data.train) + len(data.validation) + len(data.test) == 100
    assert len(data.train) > 60


def test_colour_images_give_three_channels(tmp_path: Path) -> None:
    grey = drawings(100)
    data = load(folder_of_images(tmp_path / "images", np.stack([grey, grey // 2, grey // 3], -1)))
    assert data.sample_shape == (12, 12, 3)


def test_the_split_of_a_sample_depends_on_its_bytes_alone() -> None:
    images = drawings(200)[..., None]
    split = datasets.split_by_content(images)
    assert np.array_equal(datasets.split_by_content(images[::-1]), split[::-1])
    assert 0.7 < (split == 0).mean() < 0.9


def test_the_split_is_the_one_of_the_published_drawings() -> None:
    cats = Path("../shared/data/quickdraw/cats.npz")
    if not cats.is_file():
        pytest.skip("the published drawings are not beside this checkout")
    with np.load(cats) as file:
        assert np.array_equal(datasets.split_by_content(file["images"]), file["split"])


def test_duplicates_never_stand_on_both_sides(tmp_path: Path) -> None:
    np.save(tmp_path / "twice.npy", np.concatenate([drawings(100), drawings(100)]))
    data = load(tmp_path / "twice.npy")
    seen = [{s.tobytes() for s in part} for part in (data.train, data.validation, data.test)]
    assert seen[0].isdisjoint(seen[1] | seen[2])
    assert seen[1].isdisjoint(seen[2])


def test_subfolders_train_val_test_are_the_splits(tmp_path: Path) -> None:
    images = drawings(60)
    for name, part in (("train", images[:40]), ("val", images[40:50]), ("test", images[50:])):
        folder_of_images(tmp_path / name, part)
    data = load(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (40, 10, 10)
    assert np.array_equal(data.test[..., 0], images[50:])


def test_an_npz_with_its_own_split_keeps_it(tmp_path: Path) -> None:
    split = np.arange(90) % 3
    np.savez(tmp_path / "data.npz", images=drawings(90), split=split, labels=np.zeros(90))
    data = load(tmp_path / "data.npz")
    assert np.array_equal(data.validation[..., 0], drawings(90)[split == 1])


def test_idx_files_as_mnist_has_them(tmp_path: Path) -> None:
    images = drawings(120)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images[:100])))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images[100:])))
    data = load(tmp_path)
    assert np.array_equal(data.test[..., 0], images[100:])
    assert len(data.train) + len(data.validation) == 100
    (tmp_path / "alone-idx3-ubyte").write_bytes(idx(images))
    assert load(tmp_path / "alone-idx3-ubyte").sample_shape == (12, 12, 1)


def test_a_csv_of_vectors_with_header_and_label_column(tmp_path: Path) -> None:
    rows = ["label," + ",".join(f"t{i}" for i in range(30))]
    rows += [f"{i % 5}," + ",".join(map(str, wave)) for i, wave in enumerate(waves(80))]
    (tmp_path / "ecg.csv").write_text("\n".join(rows) + "\n")
    data = load(tmp_path / "ecg.csv", label_column=0)
    assert data.modality == "vector"
    assert data.sample_shape == (30,)
    np.testing.assert_allclose(
        np.sort(np.concatenate([data.train, data.validation, data.test]), 0), np.sort(waves(80), 0)
    )


def test_images_of_mixed_sizes_are_resized_when_asked(tmp_path: Path) -> None:
    folder_of_images(tmp_path, drawings(60))
    Image.new("L", (40, 30), 7).save(tmp_path / "odd.png")
    assert load(tmp_path, size=16).sample_shape == (16, 16, 1)


def test_16_bit_and_transparent_images_are_read_as_one_sees_them(tmp_path: Path) -> None:
    folder_of_images(tmp_path, drawings(60))
    Image.fromarray(np.full((12, 12), 257 * 100, np.uint16)).save(tmp_path / "deep.png")
    data = load(tmp_path)
    every = np.concatenate([data.train, data.validation, data.test])
    assert any((image == 100).all() for image in every)
    Image.new("RGBA", (12, 12), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    data = load(tmp_path)
    assert data.sample_shape == (12, 12, 3)
    assert any((i == 255).all() for i in np.concatenate([data.train, data.validation, data.test]))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no image"):
        load(tmp_path)


def test_mixed_sizes_are_refused_and_both_files_named(tmp_path: Path) -> None:
    folder_of_images(tmp_path, drawings(60))
    Image.new("L", (40, 30)).save(tmp_path / "odd.png")
    with pytest.raises(DataError, match=r"000\.png is 12x12, odd\.png is 40x30.*data\.size"):
        load(tmp_path)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    folder_of_images(tmp_path, drawings(60))
    (tmp_path / "030.png").write_bytes((tmp_path / "030.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"030\.png cannot be read as an image"):
        load(tmp_path)


def test_too_few_samples_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", drawings(20))
    with pytest.raises(DataError, match=r"20 samples .* are too few; at least 50"):
        load(tmp_path / "few.npy")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("cut.npy", b"\x93NUMPY\x01", "cannot be read as numpy"),
        ("not.npz", b"PK\x03\x04 not a zip", "cannot be read as numpy"),
        ("words.csv", b"a,b\n1,2\n3,x\n", "line 3: could not convert"),
        ("ragged.csv", b"1,2\n3,4,5\n", "line 2: 3 numbers, the lines before have 2"),
        ("latin.csv", b"\xff\xfe\x00", "cannot be read as text"),
        ("empty.csv", b"\n", "holds no samples"),
        ("nan.csv", b"1,2\n3,nan\n", "row 1 holds NaN"),
        ("cut-idx3-ubyte.gz", gzip.compress(idx(np.zeros((3, 4, 4), np.uint8))[:-5]), "cut off"),
        ("broken-idx3-ubyte.gz", b"\x1f\x8b broken", "cannot be read as IDX"),
        ("song.mp3", b"", "not a known kind of data"),
    ],
)
def test_a_broken_data_file_is_refused_with_its_name(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as refusal:
        load(tmp_path / name)
    assert name in str(refusal.value)
    assert sentence in str(refusal.value)


def test_arrays_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "float.npy", np.zeros((60, 8, 8)))
    with pytest.raises(DataError, match=r"float64 \[60, 8, 8\]; images are uint8"):
        load(tmp_path / "float.npy")
    np.savez(tmp_path / "two.npz", a=drawings(60), b=drawings(60))
    with pytest.raises(DataError, match="holds a, b; one must be named"):
        load(tmp_path / "two.npz")
    np.savez(tmp_path / "split.npz", images=drawings(60), split=np.full(60, 7))
    with pytest.raises(DataError, match="split must hold"):
        load(tmp_path / "split.npz")
    (tmp_path / "rows.csv").write_text("1,2\n3,4\n")
    with pytest.raises(DataError, match="no column 5"):
        load(tmp_path / "rows.csv", label_column=5)


def test_half_an_idx_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(drawings(60)))
    with pytest.raises(DataError, match="has no t10k-images"):
        load(tmp_path)


def test_data_that_are_nowhere_are_refused() -> None:
    with pytest.raises(DataError, match="no data at does/not/exist: give a folder"):
        load(Path("does/not/exist"))
