"""Sparse latents: the largest features of each as pairs of index and value, and back; share of variance explained.

latents [N,D] -> find_largest -> indices, values [N,k] -> spread -> latents [N,D], 0 everywhere else

As one array, such a pair is [N,2,k]: the indices, then the values.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidInput

Array = NDArray[Any]
MAX_EXACT = 1 << 24  # whole numbers up to here are float32


def find_largest(latents: Array, top: int, features: int) -> tuple[NDArray[np.int64], Array]:
    """(indices int64, values) [N,k] of the numbers of largest magnitude, the largest first.

    Args:
        latents: [N,D].
        top: of how many numbers; there are at most `features`.
        features: numbers of a latent that are features; those behind them (mean and scale of the vector, for the
            decoder) follow the features in every row.
    """
    smallness = -np.abs(latents[:, :features])
    count = min(top, features)
    # the largest first: on the other side of so many zeros numpy's selection takes 20 times as long
    indices = np.argpartition(smallness, count - 1, axis=1)[:, :count]
    order = np.argsort(np.take_along_axis(smallness, indices, 1), axis=1, kind="stable")
    indices = np.take_along_axis(indices, order, 1)
    others = np.broadcast_to(np.arange(features, latents.shape[1]), (len(latents), latents.shape[1] - features))
    indices = np.concatenate([indices, others], axis=1)
    return indices, np.take_along_axis(latents, indices, 1)


def spread(indices: Array, values: Array, size: int, label: str) -> NDArray[np.float32]:
    """Latents float32 [N,size] with `values` at `indices`, each [N,k] or [k].

    Raises:
        InvalidInput: shapes differ, an index is no whole number below `size`, or comes twice (422).
    """
    if indices.shape != values.shape or indices.ndim not in (1, 2) or not indices.size:
        raise InvalidInput(
            f"{label} has indices {list(indices.shape)} and values {list(values.shape)}; both must be [N,k]"
        )
    indices, values = np.atleast_2d(indices), np.atleast_2d(values)
    is_wrong = ~((indices >= 0) & (indices < size) & (indices == np.floor(indices)))
    if is_wrong.any():
        raise InvalidInput(f"{label} has the index {indices[is_wrong][0]:g}; indices are whole numbers below {size}")
    columns = indices.astype(np.int64)
    rising = np.sort(columns, axis=1)
    is_repeated = rising[:, 1:] == rising[:, :-1]
    if is_repeated.any():
        raise InvalidInput(f"{label} has the index {rising[:, 1:][is_repeated][0]} twice in one row")
    latents = np.zeros((len(columns), size), np.float32)
    with np.errstate(over="ignore"):  # what is not finite is refused with the latents
        np.put_along_axis(latents, columns, values.astype(np.float32), 1)
    return latents


def join(indices: NDArray[np.int64], values: Array) -> Array:
    """The pair as one array [N,2,k], float32; float64 if indices need it."""
    dtype = np.float32 if indices.max(initial=0) <= MAX_EXACT else np.float64
    return np.stack([indices.astype(dtype), values.astype(dtype)], axis=1)


def measure_explained_variance(batch: Array, output: Array, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each vector's squared distance from `mean` the share that the reconstruction explains, float64 [N], at most 1.

    0 for a vector that is the mean.
    """
    residual = ((batch.astype(np.float64) - output) ** 2).sum(axis=1)
    variance = ((batch - mean) ** 2).sum(axis=1)
    is_positive = variance > 0
    return np.asarray(np.where(is_positive, 1 - residual / np.where(is_positive, variance, 1), 0))
