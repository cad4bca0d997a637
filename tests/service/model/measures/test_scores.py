"""Scores: each component against a plain loop, ranks above the largest, files that do not fit."""

import math

import numpy as np
import pytest

from service.model.files.array_files import to_bytes
from service.model.manifest import ScoreFile
from service.model.measures import scores
from service.model.measures.scores import COMPONENTS, Pathway, Score

GENERATOR = np.random.default_rng(0)
COUNT, LATENT = 7, 4


def make_pathway(count: int = COUNT) -> Pathway:
    samples = GENERATOR.random((count, 28, 14, 1))
    return Pathway(
        samples,
        GENERATOR.normal(0, 0.1, (count, 28 * 14)),
        GENERATOR.standard_normal((count, LATENT)),
        GENERATOR.standard_normal((count, LATENT)),
    )


def entry(*components: str) -> ScoreFile:
    return ScoreFile.model_validate(
        {"components": components, "file": "score.npz", "sha256": "0" * 64, "quantiles": range(101), "samples": 50}
    )


def test_error_and_error_by_energy_are_means_over_a_sample() -> None:
    pathway = make_pathway()
    for row in range(COUNT):
        error = sum(value**2 for value in pathway.differences[row]) / 392
        energy = sum(value**2 for value in pathway.samples[row].ravel()) / 392
        assert COMPONENTS["error"](pathway, {})[row] == pytest.approx(error)
        assert COMPONENTS["error-by-energy"](pathway, {})[row] == pytest.approx(error / energy)


def test_an_empty_picture_that_is_reconstructed_well_is_not_unusual() -> None:
    empty = Pathway(np.zeros((1, 4, 4, 1)), np.zeros((1, 16)), np.zeros((1, 2)), np.zeros((1, 2)))
    assert COMPONENTS["error-by-energy"](empty, {})[0] == 0


def test_the_pathway_of_all_axes_is_the_mahalanobis_distance() -> None:
    differences = GENERATOR.standard_normal((200, 5)) @ GENERATOR.standard_normal((5, 5))
    covariance = np.cov(differences, rowvar=False)
    variance, axes = np.linalg.eigh(covariance)
    pathway = Pathway(np.zeros((200, 3)), differences[:, :3], differences[:, 3:], np.zeros((200, 2)))
    parameters = {"mean": np.zeros(5), "axes": axes.T[1:], "variance": variance[1:], "rest": variance[0]}
    expected = [row @ np.linalg.inv(covariance) @ row / 5 for row in differences]
    np.testing.assert_allclose(COMPONENTS["pathway"](pathway, parameters), expected, rtol=1e-9)


def test_the_latent_distance_is_the_mahalanobis_distance() -> None:
    pathway = make_pathway()
    precision = np.linalg.inv(np.cov(GENERATOR.standard_normal((30, LATENT)), rowvar=False))
    parameters = {"mean": np.ones(LATENT), "whitening": np.linalg.cholesky(precision)}
    expected = [(row - 1) @ precision @ (row - 1) / LATENT for row in pathway.latents]
    np.testing.assert_allclose(COMPONENTS["latent-distance"](pathway, parameters), expected, rtol=1e-9)


@pytest.mark.parametrize("count", [2, 5, 40])
def test_neighbours_are_the_nearest_references(count: int) -> None:
    pathway = make_pathway()
    references = GENERATOR.standard_normal((count, LATENT))
    deviation = np.array([1.0, 2.0, 0.5, 1.0])
    parameters = {"references": references, "deviation": deviation}
    for row, value in zip(pathway.latents, COMPONENTS["latent-neighbours"](pathway, parameters), strict=True):
        distances = sorted(math.dist(row / deviation, reference) for reference in references)[:5]
        assert value == pytest.approx(np.mean(distances))


def test_small_pictures_do_not_depend_on_the_contrast() -> None:
    samples = make_pathway().samples
    features = scores.input_features(samples)
    assert features.shape == (COUNT, 14 * 14)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1)
    np.testing.assert_allclose(scores.input_features(samples / 3), features)
    parameters = {"references": features[:1]}
    assert COMPONENTS["input-neighbours"](make_pathway(), parameters).shape == (COUNT,)


def test_ranks_rise_beyond_all_held_out_samples() -> None:
    quantiles = np.linspace(0, 10, 101)
    ranks = scores.rank(np.array([-1.0, 5.0, 10.0, 20.0, 1e9]), quantiles)
    np.testing.assert_allclose(ranks[:3], [0, 0.5, 1])
    assert 1 < ranks[3] < ranks[4] < 25


def test_several_components_are_the_mean_of_their_ranks() -> None:
    pathway = make_pathway()
    quantiles = {
        f"{name}.quantiles": np.quantile(COMPONENTS[name](pathway, {}), np.linspace(0, 1, 101))
        for name in ("error", "error-by-energy")
    }
    score = Score(("error", "error-by-energy"), quantiles)
    expected = [
        scores.rank(COMPONENTS[name](pathway, {}), quantiles[f"{name}.quantiles"])
        for name in ("error", "error-by-energy")
    ]
    np.testing.assert_allclose(score.compute(pathway), np.mean(expected, axis=0))
    assert not score.needs_latents


def test_a_file_that_does_not_fit_the_model_is_refused() -> None:
    arrays = {
        "latent-distance.mean": np.zeros(LATENT),
        "latent-distance.whitening": np.eye(LATENT),
    }
    read = scores.read(entry("latent-distance"), to_bytes(arrays), (28, 14, 1), LATENT)
    assert read.compute(make_pathway()).shape == (COUNT,)
    with pytest.raises(ValueError, match="do not fit"):
        scores.read(entry("latent-distance"), to_bytes(arrays), (28, 14, 1), 5)
    with pytest.raises(ValueError, match="do not fit"):
        scores.read(entry("pathway"), to_bytes(arrays), (28, 14, 1), LATENT)
    with pytest.raises(ValueError, match="samples of one size"):
        scores.read(entry("latent-distance"), to_bytes(arrays), ("h", "w", 1), 0)
    broken = arrays | {"latent-distance.mean": np.full(LATENT, np.nan)}
    with pytest.raises(ValueError, match="no number"):
        scores.read(entry("latent-distance"), to_bytes(broken), (28, 14, 1), LATENT)
    with pytest.raises(ValueError, match=r"no.* \.npz"):
        scores.read(entry("error"), b"PK\x03\x04 nothing", (28, 14, 1), LATENT)
