"""Objectives: for each kind of autoencoder what a step minimises, and what chooses the best epoch.

recipe, autoencoder -> build -> Objective: network (what is fitted), loss, validate

Errors of plain and sparse autoencoders are means over the numbers of a sample; those of variational ones are in nats,
summed over them, as the divergence is. The penalty of contraction (Rifai et al., ICML 2011) is added to any of them.
"""

import math
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.architectures.autoencoder import Autoencoder
from training.architectures.sparse import Explain, Sparse
from training.architectures.variational import Draw, Variational, divergence
from training.engine import distributed
from training.engine.losses import LOSSES, LossAndError, emphasized
from training.recipe import AutoencoderRecipe

BATCH = 512  # of validation


class Samples(NamedTuple):
    """Scaled samples [N,...] as the network gets them, as they were, and bool [N,...]: what the corruption changed."""

    corrupted: Tensor
    clean: Tensor
    mask: Tensor


class Objective(Protocol):
    """`network` is fitted; modules are that network, its running average, or its sharded form.

    `progress` is 0 to 1 of the run; all randomness comes from `generator`.
    """

    network: nn.Module

    def loss(
        self, module: nn.Module, samples: Samples, progress: float, generator: torch.Generator
    ) -> Tensor | LossAndError:
        """Scalar, and where it is not on the scale of `validate` an error that is."""

    def validate(self, module: nn.Module, samples: Samples, generator: torch.Generator) -> float:
        """Error on held-out samples, of a module in eval mode."""


def build(recipe: AutoencoderRecipe, autoencoder: Autoencoder, sample_shape: tuple[int, ...]) -> Objective:
    """The objective of the recipe's kind; `sample_shape` of a scaled sample: (C,H,W) or (D,)."""
    is_image = len(sample_shape) == 3
    if isinstance(autoencoder, Variational):
        objective: Objective = VariationalObjective(recipe, autoencoder, sample_shape)
    elif isinstance(autoencoder, Sparse):
        objective = SparseObjective(recipe, autoencoder)
    else:
        objective = ReconstructionObjective(recipe, autoencoder, is_image=is_image)
    if recipe.optimization.contraction:
        numbers = 1 if isinstance(autoencoder, Variational) else math.prod(sample_shape)
        return Contractive(objective, autoencoder, recipe.optimization.contraction / numbers)
    return objective


class ReconstructionObjective:
    """Error of the reconstruction from the corrupted sample; validated by the mean squared error."""

    def __init__(self, recipe: AutoencoderRecipe, autoencoder: Autoencoder, *, is_image: bool) -> None:
        self.network: nn.Module = autoencoder
        name = recipe.optimization.loss if is_image else "mse"  # standardised vectors are no probabilities
        self._loss = LOSSES[name]
        self._emphasis, self._is_image = recipe.optimization.emphasis, is_image

    def loss(
        self,
        module: nn.Module,
        samples: Samples,
        progress: float,  # noqa: ARG002
        generator: torch.Generator,  # noqa: ARG002
    ) -> Tensor | LossAndError:
        output = module(samples.corrupted).float()
        loss = emphasized(self._loss, output, samples.clean, samples.mask, self._emphasis)
        if self._loss is LOSSES["mse"]:
            return loss
        return LossAndError(
            loss, emphasized(LOSSES["mse"], output.detach(), samples.clean, samples.mask, self._emphasis)
        )

    def validate(self, module: nn.Module, samples: Samples, generator: torch.Generator) -> float:  # noqa: ARG002
        output = torch.cat([module(batch) for batch in torch.split(samples.corrupted, BATCH)]).float()
        output = output.clamp(0, 1) if self._is_image else output
        return float(emphasized(LOSSES["mse"], output, samples.clean, samples.mask, self._emphasis))


class SparseObjective:
    """Squared error, and the squared error of what the dead features say of it; validated by the former."""

    def __init__(self, recipe: AutoencoderRecipe, autoencoder: Sparse) -> None:
        self.network: nn.Module = Explain(autoencoder)
        self._weight = recipe.sparsity.auxiliary

    def loss(
        self,
        module: nn.Module,
        samples: Samples,
        progress: float,  # noqa: ARG002
        generator: torch.Generator,  # noqa: ARG002
    ) -> Tensor | LossAndError:
        output, answer = module(samples.corrupted).float().chunk(2, dim=1)
        error: Tensor = samples.clean.flatten(1) - output
        loss: Tensor = error.square().mean()
        if not bool(answer.any()):
            return loss
        return LossAndError(loss + self._weight * F.mse_loss(answer, error.detach()), loss)

    def validate(self, module: nn.Module, samples: Samples, generator: torch.Generator) -> float:  # noqa: ARG002
        output = torch.cat([module(batch).chunk(2, dim=1)[0] for batch in torch.split(samples.corrupted, BATCH)])
        return float(F.mse_loss(output.float(), samples.clean.flatten(1)))


class VariationalObjective:
    """Negative evidence lower bound, in nats for each sample; of it, the divergence is weighted with beta.

    Pixels are Bernoulli (loss "bce"). Values (loss "mse") are normal, of the variance that suits the batch best: D/2
    times the logarithm of the mean squared error (Rybkin et al., "Simple and effective VAE training with calibrated
    decoders", ICML 2021), constants included.
    """

    def __init__(self, recipe: AutoencoderRecipe, autoencoder: Variational, sample_shape: tuple[int, ...]) -> None:
        self.network: nn.Module = Draw(autoencoder, sample_shape)
        self._options, self._is_bernoulli = recipe.variational, autoencoder.is_bernoulli
        self._latent_size = autoencoder.log_variance.out_features

    def loss(self, module: nn.Module, samples: Samples, progress: float, generator: torch.Generator) -> LossAndError:
        warmup = min(1.0, progress / self._options.warmup) if self._options.warmup else 1.0
        reconstruction, kl = self.terms(module, samples.corrupted, generator)
        beta = self._options.beta
        return LossAndError(reconstruction + beta * warmup * kl, reconstruction + beta * kl)

    def validate(self, module: nn.Module, samples: Samples, generator: torch.Generator) -> float:
        total = 0.0
        for batch in torch.split(samples.corrupted, BATCH):
            reconstruction, kl = self.terms(module, batch, generator)
            total += float(reconstruction + self._options.beta * kl) * len(batch)
        return total / len(samples.corrupted)

    def terms(self, module: nn.Module, scaled: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the samples, and divergence, in nats, means over samples; float [N,...] in 0..1 or [N,D]."""
        if self._options.binarize:
            scaled = binarize(scaled, generator)
        size = self._latent_size
        noise = torch.randn((len(scaled), size), generator=generator, device=scaled.device)
        target = scaled.flatten(1)
        output, mean, log_variance = module(torch.cat([target, noise], 1)).split([target.shape[1], size, size], dim=1)
        kl = divergence(mean, log_variance).sum(1).mean()
        if self._is_bernoulli:
            return F.binary_cross_entropy_with_logits(output, target, reduction="sum") / len(target), kl
        variance = F.mse_loss(output, target).clamp_min(1e-12)
        return 0.5 * target.shape[1] * (1 + (2 * math.pi * variance).log()), kl


class Contractive:
    """Another objective plus `weight` times the squared Frobenius norm of the encoder's Jacobian."""

    def __init__(self, objective: Objective, autoencoder: Autoencoder, weight: float) -> None:
        self.network = objective.network
        self._objective, self._autoencoder, self._weight = objective, autoencoder, weight

    def loss(self, module: nn.Module, samples: Samples, progress: float, generator: torch.Generator) -> LossAndError:
        outcome = self._objective.loss(module, samples, progress, generator)
        loss, error = outcome if isinstance(outcome, LossAndError) else (outcome, outcome)
        penalty = self._weight * estimate_contraction(self._autoencoder.encoder, samples.corrupted, generator)
        # each process computes the penalty for the whole batch
        return LossAndError(loss + penalty / distributed.world_size(), error + penalty)

    def validate(self, module: nn.Module, samples: Samples, generator: torch.Generator) -> float:
        error = self._objective.validate(module, samples, generator)
        autoencoder = module if isinstance(module, Autoencoder) else module.autoencoder
        with torch.inference_mode(False):
            penalties = [
                float(estimate_contraction(autoencoder.encoder, batch, generator).detach()) * len(batch)  # type: ignore[union-attr, arg-type]
                for batch in torch.split(samples.corrupted, BATCH)
            ]
        return error + self._weight * sum(penalties) / len(samples.corrupted)


def binarize(scaled: Tensor, generator: torch.Generator) -> Tensor:
    """Pixels in 0..1 -> 0 or 1, drawn with the pixel as the probability of 1."""
    return (torch.rand(scaled.shape, generator=generator, device=scaled.device) < scaled).to(scaled.dtype)


def estimate_contraction(encoder: nn.Module, scaled: Tensor, generator: torch.Generator) -> Tensor:
    """Squared Frobenius norm of the encoder's Jacobian, mean over samples; differentiable with respect to its weights.

    Unbiased, by one projection for each sample (Hutchinson 1989): E |J^T u|^2 = |J|^2 for u of random signs. The
    encoder is as it is served: with running averages in place of a batch's own.
    """
    is_training = encoder.training
    encoder.eval()
    with torch.enable_grad(), torch.autocast(scaled.device.type, enabled=False):
        samples = scaled.detach().clone().float().requires_grad_()
        latent = encoder(samples).flatten(1)
        signs = torch.randint(0, 2, latent.shape, generator=generator, device=latent.device) * 2.0 - 1
        (gradient,) = torch.autograd.grad((latent * signs).sum(), samples, create_graph=True)
    encoder.train(is_training)
    return gradient.square().flatten(1).sum(1).mean()
