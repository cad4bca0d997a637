"""A training run of each kind: what its package holds, beside what its card shows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.model import package
from service.model.manifest import Manifest
from service.model.runtime import Model
from tests.drawings import build_small_recipe, drawings, waves
from training import train_autoencoder
from training.data import datasets

BERNOULLI = {"epochs": 30, "batch_size": 32, "learning_rate": 5e-3, "loss": "bce"}


def run(tmp_path: Path, samples: np.ndarray, **sections: Any) -> tuple[Path, Manifest]:
    np.save(tmp_path / "samples.npy", samples)
    recipe = build_small_recipe(tmp_path / "samples.npy", **sections)
    data = datasets.load(recipe.data)
    out = tmp_path / "models" / "small"
    directory = train_autoencoder.run(recipe, data, out, tmp_path / "runs", torch.device("cpu"))
    return directory, package.read(directory).manifest


def test_a_variational_autoencoder_beside_a_plain_one(tmp_path: Path) -> None:
    directory, manifest = run(
        tmp_path,
        drawings(150),
        kind="variational",
        architecture={"type": "dense", "hidden": [64], "latent_dim": 6, "output_activation": "sigmoid"},
        optimization=BERNOULLI,
        variational={"binarize": True, "importance_samples": 200, "beta": 0.5},
        ablation=[{"name": "plain", "set": {"kind": "stacked", "variational": "none"}}],
    )
    assert manifest.kind == "variational"
    evaluation = manifest.evaluation
    assert evaluation["negative_log_likelihood"].value < evaluation["negative_elbo"].value
    assert evaluation["active_latents"].value > 0
    assert evaluation["reconstruction_mse"].baselines["plain"] > 0
    assert "plain" not in evaluation["negative_elbo"].baselines
    card = (directory / "README.md").read_text()
    for picture in ("samples.png", "walks.png", "reconstructions.png"):
        assert (directory / picture).read_bytes().startswith(b"\x89PNG")
        assert picture in card


@pytest.mark.parametrize("samples", [drawings(150), waves(150)], ids=["images", "vectors"])
def test_a_sparse_autoencoder_has_few_active_features(tmp_path: Path, samples: np.ndarray) -> None:
    directory, manifest = run(
        tmp_path,
        samples,
        kind="sparse",
        architecture={"type": "dense", "latent_dim": 100},
        optimization={"epochs": 20, "batch_size": 16, "learning_rate": 5e-3},
        sparsity={"active": 8, "dead_after": 300},
    )
    assert manifest.evaluation["explained_variance"].value > 0.3
    assert 0 < manifest.evaluation["active_features"].value <= 8
    assert 0 <= manifest.evaluation["dead_features"].value < 1
    assert "PCA 8" in manifest.evaluation["explained_variance"].baselines
    for picture in ("features.png", "explained_variance.png"):
        assert (directory / picture).read_bytes().startswith(b"\x89PNG")
    model = Model(package.read(directory), "cpu")
    features = model.encode(np.atleast_3d(samples)[..., None] if samples.ndim == 3 else samples)
    assert ((features > 0).sum(1) <= 8).all()


def test_the_penalty_makes_the_encoder_contract(tmp_path: Path) -> None:
    _, manifest = run(
        tmp_path,
        drawings(150),
        architecture={"type": "dense", "latent_dim": 16, "latent_activation": "sigmoid", "tied": True},
        optimization={"epochs": 20, "batch_size": 16, "learning_rate": 3e-3, "contraction": 10.0},
        ablation=[{"name": "without", "set": {"optimization.contraction": 0}}],
    )
    contraction = manifest.evaluation["contraction"]
    assert contraction.value < 0.7 * contraction.baselines["without"]


def test_values_of_a_variational_autoencoder_may_have_bounds_below_zero(tmp_path: Path) -> None:
    directory, manifest = run(
        tmp_path,
        waves(150),
        kind="variational",
        architecture={"type": "dense", "hidden": [64], "latent_dim": 3},
        optimization={"epochs": 60, "batch_size": 16, "learning_rate": 5e-3},
    )
    assert (
        manifest.evaluation["reconstruction_mse"].value
        < 0.3 * manifest.evaluation["reconstruction_mse"].baselines["mean of train"]
    )
    assert "negative_elbo" not in manifest.evaluation
    assert (directory / "learning_curve.png").is_file()
