import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.drawings import drawings, waves
from tests.training.data.mnist_files import write_mnist
from tests.training.data.sample_files import encode_idx, load_dataset, write_images
from training.data import datasets
from training.errors import DataError
from training.recipe import AutoencoderData


def test_colour_images_give_three_channels(tmp_path: Path) -> None:
    grey = drawings(100)
    data = load_dataset(write_images(tmp_path / "images", np.stack([grey, grey // 2, grey // 3], -1)))
    assert data.sample_shape == (12, 12, 3)


def test_subfolders_train_val_test_are_the_splits(tmp_path: Path) -> None:
    images = drawings(60)
    for name, part in (("train", images[:40]), ("val", images[40:50]), ("test", images[50:])):
        write_images(tmp_path / name, part)
    data = load_dataset(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (40, 10, 10)
    assert np.array_equal(data.test[..., 0], images[50:])


def test_an_npz_with_its_own_split_keeps_it(tmp_path: Path) -> None:
    split = np.arange(90) % 3
    np.savez(tmp_path / "data.npz", images=drawings(90), split=split, labels=np.zeros(90))
    data = load_dataset(tmp_path / "data.npz")
    assert np.array_equal(data.validation[..., 0], drawings(90)[split == 1])


def test_idx_files_as_mnist_has_them(tmp_path: Path) -> None:
    images = drawings(120)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(encode_idx(images[:100])))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(encode_idx(images[100:])))
    data = load_dataset(tmp_path)
    assert np.array_equal(data.test[..., 0], images[100:])
    assert len(data.train) + len(data.validation) == 100
    (tmp_path / "alone-idx3-ubyte").write_bytes(encode_idx(images))
    assert load_dataset(tmp_path / "alone-idx3-ubyte").sample_shape == (12, 12, 1)


def test_a_csv_of_vectors_with_header_and_label_column(tmp_path: Path) -> None:
    rows = ["label," + ",".join(f"t{i}" for i in range(30))]
    rows += [f"{i % 5}," + ",".join(map(str, wave)) for i, wave in enumerate(waves(80))]
    (tmp_path / "ecg.csv").write_text("\n".join(rows) + "\n")
    data = load_dataset(tmp_path / "ecg.csv", label_column=0)
    assert data.modality == "vector"
    assert data.sample_shape == (30,)
    np.testing.assert_allclose(
        np.sort(np.concatenate([data.train, data.validation, data.test]), 0), np.sort(waves(80), 0)
    )


def test_images_of_mixed_sizes_are_resized_when_asked(tmp_path: Path) -> None:
    write_images(tmp_path, drawings(60))
    Image.new("L", (40, 30), 7).save(tmp_path / "odd.png")
    assert load_dataset(tmp_path, size=16).sample_shape == (16, 16, 1)


def test_16_bit_and_transparent_images_are_read_as_one_sees_them(tmp_path: Path) -> None:
    write_images(tmp_path, drawings(60))
    Image.fromarray(np.full((12, 12), 257 * 100, np.uint16)).save(tmp_path / "deep.png")
    data = load_dataset(tmp_path)
    samples = np.concatenate([data.train, data.validation, data.test])
    assert any((image == 100).all() for image in samples)
    Image.new("RGBA", (12, 12), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    data = load_dataset(tmp_path)
    assert data.sample_shape == (12, 12, 3)
    assert any((i == 255).all() for i in np.concatenate([data.train, data.validation, data.test]))


def test_mixed_sizes_are_refused_and_both_files_named(tmp_path: Path) -> None:
    write_images(tmp_path, drawings(60))
    Image.new("L", (40, 30)).save(tmp_path / "odd.png")
    with pytest.raises(DataError, match=r"000\.png is 12x12, odd\.png is 40x30.*data\.size"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("cut.npy", b"\x93NUMPY\x01", "cannot be read as numpy"),
        ("not.npz", b"PK\x03\x04 not a zip", "cannot be read as numpy"),
        ("cut-idx3-ubyte.gz", gzip.compress(encode_idx(np.zeros((3, 4, 4), np.uint8))[:-5]), "cut off"),
        ("broken-idx3-ubyte.gz", b"\x1f\x8b broken", "cannot be read as IDX"),
        ("song.mp3", b"", "not a known kind of data"),
    ],
)
def test_a_broken_data_file_is_refused_with_its_name(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        load_dataset(tmp_path / name)
    assert name in str(error.value)
    assert sentence in str(error.value)


def test_half_an_idx_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(encode_idx(drawings(60)))
    with pytest.raises(DataError, match="has no t10k-images"):
        load_dataset(tmp_path)


def test_the_validation_samples_are_those_of_the_smallest_digest(tmp_path: Path) -> None:
    data = datasets.load(AutoencoderData(source=str(write_mnist(tmp_path / "set")), validation_samples=10))
    digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in data.train]
    assert max(hashlib.sha256(image.tobytes()).hexdigest() for image in data.validation) < min(digests)


def test_too_many_validation_samples_and_those_of_other_data_are_refused(tmp_path: Path) -> None:
    folder = str(write_mnist(tmp_path / "set"))
    with pytest.raises(DataError, match="validation_samples is 100, of 100 training samples"):
        datasets.load(AutoencoderData(source=folder, validation_samples=100))
    np.save(tmp_path / "drawings.npy", drawings(100))
    with pytest.raises(DataError, match="validation_samples is for mnist"):
        datasets.load(AutoencoderData(source=str(tmp_path / "drawings.npy"), validation_samples=10))
