"""Sparse latents as pairs of indices and values."""

import numpy as np
import pytest

from service.errors import InvalidInput
from service.model.measures import sparse


def make_latents(count: int = 5, size: int = 50, active: int = 7) -> np.ndarray:
    generator = np.random.default_rng(0)
    latents = np.zeros((count, size), np.float32)
    for row in latents:
        row[generator.choice(size, active, replace=False)] = generator.random(active) + 0.1
    return latents


def test_the_largest_come_first_and_all_of_them_are_the_latent() -> None:
    latents = make_latents()
    indices, values = sparse.find_largest(latents, 7, 50)
    assert indices.shape == values.shape == (5, 7)
    assert (np.diff(values, axis=1) <= 0).all()
    np.testing.assert_array_equal(sparse.spread(indices, values, 50, "x"), latents)
    indices, values = sparse.find_largest(latents, 3, 50)
    np.testing.assert_array_equal(values, -np.sort(-latents, axis=1)[:, :3])
    assert sparse.find_largest(latents, 500, 50)[0].shape == (5, 50)


def test_negative_numbers_count_by_their_magnitude() -> None:
    indices, values = sparse.find_largest(np.array([[0.0, -3, 2, 0]], np.float32), 2, 4)
    assert indices.tolist() == [[1, 2]]
    assert values.tolist() == [[-3, 2]]


def test_what_follows_the_features_is_always_there() -> None:
    latents = np.concatenate([make_latents(), np.full((5, 2), 0.01, np.float32)], axis=1)
    indices, values = sparse.find_largest(latents, 7, 50)
    assert indices[:, 7:].tolist() == [[50, 51]] * 5
    np.testing.assert_array_equal(sparse.spread(indices, values, 52, "x"), latents)


def test_one_array_holds_both() -> None:
    pair = sparse.join(*sparse.find_largest(make_latents(), 4, 50))
    assert pair.shape == (5, 2, 4)
    assert pair.dtype == np.float32
    assert sparse.join(np.array([[1 << 25]]), np.array([[1.0]], np.float32)).dtype == np.float64


@pytest.mark.parametrize(
    ("indices", "values", "sentence"),
    [
        ([[1, 2]], [[1.0]], r"indices \[1, 2\] and values \[1, 1\]"),
        ([[1, 50]], [[1.0, 2]], "the index 50; indices are whole numbers below 50"),
        ([[1, -1]], [[1.0, 2]], "the index -1"),
        ([[1, 1.5]], [[1.0, 2]], "the index 1.5"),
        ([[1, np.nan]], [[1.0, 2]], "the index nan"),
        ([[3, 1, 3]], [[1.0, 2, 3]], "the index 3 twice"),
        ([[]], [[]], r"both must be \[N,k\]"),
    ],
)
def test_pairs_that_mean_nothing_are_refused(indices: list[object], values: list[object], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        sparse.spread(np.array(indices, np.float64), np.array(values, np.float64), 50, "the body")


def test_explained_variance_is_one_for_the_same_and_zero_for_the_mean() -> None:
    mean = np.array([1.0, 2, 3])
    batch = np.array([[2.0, 2, 3], [4, 0, 3], [1, 2, 3]], np.float32)
    assert sparse.measure_explained_variance(batch, batch, mean).tolist() == [1, 1, 0]
    assert sparse.measure_explained_variance(batch, np.tile(mean, (3, 1)), mean).tolist() == [0, 0, 0]
    assert sparse.measure_explained_variance(batch[:1], batch[:1] + 1, mean)[0] == pytest.approx(-2)
