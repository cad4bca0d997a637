"""Examples of a package: read as they were written, refused if they are not of the model's port."""

import numpy as np
import pytest

from service.model.errors import PackageError
from service.model.examples import EXAMPLES_FILE, read_examples, write_examples
from service.model.graph import Port

IMAGE, VECTOR = Port("image", "uint8", ("N", 4, 4, 1)), Port("vector", "float32", ("N", 3))


def test_examples_are_read_as_they_were_written() -> None:
    pictures = np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1)
    assert (read_examples(write_examples(pictures)[EXAMPLES_FILE], IMAGE) == pictures).all()
    rows = np.array([[1.5, 2, 3]])
    assert (read_examples(write_examples(rows)[EXAMPLES_FILE], VECTOR) == rows).all()


@pytest.mark.parametrize(
    ("samples", "port"),
    [
        (np.zeros((2, 4, 5, 1), np.uint8), IMAGE),
        (np.zeros((2, 4, 4, 1), np.float32), IMAGE),
        (np.zeros((2, 3), np.uint8), VECTOR),
        (np.zeros((0, 3)), VECTOR),
        (np.full((2, 3), np.nan), VECTOR),
        (np.zeros(3), VECTOR),
    ],
)
def test_other_samples_are_refused(samples: np.ndarray, port: Port) -> None:
    with pytest.raises(PackageError, match=EXAMPLES_FILE):
        read_examples(write_examples(samples)[EXAMPLES_FILE], port)
    with pytest.raises(PackageError, match="cannot be read"):
        read_examples(b"no npy", port)
