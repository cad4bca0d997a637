"""Principal component analysis: the linear autoencoder that every other one has to beat.

train -> fit (once a run) -> project, reconstruct, error at each number of components

Baldi & Hornik, "Neural networks and principal component analysis", Neural Networks 2 (1989): no linear
autoencoder has a smaller error at a latent of that size.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from service.model.measures.standard_units import StandardUnits
from training.architectures.standardization import measure_units

Array = NDArray[Any]
Floats = NDArray[np.float64]
MAX_POINTS = 32  # of the curve
LINEAR_PATH_NUMBERS = 16_000_000  # of the samples by which a linear path starts


@dataclass(frozen=True)
class Components:
    """`mean` [D] and the first principal `axes` [k,D], orthonormal, of scaled samples; `units` of vectors."""

    mean: Floats
    axes: Floats
    units: StandardUnits | None = None

    def project(self, samples: Array, count: int) -> Floats:
        """Samples as stored -> their coordinates on the first `count` axes, float64 [N,count]."""
        projected: Floats = (scale_samples(samples, self.units) - self.mean) @ self.axes[:count].T
        return projected

    def reconstruct(self, samples: Array, count: int) -> Floats:
        """Samples as stored -> float64 [N,D], scaled as by scale_samples, not clamped."""
        reconstructed: Floats = self.project(samples, count) @ self.axes[:count] + self.mean
        return reconstructed

    def errors(self, samples: Array) -> Floats:
        """Mean squared error over `samples` with 0, 1, ... k components, float64 [k+1]; as reconstruct's."""
        centred = scale_samples(samples, self.units) - self.mean
        explained = np.cumsum((centred @ self.axes.T) ** 2, axis=1).mean(0)
        residual: Floats = np.mean(np.sum(centred**2, axis=1)) - np.concatenate([[0.0], explained])
        return residual / len(self.mean)


def scale_samples(samples: Array, units: StandardUnits | None = None) -> Floats:
    """uint8 [N,H,W,C] -> float64 [N,D] in 0..1; vectors [N,D] -> float64 [N,D] in standard deviations of `units`."""
    flat = samples.reshape(len(samples), -1)
    if samples.dtype == np.uint8:
        return flat / 255.0
    return flat.astype(np.float64) if units is None else units.standardize(flat)


def fit(train: Array, count: int) -> Components | None:
    """The first `count` components of samples as stored.

    None if `count` reaches the number of samples or of the numbers in a sample.
    """
    units = None if train.dtype == np.uint8 else measure_units(train)
    flat = scale_samples(train, units)
    if count >= min(flat.shape):
        return None
    pca = PCA(count, svd_solver=_choose_solver(flat)).fit(flat)
    return Components(pca.mean_, pca.components_, units)


def _choose_solver(flat: Floats) -> str:
    return "covariance_eigh" if flat.shape[1] <= len(flat) else "full"  # no covariance larger than the data


def fit_for_linear_path(train: Array, count: int) -> tuple[Floats, Floats, Floats]:
    """Mean [D], axes [k,D] and deviations [k] of the first components, k at most `count`, for the start of training.

    Images are flattened as modules see them, [C,H,W]. Of many samples or large ones, LINEAR_PATH_NUMBERS are used.
    """
    generator = np.random.default_rng(0)
    units = None if train.dtype == np.uint8 else measure_units(train)
    limit = max(4 * count, LINEAR_PATH_NUMBERS // train[0].size)
    if len(train) > limit:
        train = train[np.sort(generator.permutation(len(train))[:limit])]
    if train.ndim == 4:
        train = train.transpose(0, 3, 1, 2)
    flat = scale_samples(train, units)
    k = min(count, len(flat) - 1, flat.shape[1])
    pca = PCA(k, svd_solver=_choose_solver(flat)).fit(flat)
    return pca.mean_, pca.components_, np.sqrt(pca.explained_variance_)


def error_curve(components: Components, test: Array) -> tuple[tuple[int, float], ...]:
    """(components, mean squared error) at up to MAX_POINTS sizes from 1 to all, for the manifest."""
    errors = components.errors(test)
    sizes = np.unique(np.geomspace(1, len(components.axes), MAX_POINTS).round().astype(int))
    return tuple((int(size), float(f"{errors[size]:.6g}")) for size in sizes)
