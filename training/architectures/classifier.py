"""A classifier that starts from an encoder: encoder -> standardised latent -> one linear layer -> class scores.

Bengio et al., "Greedy Layer-Wise Training of Deep Networks" (NIPS 2006); Vincent et al., JMLR 11 (2010), section 6:
layers that learned to reconstruct start a network that learns to classify, with all of its weights (fine-tuning).
"""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from training.architectures.autoencoder import Autoencoder, DenseLayer
from training.data.labels import Labels
from training.engine.loop import History, fit, steps_of_epoch
from training.evaluation.autoencoders import BATCH
from training.recipe import Classification


class Classifier(nn.Module):
    """`forward` works on scaled samples, as Autoencoder's; `probabilities` is the port of the exported graph.

    Args:
        autoencoder: its scaling and encoder become this module's own.
        latent: how many numbers the encoder makes of a sample.
        frozen: the encoder stays as it is, running averages included.
    """

    def __init__(self, autoencoder: Autoencoder, latent: int, classes: int, plan: Classification, *, frozen: bool):
        super().__init__()
        self.scaling, self.encoder = autoencoder.scaling, autoencoder.encoder
        self.norm = nn.BatchNorm1d(latent)
        self.output = nn.Linear(latent, classes)
        self.dropout, self.masking, self.noise, self.frozen = plan.dropout, plan.masking, plan.noise, frozen
        self.encoder.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        self.encoder.train(mode and not self.frozen)
        return self

    def forward(self, scaled: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """float [N,...] -> scores (logits) [N,classes]; with a generator masked, noisy, dropped out."""
        x = self._dropped(scaled, self.masking, generator)
        if generator is not None and self.noise:
            x = x + self.noise * torch.randn(x.shape, generator=generator, device=x.device)
        if not isinstance(self.encoder, nn.Sequential):
            raise TypeError("This is a bug: an encoder is a sequence of layers")
        for index, layer in enumerate(self.encoder):
            if index > 1 and isinstance(layer, DenseLayer) and not self.frozen:  # the first is Flatten
                x = self._dropped(x, self.dropout, generator)
            x = layer(x)
        return self.output(self._dropped(self.norm(x.flatten(1)), self.dropout, generator))  # type: ignore[no-any-return]

    def probabilities(self, sample: Tensor) -> Tensor:
        """uint8 [N,H,W,C] or float32 [N,D] -> float32 [N,classes] of sum 1."""
        return F.softmax(self(self.scaling(sample)).float(), dim=1)

    @staticmethod
    def _dropped(x: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
        """A random `share` set to 0, the rest made larger, so that the sum stays what it is without (dropout)."""
        if generator is None or not share:
            return x
        return x * (torch.rand(x.shape, generator=generator, device=x.device) >= share) / (1 - share)


def learn(
    classifier: Classifier,
    train: tuple[NDArray[np.generic], Labels],
    validation: tuple[NDArray[np.generic], Labels],
    plan: Classification,
    *,
    seed: int,
    file: Path,
    fingerprint: str,
    title: str,
) -> History:
    """Fit in place on samples as stored and their labels; the kept epoch is the one of least validation error.

    The error is the share of wrong answers and, smaller than any such, the cross-entropy, which decides between equals.
    """
    device = next(classifier.parameters()).device
    samples, labels = (torch.from_numpy(part).to(device) for part in train)
    held_out, truth = (torch.from_numpy(part).to(device) for part in validation)

    def objective(module: nn.Module, chosen: Tensor, _progress: float, generator: torch.Generator) -> Tensor:
        scores = module(classifier.scaling(samples[chosen]), generator)
        return F.cross_entropy(scores.float(), labels[chosen])

    def validate(module: nn.Module) -> float:
        parts = [module(classifier.scaling(part)).float() for part in torch.split(held_out, BATCH)]
        scores = torch.cat(parts)
        wrong = float((scores.argmax(1) != truth).float().mean())
        tie = float(F.cross_entropy(scores, truth))
        return wrong + tie / (1 + tie) / (10 * len(truth))

    each = steps_of_epoch(len(samples), plan.optimization.batch_size)
    epochs = max(plan.optimization.epochs, math.ceil(plan.steps / each))
    optimization = plan.optimization.model_copy(update={"epochs": epochs})
    return fit(
        classifier, torch.arange(len(samples), device=device), objective, validate, optimization,
        generator=torch.Generator(device).manual_seed(seed), file=file, fingerprint=fingerprint, title=title,
    )  # fmt: skip


def answers(classifier: Classifier, samples: NDArray[np.generic]) -> NDArray[np.float32]:
    """Probabilities float32 [N,classes] of samples as stored."""
    device = next(classifier.parameters()).device
    with torch.inference_mode():
        parts = [
            classifier.probabilities(part.to(device)).cpu() for part in torch.split(torch.from_numpy(samples), BATCH)
        ]
    return torch.cat(parts).numpy()
