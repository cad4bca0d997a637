"""Scores: how unusual a sample is, computed from what an autoencoder makes of it.

sample, reconstruction, latents of both -> components -> ranks among held-out samples -> mean -> score -> percentile

Which components a package has was chosen when it was exported (training.evaluation.scores). Their parameters lie in a
file of the package, `score.npz`, as arrays `<component>.<parameter>`. All is computed in float64.

- `error`: mean squared error of the reconstruction.
- `error-by-energy`: that error divided by the sample's mean square.
- `pathway`: the differences between input and reconstruction and between their latents, decorrelated
  (RaPP, Kim et al., ICLR 2020, section 3: normalised aggregation along the pathway).
- `latent-distance`: Mahalanobis distance of the latent, its covariance shrunk (Ledoit and Wolf 2004).
- `latent-neighbours`: mean distance to the nearest latents of training samples (Ramaswamy et al. 2000).
- `input-neighbours`: the same of the samples themselves, pictures made small and of one energy, columns of one unit in
  that unit: a detector without a model.
- `made-anomalies`: log-odds of a small network that takes the latents and all of the above, and was trained to tell
  normal samples from ones that were damaged on purpose (outlier exposure, Hendrycks et al., ICLR 2019; CutPaste, Li et
  al., CVPR 2021). Beyond the distances of all normal samples it rises with the distance.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model.files.array_files import read_arrays
from service.model.manifest import QUANTILES, Component, ScoreFile

Array = NDArray[Any]
Floats = NDArray[np.float64]
Parameters = Mapping[str, Floats]

LEAST_ENERGY = 1e-6  # mean square, below which a sample counts as empty
LEAST_DISTANCE = 1e-9
NEIGHBOURS = 5
POOLED_SIDE = 14  # pixels at most along a side of the small pictures of `input-neighbours`
LARGEST_FEATURE = 10.0  # deviations, of what the network gets
EXCESS_WEIGHT = 10.0  # log-odds for each e-fold of a distance beyond that of all normal samples
DISTANCES: tuple[Component, ...] = (
    "error", "error-by-energy", "pathway", "latent-distance", "latent-neighbours", "input-neighbours",
)  # fmt: skip
ANY_SIZE: frozenset[Component] = frozenset({"error", "error-by-energy"})  # components of samples of any size


@dataclass(frozen=True, eq=False)
class Pathway:
    """Samples and what the autoencoder made of them.

    Args:
        samples: float64 [N,...]: pictures [N,H,W,C] in 0..1, vectors [N,D] in standard deviations, or in their own
            units of packages that have none.
        differences: float64 [N,D]: sample minus reconstruction, in the same units.
        latents, latents_again: float64 [N,L]: of the samples, and of their reconstructions.
    """

    samples: Floats
    differences: Floats
    latents: Floats
    latents_again: Floats

    @cached_property
    def error(self) -> Floats:
        """Mean squared error, float64 [N]."""
        return np.asarray(np.mean(self.differences**2, axis=1))

    @cached_property
    def energy(self) -> Floats:
        """Mean square, float64 [N]."""
        return np.asarray(np.mean(self.samples.reshape(len(self.samples), -1) ** 2, axis=1))


def pathway_features(pathway: Pathway) -> Floats:
    """Differences of samples and of latents, float64 [N,D+L]."""
    return np.hstack([pathway.differences, pathway.latents - pathway.latents_again])


def input_features(samples: Floats) -> Floats:
    """Pictures [N,H,W,C] -> float64 [N,K], at most POOLED_SIDE x POOLED_SIDE x C, of unit length; vectors stay."""
    if samples.ndim == 2:
        return samples
    count, height, width, channels = samples.shape
    factors = [-(-side // POOLED_SIDE) for side in (height, width)]
    rows, columns = height // factors[0], width // factors[1]
    blocks = samples[:, : rows * factors[0], : columns * factors[1]]
    pooled = blocks.reshape(count, rows, factors[0], columns, factors[1], channels).mean((2, 4)).reshape(count, -1)
    return np.asarray(pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-9))


def network_features(pathway: Pathway, parameters: Parameters) -> Floats:
    """Latents and their change in deviations of the latent, logarithms of distances: float64 [N,3L+K].

    Parameters: `deviation` [L], and those of the distances.
    """
    deviation = parameters["deviation"]
    change = (pathway.latents - pathway.latents_again) / deviation
    distances = log_distances(pathway, parameters)
    return np.hstack([pathway.latents / deviation, change, np.abs(change), distances])


def log_distances(pathway: Pathway, parameters: Parameters) -> Floats:
    """Logarithms of those components whose parameters, `<component>.<parameter>`, are there: float64 [N,K]."""
    columns = []
    for name in DISTANCES:
        own = {key.partition(".")[2]: value for key, value in parameters.items() if key.startswith(f"{name}.")}
        if own or name in ANY_SIZE:
            columns.append(np.log(np.maximum(COMPONENTS[name](pathway, own), LEAST_DISTANCE)))
    return np.column_stack(columns)


# --- components ------------------------------------------------------------------------------------------


def _error(pathway: Pathway, _parameters: Parameters) -> Floats:
    return pathway.error


def _error_by_energy(pathway: Pathway, _parameters: Parameters) -> Floats:
    return np.asarray(pathway.error / np.maximum(pathway.energy, LEAST_ENERGY))


def _pathway(pathway: Pathway, parameters: Parameters) -> Floats:
    """Parameters: `mean` [M], `axes` [k,M] orthonormal, `variance` [k], `rest` []: of each of the other directions."""
    features = pathway_features(pathway) - parameters["mean"]
    along = features @ parameters["axes"].T
    rest = np.maximum(np.sum(features**2, axis=1) - np.sum(along**2, axis=1), 0)
    return np.asarray((np.sum(along**2 / parameters["variance"], axis=1) + rest / parameters["rest"]) / len(features.T))


def _latent_distance(pathway: Pathway, parameters: Parameters) -> Floats:
    """Parameters: `mean` [L], `whitening` [L,L]: the precision matrix is its product with its transpose."""
    return np.asarray(np.mean(((pathway.latents - parameters["mean"]) @ parameters["whitening"]) ** 2, axis=1))


def _latent_neighbours(pathway: Pathway, parameters: Parameters) -> Floats:
    """Parameters: `references` [R,L] in deviations, `deviation` [L]."""
    return _mean_distance(pathway.latents / parameters["deviation"], parameters["references"])


def _input_neighbours(pathway: Pathway, parameters: Parameters) -> Floats:
    """Parameters: `references` [R,K], and, where numbers do not count alike, their `weights` [K]."""
    return _mean_distance(input_features(pathway.samples) * parameters.get("weights", 1), parameters["references"])


def _made_anomalies(pathway: Pathway, parameters: Parameters) -> Floats:
    """Parameters: those of `network_features` and of `run_network`."""
    return run_network(network_features(pathway, parameters), parameters)


def run_network(features: Floats, parameters: Parameters) -> Floats:
    """Log-odds of `network_features` [N,F], float64 [N].

    Parameters: `mean`, `scale` [F]; `hidden` [F,H], `hidden_bias` [H]; `output` [H], `bias` []; `largest` [K]: the
    logarithms of the distances of normal samples, which are the last features.
    """
    largest = parameters["largest"]
    scaled = ((features - parameters["mean"]) / parameters["scale"]).clip(-LARGEST_FEATURE, LARGEST_FEATURE)
    hidden = np.maximum(scaled @ parameters["hidden"] + parameters["hidden_bias"], 0)
    excess = np.maximum(features[:, -len(largest) :] - largest, 0).sum(axis=1)
    return np.asarray(hidden @ parameters["output"] + parameters["bias"] + EXCESS_WEIGHT * excess)


def _mean_distance(points: Floats, references: Floats) -> Floats:
    """Mean Euclidean distance of [N,K] to the NEIGHBOURS nearest of [R,K], float64 [N]."""
    squares = np.sum(points**2, axis=1)[:, None] + np.sum(references**2, axis=1) - 2 * points @ references.T
    count = min(NEIGHBOURS, len(references))
    nearest = np.partition(squares, count - 1, axis=1)[:, :count]
    return np.asarray(np.sqrt(np.maximum(nearest, 0)).mean(axis=1))


COMPONENTS: dict[Component, Callable[[Pathway, Parameters], Floats]] = {
    "error": _error,
    "error-by-energy": _error_by_energy,
    "pathway": _pathway,
    "latent-distance": _latent_distance,
    "latent-neighbours": _latent_neighbours,
    "input-neighbours": _input_neighbours,
    "made-anomalies": _made_anomalies,
}


# --- score -----------------------------------------------------------------------------------------------


class Score:
    """The score of a package: one component, or the mean of the ranks of several.

    Args:
        components: in order.
        parameters: arrays of `<component>.<parameter>`, and of several components `<component>.quantiles`
            [QUANTILES], rising, over samples that nothing was fitted on.
    """

    def __init__(self, components: tuple[Component, ...], parameters: Mapping[str, Array]) -> None:
        self.components = components
        self._parameters = {
            component: {
                name.partition(".")[2]: np.asarray(array, np.float64)
                for name, array in parameters.items()
                if name.partition(".")[0] == component
            }
            for component in components
        }

    @property
    def needs_latents(self) -> bool:
        return not ANY_SIZE.issuperset(self.components)

    def compute(self, pathway: Pathway) -> Floats:
        """How unusual each sample is, float64 [N]."""
        if len(self.components) == 1:
            return self._compute_component(self.components[0], pathway)
        ranks = [
            rank(self._compute_component(component, pathway), self._parameters[component]["quantiles"])
            for component in self.components
        ]
        return np.asarray(np.mean(ranks, axis=0))

    def _compute_component(self, component: Component, pathway: Pathway) -> Floats:
        return COMPONENTS[component](pathway, self._parameters[component])


def rank(values: Floats, quantiles: Floats) -> Floats:
    """Share of held-out samples below each value, float64 [N]; above the largest it grows with the logarithm.

    Without that growth, all that is far away would be equal.
    """
    share = np.interp(values, quantiles, np.linspace(0, 1, len(quantiles)))
    largest = quantiles[-1]
    unit = max(largest - quantiles[len(quantiles) // 2], 1e-9 * max(1.0, abs(largest)))
    return np.asarray(share + np.log1p(np.maximum(values - largest, 0) / unit))


def read(entry: ScoreFile, data: bytes, sample_shape: tuple[int | str, ...], latent_size: int) -> Score:
    """The score of a package's file, tried on two samples.

    Args:
        sample_shape, latent_size: of one sample, and numbers of its latent (0: of any size).
    Raises:
        ValueError: the arrays do not fit the model.
    """
    score = Score(entry.components, read_arrays(data))
    sizes = [axis for axis in sample_shape if isinstance(axis, int)]
    has_one_size = len(sizes) == len(sample_shape) and latent_size > 0
    if score.needs_latents and not has_one_size:
        raise ValueError(f"{entry.name} needs samples of one size")
    shape = (2, *(axis if isinstance(axis, int) else 1 for axis in sample_shape))
    samples, latents = np.zeros(shape), np.zeros((2, latent_size))
    try:
        values = score.compute(Pathway(samples, samples.reshape(2, -1), latents, latents))
    except (KeyError, ValueError, IndexError, TypeError, MemoryError) as error:
        raise ValueError(f"its arrays do not fit the model: {error}") from error
    if values.shape != (2,) or not np.isfinite(values).all():
        raise ValueError("its arrays give no number for each sample")
    return score


def percentile(values: Floats, quantiles: tuple[float, ...]) -> Floats:
    """0..100 of held-out samples below each value, float64 [N]."""
    return np.asarray(np.interp(values, quantiles, np.linspace(0, 100, QUANTILES)))
