"""Bounds and likelihoods against a model whose likelihood is known."""

import math

import numpy as np
import pytest
import torch

from tests.drawings import build_small_recipe, drawings
from tests.training.export.packages import split_dataset
from training.architectures import kinds
from training.architectures.variational import Variational
from training.evaluation.kind_metrics import variational

IMAGES = drawings(100)[..., None]
ARCHITECTURE = {"type": "dense", "latent_dim": 2, "output_activation": "sigmoid"}


def build() -> Variational:
    torch.manual_seed(0)
    recipe = build_small_recipe(
        "x", kind="variational", architecture=ARCHITECTURE, optimization={"epochs": 1, "loss": "bce"}
    )
    built = kinds.build(recipe, IMAGES)
    assert isinstance(built, Variational)
    return built.eval()


def test_the_likelihood_by_importance_sampling_is_the_integral() -> None:
    autoencoder = build()
    with torch.no_grad():
        autoencoder.decoder[0][0].weight.mul_(3)  # type: ignore[index]  # so that the latent matters
    binary = (autoencoder.scaling(torch.from_numpy(IMAGES[:3])) > 0.5).float()
    axis = torch.linspace(-6, 6, 241)
    grid = torch.cartesian_prod(axis, axis)
    with torch.inference_mode():
        logits = autoencoder.decoder(grid).flatten(1)
    log_prior = -0.5 * grid.square().sum(1) - math.log(2 * math.pi)
    cell = 2 * math.log(float(axis[1] - axis[0]))
    for index, value in enumerate(variational.estimate_likelihood(autoencoder, binary, 20_500, seeded())):
        target = binary[index].flatten()
        log_sample = logits @ target - torch.nn.functional.softplus(logits).sum(1)
        expected = -float(torch.logsumexp(log_sample + log_prior + cell, 0))
        assert float(value) == pytest.approx(expected, abs=0.15)


def test_the_bound_is_above_the_likelihood() -> None:
    autoencoder = build()
    binary = (autoencoder.scaling(torch.from_numpy(IMAGES)) > 0.5).float()
    kl, bound = variational.estimate_bound(autoencoder, binary, seeded())
    assert (kl >= 0).all()
    assert bound.mean() > variational.estimate_likelihood(autoencoder, binary, 50, seeded()).mean()


def test_likelihoods_are_measured_only_where_pixels_are_made_0_or_1() -> None:
    changes = {"variational.binarize": True, "variational.importance_samples": 7}
    sections = {"kind": "variational", "architecture": ARCHITECTURE, "optimization": {"epochs": 1, "loss": "bce"}}
    names = [
        {
            name
            for name, _ in variational.measure(build_small_recipe("x", c, **sections), build(), split_dataset(IMAGES))
        }
        for c in ({}, changes)
    ]
    assert names[0] == {"active_latents", "divergence"}
    assert names[1] == {"active_latents", "divergence", "negative_elbo", "negative_log_likelihood"}


def test_the_likelihood_of_a_part_is_near_that_of_all() -> None:
    data = split_dataset(drawings(100, seed=1)[..., None])
    sections = {"kind": "variational", "architecture": ARCHITECTURE, "optimization": {"epochs": 1, "loss": "bce"}}
    options = {"variational.binarize": True, "variational.importance_samples": 200}
    values = []
    for limit in (0, 12):
        recipe = build_small_recipe("x", {**options, "variational.importance_test": limit}, **sections)
        assert recipe.digest == build_small_recipe("x", {"variational.binarize": True}, **sections).digest
        values.append(dict(variational.measure(recipe, build(), data)))
    whole, part = (metrics["negative_log_likelihood"].value for metrics in values)
    assert "likelihood_standard_error" not in values[0]
    error = values[1]["likelihood_standard_error"].value
    assert 0 < error < 5
    assert abs(whole - part) < 5 * error + 0.1


def test_draws_repeat_with_their_seed_and_walks_end_at_the_reconstructions() -> None:
    autoencoder = build()
    drawn = variational.draw_from_prior(autoencoder, 5, 3)
    assert drawn.shape == (5, 12, 12, 1)
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn, variational.draw_from_prior(autoencoder, 5, 3))
    assert (drawn != variational.draw_from_prior(autoencoder, 5, 4)).any()
    (pair,) = variational.choose_walks(IMAGES[:3], 2)
    steps = variational.walk(autoencoder, *pair, 4)
    ends = autoencoder.decode(autoencoder.encode(torch.from_numpy(IMAGES[:2]))).detach().numpy()
    np.testing.assert_array_equal(steps[[0, -1]], ends)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(2)
