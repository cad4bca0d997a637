"""Classifier that starts from an encoder: encoder -> standardised latent -> one linear layer -> class scores.

Bengio et al., "Greedy Layer-Wise Training of Deep Networks" (NIPS 2006); Vincent et al., JMLR 11 (2010), section 6:
layers trained to reconstruct initialise a network whose weights are then all trained to classify (fine-tuning).
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
        latent_size: how many numbers the encoder makes of a sample.
        classification: its dropout, masking and noise apply while training.
        frozen: the encoder is not trained, running averages included.
    """

    def __init__(
        self, autoencoder: Autoencoder, latent_size: int, classes: int, classification: Classification, *, frozen: bool
    ) -> None:
        super().__init__()
        self.scaling, self.encoder = autoencoder.scaling, autoencoder.encoder
        self.norm = nn.BatchNorm1d(latent_size)
        self.output = nn.Linear(latent_size, classes)
        self.dropout, self.masking, self.noise = classification.dropout, classification.masking, classification.noise
        self.frozen = frozen
        self.encoder.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        self.encoder.train(mode and not self.frozen)
        return self

    def forward(self, scaled: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """float [N,...] -> scores (logits) [N,classes]; with a generator also masking, noise and dropout."""
        x = self._drop_out(scaled, self.masking, generator)
        if generator is not None and self.noise:
            x = x + self.noise * torch.randn(x.shape, generator=generator, device=x.device)
        if not isinstance(self.encoder, nn.Sequential):
            raise TypeError("This is a bug: an encoder is a sequence of layers")
        for index, layer in enumerate(self.encoder):
            if index > 1 and isinstance(layer, DenseLayer) and not self.frozen:  # the first is Flatten
                x = self._drop_out(x, self.dropout, generator)
            x = layer(x)
        return self.output(self._drop_out(self.norm(x.flatten(1)), self.dropout, generator))  # type: ignore[no-any-return]

    def probabilities(self, sample: Tensor) -> Tensor:
        """uint8 [N,H,W,C] or float64 [N,D] -> float32 [N,classes] of sum 1."""
        return F.softmax(self(self.scaling(sample)).float(), dim=1)

    @staticmethod
    def _drop_out(x: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
        """Dropout: a random `share` set to 0 and the rest scaled by 1 / (1 - share); `x` itself without a generator."""
        if generator is None or not share:
            return x
        return x * (torch.rand(x.shape, generator=generator, device=x.device) >= share) / (1 - share)
