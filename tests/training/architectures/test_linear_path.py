import numpy as np
import pytest
import torch

from tests.drawings import drawings, waves
from training.architectures import autoencoder as architectures
from training.architectures.autoencoder import Autoencoder
from training.architectures.linear_path import start_at_components
from training.evaluation.baselines import pca
from training.recipe import Convolutional, Dense

ARCHITECTURES = [
    Dense(latent_dim=6, linear_path=True, hidden=(32,), activation="silu"),
    Dense(latent_dim=6, linear_path=True, hidden=(64, 32), batch_norm=True),
    Convolutional(channels=(4, 8), latent_dim=6, linear_path=True, hidden=16),
    Convolutional(channels=(4, 8), latent_dim=6, linear_path=True, head=4),
]


def start(architecture: Dense | Convolutional, samples: np.ndarray, count: int) -> Autoencoder:
    torch.manual_seed(0)
    autoencoder = architectures.build(architecture, samples)
    start_at_components(autoencoder, *pca.fit_for_linear_path(samples, count))
    return autoencoder.eval()


def rough_waves() -> np.ndarray:
    """float64 [150,30] of full rank."""
    noisy: np.ndarray = waves(150) + np.random.default_rng(0).normal(size=(150, 30))
    return noisy


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("data", ["grey", "colour", "vectors"])
def test_before_training_the_autoencoder_is_pca(architecture: Dense | Convolutional, data: str) -> None:
    samples = rough_waves() if data == "vectors" else drawings(150)[..., None]
    if data == "colour":
        samples = np.concatenate([samples, samples // 2, 255 - samples[::-1]], 3)
    autoencoder = start(architecture, samples, 6)
    components = pca.fit(samples, 6)
    assert components is not None
    expected = components.reconstruct(samples, 6)
    with torch.inference_mode():
        scaled = autoencoder.scaling(torch.from_numpy(samples))
        output = autoencoder(scaled)
        latents = autoencoder.encoder(scaled)
    if output.ndim == 4:
        output = output.permute(0, 2, 3, 1)
    np.testing.assert_allclose(output.flatten(1).numpy(), expected, atol=2e-4)
    np.testing.assert_allclose(latents.std(0).numpy(), 1, atol=0.01)


@pytest.mark.parametrize("size", [40, 400])
def test_a_latent_larger_than_the_data_starts_as_a_copy_of_the_input(size: int) -> None:
    samples = waves(150, 12)
    autoencoder = start(Dense(latent_dim=size, linear_path=True, hidden=(8,)), samples, size)
    with torch.inference_mode():
        scaled = autoencoder.scaling(torch.from_numpy(samples))
        torch.testing.assert_close(autoencoder(scaled), scaled, atol=1e-3, rtol=0)


def test_its_layers_learn_though_their_outputs_start_at_zero() -> None:
    samples = drawings(60)[..., None]
    autoencoder = start(Convolutional(channels=(4, 8), latent_dim=4, linear_path=True), samples, 4).train()
    optimizer = torch.optim.Adam(autoencoder.parameters(), 0.01)
    before = {name: parameter.detach().clone() for name, parameter in autoencoder.named_parameters()}
    for _ in range(6):
        scaled = autoencoder.scaling(torch.from_numpy(samples))
        optimizer.zero_grad()
        (autoencoder(scaled) - scaled).square().mean().backward()
        optimizer.step()
    unmoved = [name for name, parameter in autoencoder.named_parameters() if torch.equal(parameter, before[name])]
    assert unmoved == []
