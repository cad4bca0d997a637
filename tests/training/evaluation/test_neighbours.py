from dataclasses import replace

import numpy as np
import pytest

from tests.drawings import waves
from tests.training.export.packages import split_dataset
from training.evaluation.baselines import pca
from training.evaluation.neighbours import METRIC, measure_neighbours

DATA = replace(
    split_dataset(waves(100)),
    train_labels=np.array(["up", "down"] * 30),
    test_labels=np.array(["up"] * 15 + ["down"] * 5),
)


def place(labels: np.ndarray, distance: float) -> np.ndarray:
    """Latents of two classes whose centres are so far apart."""
    noise = np.random.default_rng(0).normal(size=(len(labels), 4))
    latents: np.ndarray = (noise + distance * (labels == "up")[:, None]).astype(np.float32)
    return latents


def test_a_latent_that_separates_the_classes_scores_1_and_chance_is_its_baseline() -> None:
    assert DATA.train_labels is not None
    assert DATA.test_labels is not None
    components = pca.fit(DATA.train, 4)
    train, test = place(DATA.train_labels, 50), place(DATA.test_labels, 50)
    ((name, metric),) = measure_neighbours(train, test, DATA, components, None)
    assert name == METRIC
    assert metric.value == 1
    assert set(metric.baselines) == {"largest class", "the samples themselves", "PCA 4"}
    assert metric.baselines["largest class"] in (0.25, 0.75)
    train, test = place(DATA.train_labels, 0), place(DATA.test_labels, 0)
    ((_, metric),) = measure_neighbours(train, test, DATA, None, None)
    assert metric.value < 0.9
    assert "PCA 4" not in metric.baselines


def test_without_classes_there_is_nothing_to_score() -> None:
    unlabelled = split_dataset(waves(100))
    assert list(measure_neighbours(waves(60), waves(20), unlabelled, None, None)) == []


def test_the_nearest_sample_decides() -> None:
    train, test = np.zeros((60, 1)), np.ones((20, 1))
    train[1] = 0.9  # "down", the one that is nearest to all
    ((_, metric),) = measure_neighbours(train, test, DATA, None, None)
    assert metric.value == pytest.approx(0.25)
