"""Choice of a score: what is chosen is the best on validation, keeps its rate on test, and fits the package."""

import numpy as np
import pytest

from service.model import package
from service.model.measures import scores
from service.model.measures.standard_units import StandardUnits
from service.model.runtime import Model
from tests.drawings import waves
from tests.training.export import packages
from training.evaluation import scores as choice
from training.evaluation.scores import compare
from training.recipe import Convolutional, Dense

ARCHITECTURES: dict[str, tuple[Dense | Convolutional, np.ndarray]] = {
    "drawings": (Dense(latent_dim=4), packages.IMAGES),
    "drawings, convolutional": (Convolutional(channels=(4, 8), latent_dim=4), packages.IMAGES),
    "vectors": (Dense(latent_dim=3), packages.VECTORS),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_score_is_chosen_for_every_modality(name: str) -> None:
    architecture, samples = ARCHITECTURES[name]
    _, graphs, manifest = packages.export(architecture, samples)
    model = Model(package.verify(manifest, graphs, label="small/1"), "cpu")
    entry, data = choice.choose(model, samples[:60], samples[60:80], samples[80:])
    assert entry.samples == 20
    assert entry.sha256 == package.sha256(data)
    assert entry.name == "input-neighbours"
    assert set(entry.auroc) >= {"error", "latent-distance", "input-neighbours"}
    assert list(entry.quantiles) == sorted(entry.quantiles)
    again, same = choice.choose(model, samples[:60], samples[60:80], samples[80:])
    assert (again, same) == (entry, data)
    score = scores.read(entry, data, model.sample.shape[1:], model.latent_size)
    values = score.compute(choice.trace(model, samples[80:]))
    np.testing.assert_allclose(values.max(), entry.quantiles[-1], rtol=1e-4)


def test_neighbours_are_gone_by_unless_the_network_is_better() -> None:
    generator = np.random.default_rng(0)

    def pairs(shift: float) -> choice.Pairs:
        return {way: (generator.normal(0, 1, 400), generator.normal(shift, 1, 400)) for way in ("noise", "turned")}

    chosen, auroc = compare({"error": pairs(3), "input-neighbours": pairs(1), "made-anomalies": pairs(1)})
    assert chosen == ("input-neighbours",)
    assert auroc["error"] > 0.95 > 0.85 > auroc["input-neighbours"]
    chosen, _ = compare({"error": pairs(3), "input-neighbours": pairs(1), "made-anomalies": pairs(2)})
    assert chosen == ("made-anomalies",)


def test_without_neighbours_the_first_of_the_best_components_is_chosen() -> None:
    generator = np.random.default_rng(0)

    def pairs(shift: float) -> choice.Pairs:
        return {"noise": (generator.normal(0, 1, 400), generator.normal(shift, 1, 400))}

    assert compare({"error": pairs(0.1), "error-by-energy": pairs(3)})[0] == ("error-by-energy",)
    assert compare({"error": pairs(2), "error-by-energy": pairs(2)})[0] == ("error",)


def test_models_of_large_latents_have_neighbours_too() -> None:
    samples = np.random.default_rng(0).random((40, 4, 4, 1))
    latents = np.zeros((40, choice.MOST_LATENTS + 1))
    pathway = scores.Pathway(samples, samples.reshape(40, -1), latents, latents)
    assert list(choice.fit_components(pathway, None)) == ["error", "error-by-energy", "input-neighbours"]
    of_any_size = scores.Pathway(samples, samples.reshape(40, -1), latents[:, :0], latents[:, :0])
    assert list(choice.fit_components(of_any_size, None)) == ["error", "error-by-energy"]


@pytest.mark.parametrize(("unit", "is_one_unit"), [(3.0, True), (1000.0, False)])
def test_columns_of_one_unit_count_by_how_much_they_vary(unit: float, is_one_unit: bool) -> None:
    deviation = np.array([1.0, unit, unit, unit, 1.0, 0.0])
    samples = np.random.default_rng(0).normal(0, 1, (40, 6)) * (deviation > 0)
    pathway = scores.Pathway(samples, samples, samples[:, :2], samples[:, :2])
    parameters = choice.fit_components(pathway, StandardUnits(np.zeros(6), deviation))["input-neighbours"]
    assert ("weights" in parameters) == is_one_unit
    floats = {name: np.asarray(array, np.float64) for name, array in parameters.items()}
    moved = np.zeros((2, 6))
    moved[0, 0], moved[1, 1] = 5, 5  # by five deviations each
    narrow, wide = scores.COMPONENTS["input-neighbours"](scores.Pathway(moved, moved, moved, moved), floats)
    assert (wide > 1.5 * narrow) == is_one_unit


def test_the_network_tells_damaged_samples_apart_and_rises_far_away() -> None:
    generator = np.random.default_rng(0)

    def pathway(shift: float, error: float = 1.0) -> scores.Pathway:
        latents = generator.normal(shift, 1, (300, 3))
        return scores.Pathway(np.ones((300, 2)), np.full((300, 2), error), latents, latents)

    features = {"deviation": np.ones(3)}
    learned = {"moved": scores.network_features(pathway(4), features)}
    usual = scores.network_features(pathway(0), features)
    network = choice.fit_network(choice.Learner(features, usual, learned), (), generator)
    parameters = {name: np.asarray(array, np.float64) for name, array in network.items()}
    compute = scores.COMPONENTS["made-anomalies"]
    normal, unusual = (compute(pathway(shift), parameters) for shift in (0, 4))
    assert np.median(normal) < 0 < np.median(unusual)
    far, farther = (compute(pathway(0, error), parameters) for error in (100, 10_000))
    assert unusual.max() < far.min()
    assert far.max() < farther.min()


def test_many_samples_train_the_network() -> None:
    samples = waves(2400)
    _, graphs, manifest = packages.export(Dense(latent_dim=3), samples)
    model = Model(package.verify(manifest, graphs, label="small/1"), "cpu")
    entry, data = choice.choose(model, samples[:2000], samples[2000:2200], samples[2200:])
    assert "made-anomalies" in entry.auroc
    assert scores.read(entry, data, (30,), 3).components == entry.components
