from pathlib import Path

import numpy as np
import pytest

from tests.training.data.mnist_files import write_mnist
from training.data import datasets, labels
from training.data.public import mnist_variations
from training.errors import DataError
from training.recipe import AutoencoderData


def test_sets_of_larochelle_are_turned_or_on_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOENCODER_DATA", str(tmp_path))
    monkeypatch.setattr(mnist_variations, "SIZES", (60, 20, 40))
    write_mnist(tmp_path / "mnist")
    basic, rotated, noisy = (labels.load(AutoencoderData(source=source)) for source in mnist_variations.SETS)
    for dataset in (basic, rotated, noisy):
        assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [60, 20, 40]
        assert np.array_equal(dataset.train, basic.train)
    assert (noisy.dataset.train >= basic.dataset.train).all()
    assert 100 < noisy.dataset.train[basic.dataset.train == 0].mean() < 155
    # turning keeps ink near the centre where it is, and moves what is away from it
    assert not np.array_equal(rotated.dataset.train, basic.dataset.train)
    rotated_square = mnist_variations.vary_images(
        np.pad(np.full((1, 2, 2), 255, np.uint8), ((0, 0), (5, 5), (5, 5))), "mnist-rot", np.random.default_rng(0)
    )
    assert rotated_square[0, 5:7, 5:7].min() > 150
    with pytest.raises(DataError, match="validation_samples is for mnist"):
        datasets.load(AutoencoderData(source="mnist-rot", validation_samples=5))
