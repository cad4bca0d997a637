"""Examples of a package: a few samples of its test split, with which the page opens the model.

[n,...] -> write_examples -> examples.npy -> read_examples -> [n,...], checked against the model's port
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.codecs import arrays
from service.errors import ServiceError
from service.model.errors import PackageError
from service.model.graph import Port

EXAMPLES_FILE = "examples.npy"
MAX_BYTES = 256 * 1024  # of all examples of a package


def write_examples(samples: NDArray[Any]) -> dict[str, bytes]:
    """The file of a package by its name: `image` uint8 [n,H,W,C] or `vector` [n,D]."""
    return {EXAMPLES_FILE: arrays.write_npy(np.ascontiguousarray(samples))}


def read_examples(data: bytes, port: Port) -> NDArray[Any]:
    """The samples in a file; raises PackageError if they are not of the model's port."""
    try:
        samples = arrays.read_npy(data, EXAMPLES_FILE)
    except ServiceError as error:
        raise PackageError(f"{EXAMPLES_FILE} cannot be read: {error.detail}") from error
    has_shape = samples.ndim == len(port.shape) and all(
        isinstance(axis, str) or axis == size for axis, size in zip(port.shape[1:], samples.shape[1:], strict=True)
    )
    is_image = port.dtype == "uint8"
    if not has_shape or not samples.size or (samples.dtype == np.uint8) != is_image:
        raise PackageError(
            f"{EXAMPLES_FILE} has samples {samples.dtype} {list(samples.shape)}, which are not the model's"
        )
    if not is_image and not np.isfinite(samples).all():
        raise PackageError(f"{EXAMPLES_FILE} has numbers that are not finite")
    return samples
