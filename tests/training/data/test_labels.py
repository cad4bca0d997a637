from pathlib import Path

import numpy as np
import pytest

from tests.training.data.mnist_files import write_mnist
from training.data import datasets, labels
from training.recipe import AutoencoderData


def test_few_labels_are_as_many_of_each_class() -> None:
    classes = np.array([0] * 10 + [1] * 5 + [2] * 2)
    indices = labels.sample_per_class(classes, 4, np.random.default_rng(0))
    assert np.bincount(classes[indices]).tolist() == [4, 4, 2]
    assert len(set(indices.tolist())) == len(indices)
    assert not np.array_equal(indices, labels.sample_per_class(classes, 4, np.random.default_rng(1)))


def test_labels_of_idx_files_stand_by_their_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOENCODER_DATA", str(tmp_path))
    write_mnist(tmp_path / "mnist")
    data = labels.load(AutoencoderData(source="mnist", validation_samples=15))
    images = datasets.load(AutoencoderData(source="mnist")).train
    by_image = {image.tobytes(): int(label) for image, label in zip(data.dataset.train, data.train, strict=True)}
    assert len(data.train) == 85
    assert data.test.tolist() == [i % 10 for i in range(100, 120)]
    assert sum(image.tobytes() in by_image for image in images) > 50
