"""Evaluation of a variational autoencoder: bound and likelihood in nats, numbers in use, draws, walks.

autoencoder, test split -> metrics        prior -> draws        two samples -> walk between their latents

Pixels of 0 and 1 are drawn once from the test split, greys as probabilities, as Burda et al. do. The likelihood of a
part of the test split becomes that of all by its distance from the bound, which varies less than either.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from service.model.manifest import Metric
from training.architectures.autoencoder import Autoencoder
from training.architectures.variational import Variational, divergence
from training.data.datasets import Dataset
from training.engine.objectives import binarize
from training.evaluation.autoencoders import BATCH, encode
from training.evaluation.metrics import make_metric
from training.recipe import AutoencoderRecipe

Array = NDArray[Any]

ACTIVE_VARIANCE = 0.01  # Burda et al., section 5.2: of a number's posterior mean over samples
DECODED_AT_ONCE = 1000  # importance samples


def measure(recipe: AutoencoderRecipe, autoencoder: Variational, data: Dataset) -> Iterator[tuple[str, Metric]]:
    """Yields (name, metric) of the test split; likelihoods only of pixels that the recipe makes 0 or 1."""
    means = encode(autoencoder, data.test)
    active = int((means.var(axis=0) > ACTIVE_VARIANCE).sum())
    yield "active_latents", make_metric(active, f"of {means.shape[1]} numbers of the latent", {})
    generator = torch.Generator().manual_seed(recipe.seed)
    scaled = autoencoder.scaling(torch.from_numpy(data.test))
    if recipe.variational.binarize:
        scaled = binarize(scaled, generator)
    kl, bound = estimate_bound(autoencoder, scaled, generator)
    yield "divergence", make_metric(float(kl.mean()), "nats a sample", {})
    if not recipe.variational.binarize:
        return
    yield "negative_elbo", make_metric(float(bound.mean()), "nats a sample", {})
    count, limit = recipe.variational.importance_samples, recipe.variational.importance_test
    if not count:
        return
    chosen = torch.arange(len(scaled))
    if 0 < limit < len(scaled):
        chosen = torch.randperm(len(scaled), generator=generator)[:limit]
    gaps = bound[chosen] - estimate_likelihood(autoencoder, scaled[chosen], count, generator)
    yield "negative_log_likelihood", make_metric(float(bound.mean() - gaps.mean()), "nats a sample", {})
    if len(chosen) < len(scaled):
        error = float(gaps.std() / math.sqrt(len(gaps)))
        yield "likelihood_standard_error", make_metric(error, f"nats, from {len(chosen)} test samples", {})


@torch.inference_mode()
def estimate_bound(autoencoder: Variational, scaled: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Divergence, and negative evidence lower bound by one draw of the latent, in nats: float32 [N] each.

    Args:
        scaled: pixels [N,C,H,W]; the bound is that of Bernoulli pixels, and 0 of other autoencoders.
    """
    divergences, bounds = [], []
    for batch in torch.split(scaled, BATCH):
        mean, log_variance = autoencoder.infer(batch)
        kl = divergence(mean, log_variance).sum(1)
        divergences.append(kl)
        if autoencoder.is_bernoulli:
            noise = torch.randn(mean.shape, generator=generator)
            logits = autoencoder.decoder(mean + (0.5 * log_variance).exp() * noise).flatten(1)
            entropy = F.binary_cross_entropy_with_logits(logits, batch.flatten(1), reduction="none").sum(1)
            bounds.append(entropy + kl)
        else:
            bounds.append(torch.zeros_like(kl))
    return torch.cat(divergences), torch.cat(bounds)


@torch.inference_mode()
def estimate_likelihood(autoencoder: Variational, binary: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Negative log-likelihood of each sample in nats, float32 [N], by importance sampling from the posterior.

    -log mean_k p(x|z_k) p(z_k) / q(z_k|x), with `count` draws z_k (Burda et al., "Importance Weighted Autoencoders",
    ICLR 2016, section 5). Its expectation is an upper bound, which falls towards the true value as `count` rises.

    Args:
        binary: pixels of 0 or 1, [N,C,H,W].
    """
    values = []
    for batch in torch.split(binary, BATCH):
        means, log_variances = autoencoder.infer(batch)
        for target, mean, log_variance in zip(batch.flatten(1), means, log_variances, strict=True):
            weights = []
            for size in [DECODED_AT_ONCE] * (count // DECODED_AT_ONCE) + [count % DECODED_AT_ONCE]:
                noise = torch.randn((size, len(mean)), generator=generator)
                latent = mean + (0.5 * log_variance).exp() * noise
                logits = autoencoder.decoder(latent).flatten(1)
                log_sample = logits @ target - F.softplus(logits).sum(1)
                log_ratio = 0.5 * (noise.square() - latent.square() + log_variance).sum(1)
                weights.append(log_sample + log_ratio)
            values.append(math.log(count) - torch.logsumexp(torch.cat(weights), 0))
    return torch.stack(values)


def draw_from_prior(autoencoder: Variational, count: int, seed: int) -> Array:
    """New samples as stored, [count,...], of the prior's draws."""
    latents = torch.randn((count, autoencoder.log_variance.out_features), generator=torch.Generator().manual_seed(seed))
    return decode(autoencoder, latents)


def walk(autoencoder: Autoencoder, first: Array, second: Array, steps: int) -> Array:
    """`steps` samples as stored on the straight line between the latents of two samples as stored, ends included."""
    with torch.inference_mode():
        start, end = autoencoder.encode(torch.from_numpy(np.stack([first, second])))
    shares = torch.linspace(0, 1, steps).reshape(-1, *[1] * start.ndim)
    return decode(autoencoder, start + shares * (end - start))


def decode(autoencoder: Autoencoder, latents: Tensor) -> Array:
    """Samples as stored, [N,...], of latents [N,...]."""
    with torch.inference_mode():
        output: Array = autoencoder.decode(latents).numpy()
        return output


def choose_walks(samples: Array, count: int) -> Sequence[tuple[Array, Array]]:
    """Pairs of the first samples: 0 and 1, 2 and 3, ..."""
    return [(samples[2 * i], samples[2 * i + 1]) for i in range(min(count, len(samples) // 2))]
