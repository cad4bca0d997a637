"""Evaluation of a sparse autoencoder: explained variance by number of active features, dead features, their pictures.

autoencoder, test split -> metrics, curve        features -> what each adds to a sample
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from service.model.manifest import Metric
from training.architectures.sparse import Sparse, TopK
from training.data.datasets import Dataset
from training.evaluation.autoencoders import encode
from training.evaluation.baselines import pca
from training.evaluation.baselines.pca import Components
from training.evaluation.metrics import make_metric

Array = NDArray[Any]
Curve = list[tuple[int, float]]
"""(active features or components, share of variance that they explain)"""


def measure(autoencoder: Sparse, data: Dataset, components: Components | None) -> Iterator[tuple[str, Metric]]:
    """Yields (name, metric) of the test split, beside PCA with as many components as a sample has active features."""
    features = encode(autoencoder, data.test)
    baselines = {} if components is None else {f"PCA {autoencoder.count}": explain_by_pca(components, data)[-1][1]}
    explained = explain_by_features(autoencoder, data, [autoencoder.count])[0][1]
    yield "explained_variance", make_metric(explained, "share of the variance", baselines)
    yield "active_features", make_metric(float((features > 0).sum(1).mean()), f"of {features.shape[1]}, a sample", {})
    dead = float((features <= 0).all(0).mean())
    yield "dead_features", make_metric(dead, f"share of features, in {len(features)} samples", {})


def explain_by_features(autoencoder: Sparse, data: Dataset, counts: list[int]) -> Curve:
    """Explained variance of the test split when only so many of a sample's features, the largest, are kept."""
    test, units = pca.scale_samples(data.test, autoencoder.units), autoencoder.units
    total = float(np.mean((test - pca.scale_samples(data.train, units).mean(0)) ** 2))
    features = torch.from_numpy(encode(autoencoder, data.test))
    curve = []
    for count in counts:
        with torch.inference_mode():
            output = autoencoder.decode(TopK(count)(features)).numpy()
        error = float(np.mean((test - pca.scale_samples(output, units)) ** 2))
        curve.append((count, 1 - error / total))
    return curve


def explain_by_pca(components: Components, data: Dataset) -> Curve:
    """Explained variance of the test split by 1, 2, ... principal components of the train split."""
    errors = components.errors(data.test)
    return [(count, 1 - float(error / errors[0])) for count, error in enumerate(errors) if count]


def curve_sizes(count: int) -> list[int]:
    """1, 2, 4, ... and `count` itself."""
    return sorted({*(2**power for power in range(count.bit_length()) if 2**power < count), count})


def feature_pictures(autoencoder: Sparse, data: Dataset, number: int) -> tuple[Array, Array]:
    """What the most frequent features add to a scaled sample, float32 [n,H,W] or of vectors [n,D], and their shares.

    A share, float64 [n], is that of the test samples that have the feature; they fall.
    """
    features = encode(autoencoder, data.test)
    shares = (features > 0).mean(0)
    order = np.argsort(-shares, kind="stable")[:number]
    linear = next(autoencoder.decoder.children())
    directions = linear.weight.detach().t().numpy()[order]  # type: ignore[operator]
    if data.modality == "image":
        height, width, channels = data.sample_shape
        directions = directions.reshape(-1, channels, height, width).mean(1)
    return directions, shares[order]
