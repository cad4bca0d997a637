"""Settings for own data: by kind, shape and number of the samples; what the user says comes first."""

from typing import Any

import numpy as np
import pytest

from tests.drawings import drawings, waves
from training.architectures import autoencoder as architectures
from training.architectures import kinds
from training.data.datasets import Dataset
from training.errors import RecipeError
from training.own_data import EPOCHS, KINDS, MIN_STEPS, OwnData, choose_steps, count_operations, describe
from training.recipe import AutoencoderRecipe, Convolutional, Dense

BASE = {"name": "mine", "description": "Mine.", "data": {"source": "mine"}}


def complete(kind: str, samples: np.ndarray, changes: dict[str, Any] | None = None) -> AutoencoderRecipe:
    count = len(samples) // 10
    splits = samples[: 8 * count], samples[8 * count : 9 * count], samples[9 * count :]
    recipe = OwnData(kind, BASE | (changes or {})).complete(Dataset("mine", "ours", *splits))
    assert isinstance(recipe, AutoencoderRecipe)
    return recipe


def pictures(count: int = 100, size: int = 28, channels: int = 1) -> np.ndarray:
    return np.zeros((count, size, size, channels), np.uint8)


@pytest.mark.parametrize("kind", [*KINDS, "variational", "sparse"])
@pytest.mark.parametrize(
    "samples",
    [pictures(), pictures(size=9), pictures(size=64, channels=3), pictures(4000, 12), waves(100, 6), waves(100, 140)],
)
def test_every_kind_has_settings_for_every_shape(kind: str, samples: np.ndarray) -> None:
    recipe = complete(kind, samples)
    assert recipe.kind == kind
    assert recipe.optimization.steps_per_epoch > 0
    assert recipe.ablation == ()
    assert (recipe.corruption != ()) == (kind == "denoising")
    assert "settings: " in describe(recipe)
    autoencoder = kinds.build(recipe, samples[:20])
    assert sum(parameter.numel() for parameter in autoencoder.parameters()) > 0


def test_pictures_have_convolutions_stacks_and_vectors_dense_layers_and_all_start_from_pca() -> None:
    assert isinstance(complete("undercomplete", pictures()).architecture, Convolutional)
    assert isinstance(complete("stacked", pictures()).architecture, Dense)
    assert isinstance(complete("undercomplete", waves(100)).architecture, Dense)
    for kind in ("undercomplete", "stacked"):
        for samples in (pictures(), waves(100)):
            assert complete(kind, samples).architecture.linear_path


def test_vectors_of_few_numbers_have_a_latent_that_is_smaller_still() -> None:
    assert complete("undercomplete", waves(100, 12)).architecture.latent_dim == 3
    assert complete("undercomplete", waves(100, 140)).architecture.latent_dim == 32


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture.latent_activation": "relu"},
        {"architecture.output_activation": "sigmoid"},
        {"architecture.tied": True},
        {"pretraining.epochs": 2},
    ],
)
def test_what_a_linear_path_cannot_have_turns_it_off(changes: dict[str, Any]) -> None:
    assert not complete("stacked", pictures(), changes).architecture.linear_path


def test_what_the_user_says_decides() -> None:
    assert complete("undercomplete", pictures(), {"architecture.hidden": [64]}).architecture == Dense(
        hidden=(64,), latent_dim=32, activation="silu", linear_path=True
    )
    channels = complete(
        "denoising", waves(100), {"architecture.channels": [4], "architecture.latent_dim": 5}
    ).architecture
    assert isinstance(channels, Convolutional)
    assert (channels.channels, channels.latent_dim) == ((4,), 5)
    spatial = complete("undercomplete", pictures(), {"architecture.latent_channels": 4}).architecture
    assert (spatial.latent_dim, spatial.linear_path) == (None, False)
    assert complete("stacked", pictures(), {"architecture.type": "convolutional"}).architecture.type == "convolutional"
    few = complete("stacked", pictures(), {"optimization.epochs": 3}).optimization
    many = complete("stacked", pictures()).optimization
    assert (few.epochs, few.steps_per_epoch) == (3, many.steps_per_epoch)
    assert complete("stacked", pictures(), {"optimization.steps_per_epoch": 7}).optimization.steps_per_epoch == 7


def test_wrong_settings_are_found_before_the_data_are_read() -> None:
    with pytest.raises(RecipeError, match=r"--kind stacked: optimization\.epochs"):
        OwnData("stacked", {**BASE, "optimization.epochs": 0}).draft()
    with pytest.raises(RecipeError, match="unet"):
        OwnData("denoising", {**BASE, "architecture": {"type": "unet"}}).draft()


def test_steps_grow_with_the_samples_and_shrink_with_the_work_of_a_step() -> None:
    recipe = complete("undercomplete", pictures())
    steps = [choose_steps(recipe, (28, 28, 1), samples) for samples in (50, 1000, 50_000, 10**7)]
    assert steps[0] == MIN_STEPS
    assert steps == sorted(steps)
    assert steps[2] == steps[3], "of many samples a part is enough"
    assert choose_steps(recipe, (512, 512, 3), 50_000) < steps[2]
    assert choose_steps(recipe, (1024, 1024, 3), 50_000) >= EPOCHS


@pytest.mark.parametrize("kind", ["undercomplete", "stacked", "denoising"])
@pytest.mark.parametrize("samples", [pictures(), pictures(size=64, channels=3), waves(100, 140)])
def test_operations_are_about_the_weights_times_their_uses(kind: str, samples: np.ndarray) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    recipe = complete(kind, samples)
    autoencoder = architectures.build(recipe.architecture, samples[:20]).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        autoencoder(autoencoder.scaling(torch.from_numpy(samples[:1])))
    assert counter.get_total_flops() / 2 == pytest.approx(count_operations(recipe, samples.shape[1:]), rel=0.25)


def test_drawings_are_moved_and_only_colour_pictures_are_mirrored() -> None:
    assert complete("stacked", drawings(100)[..., None]).augmentation.shift == 1
    assert not complete("stacked", pictures()).augmentation.flip
    assert complete("stacked", pictures(channels=3)).augmentation.flip
