"""`source = "mnist"`, with files of the same format made here."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.drawings import drawings
from training.data import datasets, idx, mnist
from training.errors import DataError
from training.recipe import Data


def written(folder: Path) -> Path:
    """The four files, of 100 training drawings and 20 test drawings with their labels."""
    folder.mkdir(parents=True)
    images, labels = drawings(120), np.arange(120, dtype=np.uint8) % 10
    for part, chosen in (("train", slice(0, 100)), ("t10k", slice(100, 120))):
        shape = images[chosen].shape
        content = {"images-idx3": struct.pack(">IIII", 0x803, *shape) + images[chosen].tobytes()}
        content["labels-idx1"] = struct.pack(">II", 0x801, shape[0]) + labels[chosen].tobytes()
        for kind, data in content.items():
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(data))
    return folder


def test_a_data_folder_is_used_where_it_has_all_four_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOENCODER_DATA", str(tmp_path))
    written(tmp_path / "mnist")
    data = datasets.load(Data(source="mnist", validation_samples=15))
    assert (len(data.train), len(data.validation), len(data.test)) == (85, 15, 20)
    assert data.licence == mnist.LICENCE
    train, test = mnist.labels()
    assert train.tolist() == [i % 10 for i in range(100)]
    assert test.tolist() == [i % 10 for i in range(100, 120)]


def test_without_one_the_files_are_fetched_and_their_bytes_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOENCODER_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("AUTOENCODER_CACHE", str(tmp_path / "cache"))
    published = written(tmp_path / "published")
    sums = {name: hashlib.sha256((published / name).read_bytes()).hexdigest() for name in mnist.FILES}
    monkeypatch.setattr(mnist, "URL", published.as_uri() + "/")
    monkeypatch.setattr(mnist, "FILES", sums)
    assert mnist.folder() == tmp_path / "cache" / "mnist"
    assert idx.read_folder(mnist.folder())[0].shape == (100, 12, 12)


def test_the_validation_samples_are_those_of_the_smallest_digest(tmp_path: Path) -> None:
    data = datasets.load(Data(source=str(written(tmp_path / "set")), validation_samples=10))
    digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in data.train]
    assert max(hashlib.sha256(image.tobytes()).hexdigest() for image in data.validation) < min(digests)


def test_too_many_validation_samples_and_those_of_other_data_are_refused(tmp_path: Path) -> None:
    folder = str(written(tmp_path / "set"))
    with pytest.raises(DataError, match="validation_samples is 100, of 100 training samples"):
        datasets.load(Data(source=folder, validation_samples=100))
    np.save(tmp_path / "drawings.npy", drawings(100))
    with pytest.raises(DataError, match="validation_samples is for mnist"):
        datasets.load(Data(source=str(tmp_path / "drawings.npy"), validation_samples=10))


def test_labels_are_not_images_and_images_not_labels(tmp_path: Path) -> None:
    folder = written(tmp_path / "set")
    with pytest.raises(DataError, match="not an IDX file of uint8 images"):
        idx.read_images(folder / "train-labels-idx1-ubyte.gz")
    with pytest.raises(DataError, match="not an IDX file of uint8 labels"):
        idx.read_labels(folder / "train-images-idx3-ubyte.gz")
