"""Choice of a score: what is chosen is the best on validation, keeps its rate on test, and fits the package."""

import numpy as np
import pytest

from service.model import package, scores
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
    assert entry.auroc[entry.name] >= max(entry.auroc.values()) - 0.12  # a standard error of 20 samples
    assert list(entry.quantiles) == sorted(entry.quantiles)
    again, same = choice.choose(model, samples[:60], samples[60:80], samples[80:])
    assert (again, same) == (entry, data)
    score = scores.read(entry, data, model.sample.shape[1:], model.latent_size)
    values = score.compute(choice.trace(model, samples[80:]))
    np.testing.assert_allclose(values.max(), entry.quantiles[-1], rtol=1e-4)


def test_the_best_component_is_chosen_and_others_only_if_they_help() -> None:
    generator = np.random.default_rng(0)

    def pairs(shift: float) -> choice.Pairs:
        return {way: (generator.normal(0, 1, 400), generator.normal(shift, 1, 400)) for way in ("noise", "turned")}

    chosen, auroc = compare({"error": pairs(0.1), "error-by-energy": pairs(3), "pathway": pairs(0)})
    assert chosen == ("error-by-energy",)
    assert auroc["error-by-energy"] > 0.95 > 0.6 > auroc["error"]
    chosen, auroc = compare({"error": pairs(1), "error-by-energy": pairs(1), "pathway": pairs(-2)})
    assert chosen == ("error", "error-by-energy")
    assert auroc["error+error-by-energy"] > auroc["error"] + 0.02


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
