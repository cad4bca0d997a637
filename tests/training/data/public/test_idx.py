from pathlib import Path

import pytest

from tests.training.data.mnist_files import write_mnist
from training.data.public import idx
from training.errors import DataError


def test_labels_are_not_images_and_images_not_labels(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "set")
    with pytest.raises(DataError, match="not an IDX file of uint8 images"):
        idx.read_images(folder / "train-labels-idx1-ubyte.gz")
    with pytest.raises(DataError, match="not an IDX file of uint8 labels"):
        idx.read_labels(folder / "train-images-idx3-ubyte.gz")
