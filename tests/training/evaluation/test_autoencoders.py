import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.drawings import drawings, waves
from training.architectures.autoencoder import Autoencoder, PixelScaling
from training.architectures.standardization import Standardization
from training.data.datasets import Dataset
from training.evaluation import autoencoders
from training.evaluation.baselines import pca
from training.recipe import Corruption

IMAGES = drawings(240, size=16)[..., None]
DATA = Dataset("drawn", "ours", IMAGES[:160], IMAGES[160:200], IMAGES[200:])


class Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(float(value)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x) + self.value


class Identity(Constant):
    def forward(self, x: Tensor) -> Tensor:
        return x


def grey(value: float = 0.5) -> Autoencoder:
    return Autoencoder(PixelScaling(), Identity(0), Constant(value))


def test_the_reconstruction_error_is_that_of_pixels_in_0_to_1() -> None:
    metrics = dict(autoencoders.measure(grey(), DATA, (), None))
    expected = np.mean((DATA.test / 255 - 128 / 255) ** 2)
    assert metrics["reconstruction_mse"].value == pytest.approx(expected)
    assert metrics["reconstruction_mse"].split == "test"
    per_image = np.mean((DATA.test / 255 - 128 / 255) ** 2, axis=(1, 2, 3))
    assert metrics["reconstruction_psnr"].value == pytest.approx(np.mean(-10 * np.log10(per_image)))


def test_identity_mean_image_and_pca_stand_beside_it() -> None:
    class ToTwo(Constant):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :2]

    class FromTwo(Constant):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros(len(x), 1, 16, 16)

    metrics = dict(
        autoencoders.measure(Autoencoder(PixelScaling(), ToTwo(0), FromTwo(0)), DATA, (), pca.fit(DATA.train, 2))
    )
    baselines = metrics["reconstruction_mse"].baselines
    assert set(baselines) == {"identity", "mean of train", "PCA 2", "PCA 2, clamped"}
    assert baselines["identity"] == 0
    train, test = (part.reshape(len(part), -1) / 255 for part in (DATA.train, DATA.test))
    assert baselines["mean of train"] == pytest.approx(np.mean((test - train.mean(0)) ** 2))
    _, _, axes = np.linalg.svd(train - train.mean(0), full_matrices=False)
    projected = (test - train.mean(0)) @ axes[:2].T @ axes[:2] + train.mean(0)
    assert baselines["PCA 2"] == pytest.approx(np.mean((test - projected) ** 2))
    assert baselines["PCA 2, clamped"] <= baselines["PCA 2"]


def test_doing_nothing_leaves_the_noise_and_a_filter_removes_some() -> None:
    nothing = Autoencoder(PixelScaling(), Identity(0), Identity(0))
    recipe = (Corruption(kind="gaussian", level=(0, 0.5)), Corruption(kind="salt-and-pepper", level=(0, 0.3)))
    metrics = dict(autoencoders.measure(nothing, DATA, recipe, None))
    assert {"denoising_mse_gaussian_0.1", "denoising_mse_gaussian_0.25", "denoising_mse_gaussian_0.5"} <= set(metrics)
    gaussian, pepper = metrics["denoising_mse_gaussian_0.5"], metrics["denoising_mse_salt-and-pepper_0.1"]
    assert gaussian.value == gaussian.baselines["noisy"]
    assert gaussian.baselines["non-local means"] < gaussian.baselines["noisy"]
    assert pepper.baselines["median filter"] < pepper.baselines["noisy"]
    assert metrics["denoising_psnr_gaussian_0.5"].unit == "dB"


def test_colour_images_are_filtered_in_colour() -> None:
    colour = np.stack([drawings(90), drawings(90, seed=1), drawings(90, seed=2)], -1)
    data = Dataset("drawn", "ours", colour[:50], colour[50:70], colour[70:])
    nothing = Autoencoder(PixelScaling(), Identity(0), Identity(0))
    metrics = dict(autoencoders.measure(nothing, data, (Corruption(kind="gaussian", level=(0, 0.5)),), None))
    assert (
        metrics["denoising_mse_gaussian_0.5"].baselines["non-local means"] < metrics["denoising_mse_gaussian_0.5"].value
    )


def test_vectors_are_measured_in_standard_deviations() -> None:
    vectors = waves(90)
    data = Dataset("drawn", "ours", vectors[:50], vectors[50:70], vectors[70:])
    autoencoder = Autoencoder(Standardization(data.train), Identity(0), Constant(0.0))
    metrics = dict(autoencoders.measure(autoencoder, data, (Corruption(kind="gaussian", level=(0, 1)),), None))
    assert metrics["reconstruction_mse"].value == pytest.approx(
        np.mean(((data.test - data.train.mean(0)) / data.train.std(0)) ** 2), rel=1e-4
    )
    assert "reconstruction_psnr" not in metrics
    assert set(metrics["denoising_mse_gaussian_0.5"].baselines) == {"noisy"}


def test_the_noise_of_an_evaluation_is_the_same_each_time() -> None:
    noise = Corruption(kind="gaussian", level=(0, 1))
    first, second = (autoencoders.corrupt_samples(DATA, DATA.test, noise, 0.25, grey()) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.dtype == np.uint8
