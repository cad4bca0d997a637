from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from tests.drawings import build_small_recipe, drawings
from training import train_autoencoder
from training.architectures.autoencoder import Autoencoder
from training.data.datasets import Dataset
from training.engine.loop import TrainingResult
from training.engine.losses import LOSSES, exempt_clamped
from training.engine.step_inputs.corruption import Corruptor
from training.evaluation import autoencoders
from training.recipe import LossName

IMAGES = drawings(600, size=12)[..., None]
DATA = Dataset("drawn", "ours", IMAGES[:450], IMAGES[450:], IMAGES[450:])
HIDDEN = {"kind": "masking", "level": (0.5, 0.5), "fill": "mean"}


def trained(tmp_path: Path, emphasis: float) -> tuple[TrainingResult[Autoencoder], float, float]:
    """A run, and its mean squared errors on validation of the hidden numbers and of those that were seen."""
    changes = {"optimization.emphasis": emphasis, "optimization.epochs": 40, "architecture.latent_dim": 32}
    recipe = build_small_recipe("x", changes, kind="denoising", corruption=[HIDDEN])
    result = train_autoencoder.train(recipe, DATA, tmp_path / str(emphasis), torch.device("cpu"))
    model = result.network
    clean = model.scaling(torch.from_numpy(DATA.validation))
    corrupt = Corruptor(recipe.corruption, pixels=True, mean=autoencoders.mean_sample(recipe.corruption, model, DATA))
    noisy, mask = corrupt.corrupt_with_mask(clean, torch.Generator().manual_seed(recipe.seed))
    with torch.inference_mode():
        errors = (model(noisy).clamp(0, 1) - clean) ** 2
    return result, float(errors[mask].mean()), float(errors[~mask].mean())


def test_with_emphasis_only_what_was_hidden_is_learned_and_chosen_by(tmp_path: Path) -> None:
    plain, hidden_error, visible_error = trained(tmp_path, 0)
    emphatic, guess_error, unused_error = trained(tmp_path, 1)
    mean_error = float(((DATA.validation / 255 - DATA.train.mean(0) / 255) ** 2).mean())
    assert guess_error < 0.8 * mean_error  # it guesses better than the mean that stood there
    assert unused_error > visible_error  # no loss made it give back what it saw
    assert emphatic.history.validation[emphatic.history.best] == pytest.approx(guess_error, rel=1e-4)
    assert plain.history.validation[plain.history.best] == pytest.approx((hidden_error + visible_error) / 2, rel=0.03)


def test_between_the_two_what_was_seen_counts_less(tmp_path: Path) -> None:
    result, hidden_error, visible_error = trained(tmp_path, 0.75)
    expected = (hidden_error + 0.25 * visible_error) / 1.25
    assert result.history.validation[result.history.best] == pytest.approx(expected, rel=0.03)


def test_the_mean_of_vectors_and_images_is_that_of_the_scaled_train_split(tmp_path: Path) -> None:
    result, _, _ = trained(tmp_path, 1)
    corruptions = build_small_recipe("x", kind="denoising", corruption=[HIDDEN]).corruption
    mean = autoencoders.mean_sample(corruptions, result.network, DATA)
    assert mean is not None
    assert np.allclose(mean.numpy()[0], DATA.train.mean(0)[..., 0] / 255, atol=1e-6)
    plain = [corruption.model_copy(update={"fill": "zero"}) for corruption in corruptions]
    assert autoencoders.mean_sample(plain, result.network, DATA) is None


def test_the_losses_are_what_they_say() -> None:
    error = torch.full((2, 1, 4, 4), 0.1)
    error[1] = 0.01
    zeros = torch.zeros_like(error)
    assert LOSSES["l1"](error, zeros).item() == pytest.approx(0.055)
    assert LOSSES["mse"](error, zeros).item() == pytest.approx(0.00505)
    fainter = error.clone()
    fainter[1] /= 10**0.5  # 10 dB better, of one of two images
    gain = LOSSES["psnr"](error, zeros) - LOSSES["psnr"](error * 10**-0.5, zeros)
    assert gain.item() > (LOSSES["psnr"](error, zeros) - LOSSES["psnr"](fainter, zeros)).item() > 0.05


def test_every_loss_of_a_recipe_has_its_function_which_can_be_reduced_to_none_or_its_mean() -> None:
    output, target = torch.rand(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    assert set(LOSSES) == set(get_args(LossName))
    for loss in LOSSES.values():
        values = loss(output, target, reduction="none")
        assert len(values) == 3
        assert loss(output, target).item() == pytest.approx(values.mean().item(), rel=1e-6)


def test_only_what_the_clamp_puts_right_is_free() -> None:
    output, clean = torch.tensor([1.5, 1.5, 0.4, -0.5, -0.5]), torch.tensor([1.0, 0.0, 0.5, 0.0, 1.0])
    assert (exempt_clamped(output, clean) - clean).tolist() == pytest.approx([0, 1.5, -0.1, 0, -1.5])
