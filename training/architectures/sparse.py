"""Sparse autoencoder: many features, of which each sample has only the few largest.

scaled -> encoder -> ReLU, the k largest -> features [N,K] -> directions of length 1 -> decoder -> scaled

Makhzani and Frey, "k-Sparse Autoencoders" (ICLR 2014); Gao et al., "Scaling and evaluating sparse autoencoders"
(arXiv:2406.04093, 2024): TopK, an encoder that starts as the decoder's transpose, and an auxiliary error that dead
features must explain.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.architectures.autoencoder import Autoencoder, Centered, PixelScaling
from training.architectures.standardization import Standardization


class TopK(nn.Module):
    """[N,K] -> [N,K]: what is above 0 and among the `count` largest of its row, 0 elsewhere."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, features: Tensor) -> Tensor:
        smallest = torch.topk(features, self.count, dim=1).values[:, -1:]
        return features.relu() * (features >= smallest).to(features.dtype)


class Directions(nn.Module):
    """A linear layer whose columns have length 1: [N,K] -> [N,D]. A feature's value is then how far it moves."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, features))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, F.normalize(self.weight, dim=0), self.bias)


class Sparse(Autoencoder):
    """Features of samples: encoder less `mean`, Linear, TopK; decoder Directions, whose bias begins at `mean`.

    Args:
        mean: of the scaled train split, of the sample's shape: [C,H,W] or [D].
        features, count: K, and how many of them a sample has at most.
        dead_after: samples without a feature after which it counts as dead.

    `idle` int64 [K]: samples since each feature was last above 0, while training.
    """

    idle: Tensor

    def __init__(
        self, scaling: PixelScaling | Standardization, mean: Tensor, features: int, count: int, dead_after: int
    ) -> None:
        linear, directions = nn.Linear(mean.numel(), features), Directions(features, mean.numel())
        with torch.no_grad():
            linear.weight.copy_(F.normalize(directions.weight, dim=0).t())
            linear.bias.zero_()
            directions.bias.copy_(mean.flatten())
        encoder = nn.Sequential(Centered(mean), linear, TopK(count))
        super().__init__(scaling, encoder, nn.Sequential(directions, nn.Unflatten(1, tuple(mean.shape))))
        self.count, self.dead_after = count, dead_after
        self.register_buffer("idle", torch.zeros(features, dtype=torch.int64))

    def fold(self) -> None:
        """Make Directions a plain linear layer, which answers the same, for export."""
        (directions, shape) = self.decoder.children()
        if isinstance(directions, Directions):
            linear = nn.Linear(directions.weight.shape[1], directions.weight.shape[0])
            with torch.no_grad():
                linear.weight.copy_(F.normalize(directions.weight, dim=0))
                linear.bias.copy_(directions.bias)
            self.decoder = nn.Sequential(linear, shape)


class Explain(nn.Module):
    """What training runs: one tensor in, one out, so that several processes can share a batch.

    [N,...] scaled -> [N,2D]: flat output, and what the dead features say of its error (0 if there are none).
    """

    def __init__(self, autoencoder: Sparse) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, scaled: Tensor) -> Tensor:
        sparse = self.autoencoder
        (centered, linear, largest), (directions, _) = sparse.encoder.children(), sparse.decoder.children()
        values = linear(centered(scaled))
        features = largest(values)
        output = directions(features)
        is_dead = sparse.idle > sparse.dead_after
        if self.training:
            sparse.idle.add_(len(scaled)).masked_fill_((features > 0).any(0), 0)
        if not self.training or not bool(is_dead.any()):
            return torch.cat([output, torch.zeros_like(output)], 1)
        count = min(int(is_dead.sum()), max(1, output.shape[1] // 2))  # half as many as numbers, as in the paper
        candidates = torch.topk(values.masked_fill(~is_dead, -torch.inf), count, dim=1)
        dead = torch.zeros_like(values).scatter(1, candidates.indices, candidates.values)
        return torch.cat([output, directions(dead) - directions.bias], 1)
