"""What each kind minimises, against formulas written out."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.drawings import build_small_recipe, drawings, waves
from training.architectures import kinds
from training.architectures.variational import Variational
from training.engine import objectives
from training.engine.losses import LossAndError
from training.engine.objectives import Samples, binarize, estimate_contraction
from training.recipe import AutoencoderRecipe

IMAGES, VECTORS = drawings(30)[..., None], waves(30)
SIGMOID = {"type": "dense", "hidden": [16], "latent_dim": 4, "output_activation": "sigmoid"}


def build(recipe: AutoencoderRecipe, samples: np.ndarray) -> tuple[Any, Any, Samples]:
    torch.manual_seed(0)
    autoencoder = kinds.build(recipe, samples).eval()
    scaled = autoencoder.scaling(torch.from_numpy(samples))
    goal = objectives.build(recipe, autoencoder, tuple(scaled.shape[1:]))
    return autoencoder, goal, Samples(scaled, scaled, torch.zeros_like(scaled, dtype=torch.bool))


def measure(goal: objectives.Objective, network: nn.Module, samples: Samples, progress: float) -> LossAndError:
    """Loss, and the error that is reported, which the loss is where it has none."""
    outcome = goal.loss(network, samples, progress, seeded())
    return outcome if isinstance(outcome, LossAndError) else LossAndError(outcome, outcome)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_the_bound_is_cross_entropy_plus_beta_times_the_divergence() -> None:
    recipe = build_small_recipe(
        "x", kind="variational", architecture=SIGMOID, optimization={"epochs": 1, "loss": "bce"},
        variational={"beta": 3, "warmup": 0.5},
    )  # fmt: skip
    autoencoder, goal, samples = build(recipe, IMAGES)
    assert isinstance(autoencoder, Variational)
    mean, log_variance = autoencoder.infer(samples.clean)
    noise = torch.randn(mean.shape, generator=seeded())
    output = autoencoder.activate(autoencoder.decoder(mean + (log_variance / 2).exp() * noise))
    entropy = F.binary_cross_entropy(output, samples.clean, reduction="sum") / 30
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum() / 30
    for progress, beta in ((0.0, 0.0), (0.25, 1.5), (0.9, 3.0)):
        loss, error = measure(goal, goal.network, samples, progress)
        torch.testing.assert_close(loss, entropy + beta * kl)
        torch.testing.assert_close(error, entropy + 3 * kl)
    with torch.inference_mode():
        assert goal.validate(goal.network, samples, seeded()) == pytest.approx(float(entropy + 3 * kl), rel=1e-5)


def test_values_are_normal_with_the_variance_that_suits_the_batch() -> None:
    recipe = build_small_recipe("x", kind="variational", architecture={"type": "dense", "latent_dim": 4})
    autoencoder, goal, samples = build(recipe, VECTORS)
    reconstruction, _ = goal.terms(goal.network, samples.clean, seeded())
    mean, log_variance = autoencoder.infer(samples.clean)
    output = autoencoder.decoder(mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=seeded()))
    deviation = (output - samples.clean).square().mean().sqrt()
    density = torch.distributions.Normal(output, deviation).log_prob(samples.clean)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(reconstruction, -density.sum(1).mean())


def test_pixels_are_drawn_with_their_grey_as_the_probability() -> None:
    pixels = torch.tensor([0.0, 0.25, 1.0]).expand(4000, 3)
    drawn = binarize(pixels, seeded())
    assert set(drawn.unique().tolist()) == {0.0, 1.0}  # type: ignore[no-untyped-call]
    assert drawn[:, 0].sum() == 0
    assert drawn[:, 2].sum() == 4000
    assert drawn[:, 1].mean() == pytest.approx(0.25, abs=0.03)


def test_the_contraction_is_the_norm_of_the_jacobian() -> None:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.BatchNorm1d(5), nn.Sigmoid()).train()
    scaled = torch.rand(2, 1, 3, 3)
    generators = [torch.Generator().manual_seed(seed) for seed in range(800)]
    draws = [float(estimate_contraction(encoder, scaled, generator).detach()) for generator in generators]
    assert encoder.training
    encoder.eval()
    jacobians = [torch.autograd.functional.jacobian(encoder, sample[None]).flatten() for sample in scaled]  # type: ignore[no-untyped-call]
    expected = float(torch.stack([jacobian.square().sum() for jacobian in jacobians]).mean())
    assert np.mean(draws) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    "sections",
    [
        {"architecture": {"type": "dense", "latent_dim": 4, "tied": True, "latent_activation": "sigmoid"}},
        {"kind": "variational", "architecture": {"type": "convolutional", "channels": [4], "encoder_blocks": [0],
                                                 "decoder_blocks": [0], "latent_dim": 4}},
        {"kind": "sparse", "architecture": {"type": "dense", "latent_dim": 16}, "sparsity": {"active": 4}},
        {"kind": "denoising", "corruption": [{"kind": "masking", "level": [0.1, 0.2]}],
         "architecture": {"type": "dense", "latent_dim": 4, "tied": True}},
    ],
    ids=["undercomplete", "variational", "sparse", "denoising"],
)  # fmt: skip
def test_every_kind_can_have_the_penalty(sections: dict[str, Any]) -> None:
    plain_recipe = build_small_recipe("x", **sections)
    recipe = build_small_recipe("x", {"optimization.contraction": 5.0}, **sections)
    autoencoder, goal, samples = build(recipe, IMAGES)
    _, plain, _ = build(plain_recipe, IMAGES)
    with_penalty, without = (measure(g, g.network, samples, 0.5).loss for g in (goal, plain))
    assert with_penalty > without
    weight = next(autoencoder.encoder.parameters())
    (gradient,) = torch.autograd.grad(with_penalty - without.detach(), weight)
    assert gradient.abs().sum() > 0
    with torch.inference_mode():
        assert goal.validate(goal.network, samples, seeded()) > plain.validate(plain.network, samples, seeded())


def test_the_sparse_error_is_the_mean_square_until_features_are_dead() -> None:
    recipe = build_small_recipe(
        "x", kind="sparse", architecture={"type": "dense", "latent_dim": 200}, sparsity={"active": 2, "dead_after": 30}
    )
    autoencoder, goal, samples = build(recipe, IMAGES)
    expected = F.mse_loss(autoencoder(samples.clean), samples.clean)
    network = goal.network.train()
    for _ in range(2):
        torch.testing.assert_close(measure(goal, network, samples, 0.0).loss, expected)
    with_dead, error = measure(goal, network, samples, 0.0)
    assert with_dead > expected
    torch.testing.assert_close(error, expected)
    assert math.isfinite(float(with_dead.detach()))


def test_the_reported_error_is_the_mean_square_whatever_the_loss() -> None:
    architecture = {"type": "dense", "latent_dim": 4, "output_activation": "sigmoid"}
    recipe = build_small_recipe("x", architecture=architecture, optimization={"epochs": 1, "loss": "bce"})
    autoencoder, goal, samples = build(recipe, IMAGES)
    loss, error = measure(goal, goal.network, samples, 0.0)
    assert loss > error
    torch.testing.assert_close(error, F.mse_loss(autoencoder(samples.clean), samples.clean).detach())
    with torch.inference_mode():
        assert goal.validate(goal.network, samples, seeded()) == pytest.approx(float(error))
