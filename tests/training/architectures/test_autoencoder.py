import numpy as np
import pytest
import torch

from tests.drawings import drawings, waves
from training.architectures.autoencoder import PixelScaling, build
from training.architectures.standardization import Standardization
from training.recipe import Convolutional, Dense

IMAGES = drawings(8)[..., None]
ODD = np.random.default_rng(0).integers(0, 256, (4, 13, 18, 3), dtype=np.uint8)
VECTORS = waves(16, 27)

ARCHITECTURES = [
    Dense(latent_dim=5),
    Dense(latent_dim=5, hidden=(20, 10), tied=True, activation="tanh", latent_activation="relu"),
    Dense(latent_dim=5, hidden=(20,), batch_norm=True, output_activation="sigmoid"),
    Dense(latent_dim=5, hidden=(20,), centered=True),
    Convolutional(latent_dim=5, channels=(4, 8), hidden=16),
    Convolutional(latent_dim=5, channels=(4,), encoder_blocks=(1,), decoder_blocks=(0,)),
    Convolutional(latent_channels=3, channels=(4, 8)),
]


@pytest.mark.parametrize("samples", [IMAGES, ODD, VECTORS], ids=["grey", "odd-sized colour", "vectors"])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_samples_go_in_and_samples_of_the_same_shape_come_out(
    architecture: Dense | Convolutional, samples: np.ndarray
) -> None:
    autoencoder = build(architecture, samples).eval()
    latent = autoencoder.encode(torch.from_numpy(samples))
    output = autoencoder.decode(latent).detach().numpy()
    assert output.shape == samples.shape
    assert output.dtype == samples.dtype
    assert latent.dtype == torch.float32
    assert latent.shape[0] == len(samples)
    if getattr(architecture, "latent_dim", None):
        assert latent.shape == (len(samples), 5)


@pytest.mark.parametrize("samples", [IMAGES, ODD, VECTORS], ids=["grey", "odd-sized colour", "vectors"])
def test_a_centred_encoder_sees_the_train_split_with_mean_zero(samples: np.ndarray) -> None:
    autoencoder = build(Dense(latent_dim=5, centered=True), samples)
    assert isinstance(autoencoder.encoder, torch.nn.Sequential)
    features = autoencoder.encoder[0](autoencoder.scaling(torch.from_numpy(samples)))
    assert features.shape == (len(samples), samples[0].size)
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-5)
    assert features.std() > 0.1


def test_a_spatial_latent_keeps_the_places() -> None:
    autoencoder = build(Convolutional(latent_channels=3, channels=(4, 8)), IMAGES).eval()
    assert autoencoder.encode(torch.from_numpy(IMAGES)).shape == (8, 3, 3, 3)


def test_pixels_survive_the_scaling_there_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    scaled = PixelScaling()(levels)
    assert scaled.shape == (1, 1, 16, 16)
    assert (scaled.min().item(), scaled.max().item()) == (0.0, 1.0)
    assert torch.equal(PixelScaling().inverse(scaled), levels)
    assert PixelScaling().inverse(torch.tensor([[[[-3.0, 7.0]]]])).flatten().tolist() == [0, 255]


def test_vectors_are_standardised_and_a_constant_number_does_no_harm() -> None:
    vectors = np.concatenate([VECTORS, np.full((16, 1), 3, np.float32)], 1)
    scaling = Standardization(vectors)
    scaled = scaling(torch.from_numpy(vectors))
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled[:, :-1].std(0, correction=0), 1, rtol=1e-4)
    assert torch.equal(scaled[:, -1], torch.zeros(16))
    np.testing.assert_allclose(scaling.inverse(scaled), vectors, atol=1e-5)


def test_tied_weights_are_the_encoders_transposed_and_counted_once() -> None:
    free, tied = (build(Dense(latent_dim=5, hidden=(20,), tied=t), IMAGES) for t in (False, True))
    matrices = 144 * 20 + 20 * 5
    assert sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in tied.parameters()) == matrices
    x = torch.rand(2, 1, 12, 12)
    output = tied(x)
    with torch.no_grad():
        tied.encoder[1][0].weight.mul_(2)  # type: ignore[index]
    assert not torch.allclose(tied.decoder[-2](torch.ones(2, 20)), output.flatten(1))  # type: ignore[index]
    expected = tied.decoder[-2][0].bias + torch.ones(2, 20) @ tied.encoder[1][0].weight  # type: ignore[index]
    torch.testing.assert_close(tied.decoder[-2][0](torch.ones(2, 20)), expected)  # type: ignore[index]


def test_a_stack_is_symmetric() -> None:
    autoencoder = build(Dense(latent_dim=5, hidden=(20, 10)), IMAGES)
    shapes = [tuple(p.shape) for p in autoencoder.parameters() if p.dim() == 2]
    assert shapes == [(20, 144), (10, 20), (5, 10), (10, 5), (20, 10), (144, 20)]
