"""What a model does worse than something simpler is said, with what to try; a good model has no such lines."""

import numpy as np
import pytest

from service.model.manifest import Metric
from tests.drawings import build_small_recipe
from tests.training import restoration
from training.evaluation.shortfalls import count_dead_latents, find_shortfalls

RECIPE = build_small_recipe("drawings.npy")
LATENTS = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)


def metric(value: float, unit: str = "mean squared error", **baselines: float) -> Metric:
    names = {name.replace("non_local", "non-local").replace("_", " "): number for name, number in baselines.items()}
    return Metric(value=value, unit=unit, split="test", baselines={"identity": 0.0, **names})


def test_a_model_above_pca_says_so_and_what_to_try() -> None:
    (line,) = find_shortfalls(RECIPE, {"reconstruction_mse": metric(0.0212, mean_of_train=0.08, PCA_6=0.0164)}, LATENTS)
    assert line.startswith("PCA 6 is better: its error is 0.0164, the model's 0.0212")
    assert "--set optimization.epochs=16" in line


def test_a_model_above_the_mean_has_learned_nothing() -> None:
    metrics = {"reconstruction_mse": metric(0.0555, mean_of_train=0.05, PCA_6=0.0198)}
    (line,) = find_shortfalls(RECIPE, metrics, LATENTS)
    assert "learned nothing of use" in line
    assert "0.0555, is above 0.05" in line


def test_a_good_model_has_none() -> None:
    metrics = {
        "reconstruction_mse": metric(0.01, mean_of_train=0.08, PCA_6=0.0164),
        "denoising_psnr_gaussian_25": metric(30, "dB", noisy=20, non_local_means=28),
    }
    assert find_shortfalls(RECIPE, metrics, LATENTS) == []


@pytest.mark.parametrize(("activation", "remedy"), [("relu", "latent_activation=linear"), ("linear", "--latent-dim")])
def test_dead_latents_are_counted(activation: str, remedy: str) -> None:
    recipe = build_small_recipe("drawings.npy", {"architecture.latent_activation": activation})
    latents = LATENTS.copy()
    latents[:, :4] = 0
    assert count_dead_latents(latents) == 4
    (line,) = find_shortfalls(recipe, {}, latents)
    assert line.startswith("4 of the latent's 6 numbers are the same for every test sample")
    assert remedy in line


def test_channels_of_spatial_latents_are_counted() -> None:
    latents = np.random.default_rng(0).standard_normal((20, 3, 4, 4))
    latents[:, 1] = 0.5
    assert count_dead_latents(latents) == 1
    latents[:, 1, 2, 2] = np.arange(20)
    assert count_dead_latents(latents) == 0


def test_a_denoiser_that_is_worse_than_doing_nothing_says_where() -> None:
    recipe = restoration.build_recipe("clean")
    metrics = {
        "denoising_psnr_gaussian_15": metric(22, "dB", noisy=24.6, non_local_means=28, int8=99),
        "denoising_psnr_gaussian_50": metric(20, "dB", noisy=14, non_local_means=23),
        "denoising_rmse": metric(0.02, noisy=0.1),
    }
    lines = find_shortfalls(recipe, metrics)
    measures = "is better than the model in 1 of 3 measures: psnr gaussian"
    assert lines == [
        f"Doing nothing {measures} 15, 22 against 24.6 dB. Try to train longer.",
        f"The non-local means {measures} 50, 20 against 23 dB. Try to train longer.",
    ]
