"""Linear path: a linear encoder and decoder beside the layers of an autoencoder, which starts as PCA.

sample -> (sample - mean) projection + layers -> latent -> latent expansion + mean + layers -> sample

The layers' own outputs start at zero (as in Goyal et al., "Accurate, Large Minibatch SGD", arXiv:1706.02677, section
5.1, a residual block does), so before the first step the autoencoder is PCA, the best linear one (Baldi & Hornik,
Neural Networks 2, 1989), and training starts from its error. Each number of that latent has a deviation of 1.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

SMALLEST_SHARE = 1e-4  # of the largest deviation; a component below it has a latent near 0 in place of amplified noise


class LinearEncoder(nn.Module):
    """layers(x) + projection of x: [N, *shape] -> [N,K]."""

    def __init__(self, layers: nn.Module, size: int, latent_dim: int) -> None:
        super().__init__()
        self.layers = layers
        self.projection = nn.Linear(size, latent_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.projection(x.flatten(1))  # type: ignore[no-any-return]


class LinearDecoder(nn.Module):
    """layers(latent) + expansion of the latent: [N,K] -> [N, *shape]."""

    def __init__(self, layers: nn.Module, latent_dim: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = layers
        self.expansion = nn.Linear(latent_dim, math.prod(shape))
        self.shape = shape

    def forward(self, latent: Tensor) -> Tensor:
        return self.layers(latent) + self.expansion(latent).unflatten(1, self.shape)  # type: ignore[no-any-return]


def add_linear_path(
    encoder: nn.Module, decoder: nn.Module, shape: tuple[int, ...], latent_dim: int
) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of a flat latent with a linear path beside their layers, whose outputs start at zero."""
    for layers in (encoder, decoder):
        outputs = [m for m in layers.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
        last = outputs[-1]
        nn.init.zeros_(last.weight)
        if last.bias is not None:
            nn.init.zeros_(last.bias)
    # in a sequence each, as encoders and decoders without a linear path are
    return (
        nn.Sequential(LinearEncoder(encoder, math.prod(shape), latent_dim)),
        nn.Sequential(LinearDecoder(decoder, latent_dim, shape)),
    )


@torch.no_grad()
def start_at_components(
    autoencoder: nn.Module, mean: NDArray[np.float64], axes: NDArray[np.float64], deviations: NDArray[np.float64]
) -> None:
    """Set the linear path of an autoencoder to PCA; numbers of the latent beyond the components have no meaning yet.

    Args:
        mean: float64 [D], of the scaled training samples, flattened as the modules see them: images [C,H,W].
        axes: float64 [k,D], orthonormal; k is at most the size of the latent.
        deviations: float64 [k], of the training samples along the axes.
    """
    encoder, decoder = (autoencoder.get_submodule(f"{part}.0") for part in ("encoder", "decoder"))
    if not isinstance(encoder, LinearEncoder) or not isinstance(decoder, LinearDecoder):
        raise TypeError("This is a bug: the recipe has linear_path")
    scale = torch.from_numpy(deviations.clip(min=max(SMALLEST_SHARE * float(deviations.max()), 1e-12)))
    directions, centre = torch.from_numpy(axes), torch.from_numpy(mean)
    projection, expansion, count = encoder.projection, decoder.expansion, len(axes)
    projection.weight[:count] = (directions / scale[:, None]).float()
    projection.bias.copy_((-projection.weight.double() @ centre).float())
    expansion.weight[:, :count] = (directions * scale[:, None]).T.float()
    expansion.weight[:, count:] = 0
    expansion.bias.copy_(centre.float())
