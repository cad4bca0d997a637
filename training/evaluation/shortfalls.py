"""Shortfalls: sentences about what a trained model does worse than something simpler, and what to try.

metrics with their baselines, latents of the test split, recipe -> find_shortfalls -> lines for the report and the card
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model.manifest import Metric
from training.recipe import AutoencoderRecipe, Dense, Recipe

SELF = {"identity", "8 bits", "int8", "start"}  # baselines that are the model itself, or no model
START = "start"  # what training started from: judged by itself
LEAST_GAIN, LEAST_DECIBELS = 0.01, 0.01  # less than that is no gain
EQUAL = 0.002  # share of the error; rounding to grey levels alone makes a smaller difference
NOISY = "noisy"
MEAN = "mean of train"


def find_shortfalls(recipe: Recipe, metrics: Mapping[str, Metric], latents: NDArray[Any] | None = None) -> list[str]:
    """One sentence for each shortfall; none if the model is better than all of its baselines and uses its latent.

    Args:
        metrics: of the test split, with classical baselines alone, no ablations.
        latents: float32 [N,...] of the test split; None of a denoiser without a latent.
    """
    lines: list[str] = []
    reconstruction = metrics.get("reconstruction_mse")
    if reconstruction is not None:
        lines += _judge_reconstruction(recipe, reconstruction)
    active = metrics.get("active_latents")
    if active is not None and active.value < 1:
        lines.append(
            "No number of the latent says anything about a sample (posterior collapse): the decoder answers its mean. "
            "Try a lower --set variational.beta, or a longer --set variational.warmup."
        )
    if latents is not None and len(latents) > 1:
        dead = count_dead_latents(latents)
        if dead:
            lines.append(_describe_dead(recipe, dead, latents))
    lines += _judge_denoising({name: metric for name, metric in metrics.items() if name.startswith("denoising_")})
    lines += _judge_start({name: metric for name, metric in metrics.items() if START in metric.baselines})
    return lines


def count_dead_latents(latents: NDArray[Any]) -> int:
    """How many numbers of flat latents [N,K], or channels of spatial ones [N,K,H,W], are the same for all samples."""
    by_unit = np.moveaxis(latents, 1, 0).reshape(latents.shape[1], -1).astype(np.float64)
    spread = by_unit.max(axis=1) - by_unit.min(axis=1)
    return int(np.sum(spread <= 1e-6 * max(float(np.abs(by_unit).max()), 1e-30)))


def _judge_reconstruction(recipe: Recipe, metric: Metric) -> Iterator[str]:
    limit = metric.value * (1 - EQUAL)
    rivals = {name: value for name, value in metric.baselines.items() if name not in SELF and value < limit}
    if MEAN in rivals:
        yield (
            f"The model has learned nothing of use: its error, {metric.value:.4g}, is above {rivals[MEAN]:.4g}, that "
            f"of answering the mean of the training samples every time. {_suggest(recipe)}"
        )
    elif rivals:
        name = min(rivals, key=rivals.__getitem__)
        yield (
            f"{name} is better: its error is {rivals[name]:.4g}, the model's {metric.value:.4g}; with as many numbers "
            f"a linear method describes these data more closely. {_suggest(recipe)}"
        )


def _suggest(recipe: Recipe) -> str:
    """What usually helps, as options of the command line."""
    if not isinstance(recipe, AutoencoderRecipe):
        return ""
    options = []
    architecture = recipe.architecture
    if isinstance(architecture, Dense) and architecture.latent_activation == "relu":
        options.append("--set architecture.latent_activation=linear")
    options.append(f"--set optimization.epochs={4 * recipe.optimization.epochs}")
    if recipe.kind == "sparse":
        options.append(f"--set sparsity.active={2 * recipe.sparsity.active}")
    elif isinstance(architecture, Dense) and not architecture.hidden:
        options.append("--set 'architecture.hidden=[512]'")
    if recipe.optimization.schedule == "constant":
        options.append("--set optimization.schedule=cosine")
    return f"Try {', '.join(options)}; more training data help most."


def _describe_dead(recipe: Recipe, dead: int, latents: NDArray[Any]) -> str:
    kind = "numbers" if latents.ndim == 2 else "channels"
    if recipe.kind == "sparse":
        return (
            f"{dead} of the {latents.shape[1]} features are 0 for every test sample: they are dead, or rare. Try "
            "--latent-dim with fewer, or a lower --set sparsity.dead_after."
        )
    is_relu = (
        isinstance(recipe, AutoencoderRecipe)
        and isinstance(recipe.architecture, Dense)
        and recipe.architecture.latent_activation == "relu"
    )
    remedy = (
        "Try --set architecture.latent_activation=linear: a ReLU there can stop for good."
        if is_relu
        else "Try --latent-dim with fewer, or a lower --set optimization.learning_rate."
    )
    share = f"{dead} of the latent's {latents.shape[1]} {kind}"
    return f"{share} are the same for every test sample: they say nothing. {remedy}"


def _judge_start(metrics: Mapping[str, Metric]) -> Iterator[str]:
    """One sentence if the model is no better than what it started from, by most measures on held-out pictures."""
    worse = []
    for name, metric in metrics.items():
        start = metric.baselines[START]
        is_decibel = metric.unit == "dB"
        if _measure_gain(metric) < (LEAST_DECIBELS if is_decibel else LEAST_GAIN):
            numbers = f"{metric.value:.4g} against {start:.4g}{' dB' * is_decibel}"
            worse.append(f"{name.removeprefix('denoising_').replace('_', ' ')}, {numbers}")
    if len(worse) * 2 > len(metrics):
        yield (
            f"It is no better on held-out pictures than the model that it started from, in {len(worse)} of "
            f"{len(metrics)} measures: {_join(worse)}. Use that one, or try more pictures, --minutes with more, or a "
            "lower --set optimization.learning_rate."
        )


def _measure_gain(metric: Metric) -> float:
    """dB beyond the start; of an error the share of the noise that the start removes which is removed beyond it.

    So noise that is in all values alike, that of a noisy target, does not count.
    """
    start = metric.baselines[START]
    if metric.unit == "dB":
        return metric.value - start
    removed = metric.baselines.get(NOISY, 2 * start) ** 2 - start**2
    return (start**2 - metric.value**2) / max(removed, 1e-3 * start**2)


def _judge_denoising(metrics: Mapping[str, Metric]) -> Iterator[str]:
    """One sentence on all noise levels and groups where the noisy input, or a classical filter, is better."""
    losses: dict[str, list[str]] = {}
    for name, metric in metrics.items():
        sign = -1 if metric.unit == "dB" else 1
        better = {
            rival: value
            for rival, value in metric.baselines.items()
            if rival not in SELF and sign * value < sign * metric.value
        }
        if better and not (name.startswith("denoising_psnr") and name.replace("psnr", "mse", 1) in metrics):
            rival = NOISY if NOISY in better else min(better, key=lambda r: sign * better[r])
            numbers = f"{metric.value:.4g} against {better[rival]:.4g}{' dB' if metric.unit == 'dB' else ''}"
            losses.setdefault(rival, []).append(f"{name.removeprefix('denoising_').replace('_', ' ')}, {numbers}")
    for rival, places in losses.items():
        words = "Doing nothing is" if rival == NOISY else f"The {rival} is"
        share = f"{len(places)} of {len(metrics)} measures"
        yield f"{words} better than the model in {share}: {_join(places)}. Try to train longer."


def _join(places: Sequence[str]) -> str:
    return "; ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")
