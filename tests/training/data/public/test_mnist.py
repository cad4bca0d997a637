"""`source = "mnist"`, with files of the same format made here."""

import hashlib
from pathlib import Path

import pytest

from tests.training.data.mnist_files import write_mnist
from training.data import datasets
from training.data.public import idx, mnist
from training.recipe import AutoencoderData


def test_a_data_folder_is_used_where_it_has_all_four_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOENCODER_DATA", str(tmp_path))
    write_mnist(tmp_path / "mnist")
    data = datasets.load(AutoencoderData(source="mnist", validation_samples=15))
    assert (len(data.train), len(data.validation), len(data.test)) == (85, 15, 20)
    assert data.licence == mnist.LICENCE
    train, test = mnist.read_labels()
    assert train.tolist() == [i % 10 for i in range(100)]
    assert test.tolist() == [i % 10 for i in range(100, 120)]


def test_without_one_the_files_are_fetched_and_their_bytes_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOENCODER_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("AUTOENCODER_CACHE", str(tmp_path / "cache"))
    folder = write_mnist(tmp_path / "published")
    checksums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in mnist.FILES}
    monkeypatch.setattr(mnist, "URL", folder.as_uri() + "/")
    monkeypatch.setattr(mnist, "FILES", checksums)
    assert mnist.fetch_folder() == tmp_path / "cache" / "mnist"
    assert idx.read_folder(mnist.fetch_folder())[0].shape == (100, 12, 12)
