"""Made anomalies: shapes, dtypes, that they differ from what they are made of, and that a seed repeats them."""

import numpy as np
import pytest

from training.evaluation.anomalies import PICTURES, VECTORS, make_anomalies

GENERATOR = np.random.default_rng(0)
SAMPLES = {
    "drawings": (GENERATOR.random((6, 28, 28, 1)) ** 4 * 255).astype(np.uint8),
    "colour, not square": GENERATOR.integers(0, 256, (5, 9, 14, 3), np.uint8),
    "tiny": GENERATOR.integers(0, 256, (3, 2, 1, 1), np.uint8),
    "one": GENERATOR.integers(0, 256, (1, 8, 8, 1), np.uint8),
    "vectors": GENERATOR.standard_normal((20, 30)),
    "two columns": GENERATOR.standard_normal((20, 2)),
    "one column": GENERATOR.standard_normal((20, 1)),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_samples_look_like_samples(name: str) -> None:
    samples = SAMPLES[name]
    before = samples.copy()
    damaged = dict(make_anomalies(samples, np.random.default_rng(1)))
    assert list(damaged) == list(PICTURES if samples.ndim == 4 else VECTORS)
    for way, result in damaged.items():
        assert (result.shape, result.dtype) == (samples.shape, samples.dtype), way
    np.testing.assert_array_equal(samples, before)
    again = dict(make_anomalies(samples, np.random.default_rng(1)))
    for way, result in damaged.items():
        np.testing.assert_array_equal(result, again[way])


@pytest.mark.parametrize("name", ["drawings", "colour, not square", "vectors"])
def test_every_way_changes_nearly_every_sample(name: str) -> None:
    samples = SAMPLES[name]
    for way, result in make_anomalies(samples, np.random.default_rng(1)):
        is_changed = (result != samples).reshape(len(samples), -1).any(axis=1)
        assert is_changed.mean() > 0.7, way


def test_shuffled_patches_are_the_same_pixels() -> None:
    drawings = SAMPLES["drawings"]
    damaged = dict(make_anomalies(drawings, np.random.default_rng(1)))
    for way in ("turned", "upside down", "quarters shuffled", "sixteenths shuffled", "moved"):
        for before, after in zip(drawings, damaged[way], strict=True):
            np.testing.assert_array_equal(np.sort(before, axis=None), np.sort(after, axis=None))
