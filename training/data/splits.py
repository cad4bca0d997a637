"""Splits into train, validation and test: an image's split depends on its own bytes alone, a vector's on its row.

samples -> SHA-256 of each image, of the number of each row -> 0 train, 1 validation, 2 test

So duplicates never stand on both sides, and adding data (rows at the end) moves no other sample. Bytes of vectors would
make the split depend on the unit of a column, and on how it is stored.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def split_by_content(samples: Array | Sequence[Array]) -> NDArray[np.uint8]:
    """uint8 [N]: SHA-256 modulo 100 of each sample's bytes; 0-79 train, 80-89 validation, 90-99 test."""
    digests = [hashlib.sha256(np.ascontiguousarray(sample).tobytes()).hexdigest() for sample in samples]
    return np.digitize([int(digest[:8], 16) % 100 for digest in digests], [80, 90]).astype(np.uint8)


def split_by_row(samples: Array) -> NDArray[np.uint8]:
    """uint8 [N] of vectors [N,D]: as split_by_content, of the number of the first row that is equal."""
    first_rows: dict[bytes, int] = {}
    numbers = [
        first_rows.setdefault((sample + 0.0).tobytes(), row) for row, sample in enumerate(samples)
    ]  # -0.0 is 0.0
    digests = [hashlib.sha256(b"%d" % number).hexdigest() for number in numbers]
    return np.digitize([int(digest[:8], 16) % 100 for digest in digests], [80, 90]).astype(np.uint8)


def split_by_rank(samples: Array, validation_samples: int) -> NDArray[np.uint8]:
    """uint8 [N]: the `validation_samples` samples of the smallest SHA-256 are validation (1), the others train (0)."""
    digests = [hashlib.sha256(sample.tobytes()).digest() for sample in samples]
    split = np.zeros(len(samples), np.uint8)
    split[sorted(range(len(samples)), key=digests.__getitem__)[:validation_samples]] = 1
    return split
