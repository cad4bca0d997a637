"""Nearest neighbours: whether samples that lie close in the latent are of one class.

latents of train and test, classes -> nearest training sample of each test sample -> share of the same class

A latent that separates classes, which no training knew of, is of use to search and to classifiers (Cover & Hart,
"Nearest neighbor pattern classification", IEEE Trans. Inf. Theory 13, 1967).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from service.model.manifest import Metric
from service.model.measures.standard_units import StandardUnits
from training.data.datasets import Dataset
from training.evaluation.baselines import pca
from training.evaluation.baselines.pca import Components
from training.evaluation.metrics import make_metric

Array = NDArray[Any]

MAX_TRAIN, MAX_TEST = 20_000, 5_000  # samples that are compared, the first of each split
METRIC = "nearest_neighbour_accuracy"
UNIT = "share of test samples whose nearest training sample is of their class"


def measure_neighbours(
    train_latents: Array, test_latents: Array, data: Dataset, components: Components | None, units: StandardUnits | None
) -> Iterator[tuple[str, Metric]]:
    """Yields (METRIC, metric), beside the same share by PCA, by the samples themselves, and by the largest class.

    Nothing where the data name no classes.

    Args:
        train_latents, test_latents: float [N,...] of the first MAX_TRAIN and MAX_TEST samples.
        components: of the train split; None where PCA has no meaning.
    """
    if data.train_labels is None or data.test_labels is None:
        return
    train_labels, test_labels = data.train_labels[:MAX_TRAIN], data.test_labels[:MAX_TEST]
    train, test = data.train[:MAX_TRAIN], data.test[:MAX_TEST]
    names, counts = np.unique(data.train_labels, return_counts=True)
    baselines = {"largest class": float(np.mean(test_labels == names[counts.argmax()]))}
    spaces = {"the samples themselves": (pca.scale_samples(train, units), pca.scale_samples(test, units))}
    if components is not None:
        count = len(components.axes)
        spaces[f"PCA {count}"] = components.project(train, count), components.project(test, count)
    for name, (known, asked) in spaces.items():
        baselines[name] = _score(known, asked, train_labels, test_labels)
    share = _score(train_latents[:MAX_TRAIN], test_latents[:MAX_TEST], train_labels, test_labels)
    yield METRIC, make_metric(share, UNIT, baselines)


def _score(train: Array, test: Array, train_labels: NDArray[np.str_], test_labels: NDArray[np.str_]) -> float:
    known, asked = (samples.reshape(len(samples), -1).astype(np.float32) for samples in (train, test))
    classifier = KNeighborsClassifier(1, algorithm="brute").fit(known, train_labels)
    return float(np.mean(classifier.predict(asked) == test_labels))
