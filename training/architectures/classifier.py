"""A classifier that starts from an encoder: encoder -> standardised latent -> one linear layer -> class scores.

Bengio et al., "Greedy Layer-Wise Training of Deep Networks" (NIPS 2006); Vincent et al., JMLR 11 (2010), section 6:
layers that learned to reconstruct start a network that learns to classify, with all of its weights (fine-tuning).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.architectures.autoencoder import Autoencoder, DenseLayer
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
