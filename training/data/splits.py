"""Splits into train, validation and test: a sample's split depends on its own bytes alone.

samples -> SHA-256 of each -> 0 train, 1 validation, 2 test

So duplicates never stand on both sides, and adding data moves no other sample.
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


def split_by_rank(samples: Array, validation_samples: int) -> NDArray[np.uint8]:
    """uint8 [N]: the `validation_samples` samples of the smallest SHA-256 are validation (1), the others train (0)."""
    digests = [hashlib.sha256(sample.tobytes()).digest() for sample in samples]
    split = np.zeros(len(samples), np.uint8)
    split[sorted(range(len(samples)), key=digests.__getitem__)[:validation_samples]] = 1
    return split
