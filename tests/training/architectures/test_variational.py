"""The variational autoencoder: its posterior, its divergence, and what its package says."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tests.drawings import build_small_recipe, drawings, waves
from training.architectures import kinds
from training.architectures.variational import Draw, Variational, divergence
from training.errors import RecipeError

IMAGES, VECTORS = drawings(8)[..., None], waves(16, 27)
DENSE = {"type": "dense", "hidden": [20], "latent_dim": 5, "output_activation": "sigmoid"}
CONVOLUTIONAL = {"type": "convolutional", "channels": [4, 8], "latent_dim": 5, "output_activation": "sigmoid"}
BCE = {"epochs": 1, "loss": "bce"}


def build(architecture: dict[str, object], samples: np.ndarray, loss: str = "bce") -> Variational:
    recipe = build_small_recipe(
        "x", kind="variational", architecture=architecture, optimization={"epochs": 1, "loss": loss}
    )
    built = kinds.build(recipe, samples)
    assert isinstance(built, Variational)
    return built.eval()


@pytest.mark.parametrize("samples", [IMAGES, VECTORS], ids=["images", "vectors"])
@pytest.mark.parametrize("architecture", [DENSE, CONVOLUTIONAL], ids=["dense", "convolutional"])
def test_the_latent_is_the_mean_of_the_posterior(architecture: dict[str, object], samples: np.ndarray) -> None:
    autoencoder = build(architecture, samples)
    stored = torch.from_numpy(samples)
    mean, log_variance = autoencoder.infer(autoencoder.scaling(stored))
    latent = autoencoder.encode(stored)
    assert latent.shape == log_variance.shape == (len(samples), 5)
    assert torch.equal(latent, mean)
    decoded = autoencoder.decode(latent)
    assert decoded.shape == stored.shape
    assert decoded.dtype == stored.dtype


def test_pixels_are_probabilities_and_vectors_are_values() -> None:
    images, vectors = build(DENSE, IMAGES), build(DENSE, VECTORS)
    assert images.is_bernoulli
    assert not vectors.is_bernoulli
    output = images(images.scaling(torch.from_numpy(IMAGES)))
    assert 0 < output.min() < output.max() < 1


def test_numbers_of_vectors_are_not_made_0_or_1() -> None:
    recipe = build_small_recipe(
        "x", kind="variational", architecture=DENSE, optimization=BCE, variational={"binarize": True}
    )
    assert kinds.build(recipe, IMAGES)
    with pytest.raises(RecipeError, match="binarize is for images"):
        kinds.build(recipe, VECTORS)


def test_without_noise_the_draw_is_the_reconstruction() -> None:
    autoencoder = build(DENSE, IMAGES)
    scaled = autoencoder.scaling(torch.from_numpy(IMAGES))
    packed = torch.cat([scaled.flatten(1), torch.zeros(8, 5)], 1)
    logits, mean, log_variance = Draw(autoencoder, (1, 12, 12))(packed).split([144, 5, 5], 1)
    torch.testing.assert_close(logits.sigmoid(), autoencoder(scaled).flatten(1))
    torch.testing.assert_close(torch.stack([mean, log_variance]), torch.stack(autoencoder.infer(scaled)))


def test_the_divergence_is_that_of_two_normal_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(2, 6, 4, generator=generator)
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0, 1))
    torch.testing.assert_close(divergence(mean, log_variance), expected)
