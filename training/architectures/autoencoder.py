"""Autoencoders as torch modules: dense (one layer or stacked) or convolutional, for images and vectors.

sample (port) -> scaling -> [encoder -> latent -> decoder] -> scaling back -> sample (port)

The scaling is part of the module and of the exported graphs, so training and serving cannot drift apart.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from service.model.measures.standard_units import StandardUnits
from training.architectures.linear_path import add_linear_path
from training.architectures.standardization import Standardization
from training.recipe import Convolutional, Dense

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "selu": nn.SELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


class PixelScaling(nn.Module):
    """uint8 [N,H,W,C], of 16 `bits` uint16, <-> float32 [N,C,H,W] in 0..1."""

    def __init__(self, bits: int = 8) -> None:
        super().__init__()
        self.largest: int = 2**bits - 1
        self.dtype: torch.dtype = torch.uint16 if bits == 16 else torch.uint8

    def forward(self, image: Tensor) -> Tensor:
        return image.float().permute(0, 3, 1, 2) / self.largest

    def inverse(self, pixels: Tensor) -> Tensor:
        """float [N,C,H,W] -> whole numbers [N,H,W,C]; clamps to 0..1 and rounds half to even, as ONNX Round does."""
        return (pixels.float().clamp(0, 1) * self.largest).round().permute(0, 2, 3, 1).to(self.dtype)


class Autoencoder(nn.Module):
    """Scaling, encoder, decoder.

    `forward` and the training loop work on scaled samples: float [N,C,H,W] in 0..1, or standardised [N,D].
    `encode` and `decode` are the ports of the package: uint8 [N,H,W,C] or float64 [N,D] <-> latent float32 [N,...].
    """

    def __init__(self, scaling: PixelScaling | Standardization, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.scaling = scaling
        self.encoder = encoder
        self.decoder = decoder

    @property
    def units(self) -> StandardUnits | None:
        """Of vectors: mean and deviation of each number over the train split."""
        return self.scaling.units if isinstance(self.scaling, Standardization) else None

    def forward(self, scaled: Tensor) -> Tensor:
        return self.decoder(self.encoder(scaled))  # type: ignore[no-any-return]

    def encode(self, sample: Tensor) -> Tensor:
        """uint8 [N,H,W,C] or float64 [N,D] -> latent float32 [N,...]."""
        return self.encoder(self.scaling(sample)).float()  # type: ignore[no-any-return]

    def decode(self, latent: Tensor) -> Tensor:
        """Latent float32 [N,...] -> uint8 [N,H,W,C] or float64 [N,D]."""
        return self.scaling.inverse(self.decoder(latent))


def build_scaling(train: NDArray[np.uint8] | NDArray[np.float64]) -> PixelScaling | Standardization:
    """The scaling of samples like `train`, as stored: uint8 [N,H,W,C] or float64 [N,D]."""
    return PixelScaling() if train.ndim == 4 else Standardization(train.astype(np.float64))


def build(architecture: Dense | Convolutional, train: NDArray[np.uint8] | NDArray[np.float64]) -> Autoencoder:
    """An untrained autoencoder for samples like `train`, as stored; weights are drawn from torch's global generator."""
    scaling = build_scaling(train)
    shape = tuple(scaling(torch.from_numpy(train[:1])).shape[1:])
    if isinstance(architecture, Dense):
        mean = torch.zeros(shape)
        if architecture.centered and train.ndim == 4:  # standardised vectors have mean 0 already
            mean = torch.from_numpy(train.mean(0, dtype=np.float64) / 255).float().permute(2, 0, 1)
        return Autoencoder(scaling, *_dense(architecture, shape, mean))
    return Autoencoder(scaling, *_convolutional(architecture, shape if len(shape) > 1 else (1, *shape), shape))


# --- dense -----------------------------------------------------------------------------------------------


class TiedLinear(nn.Module):
    """A decoder layer with the transposed weights of its encoder layer and a bias of its own: [N,out] -> [N,in].

    Vincent et al., JMLR 11 (2010), section 2.2: W' = W^T.
    """

    def __init__(self, source: nn.Linear) -> None:
        super().__init__()
        self._source = (source,)  # in a tuple: the weights belong to the encoder, and are counted once
        self.bias = nn.Parameter(torch.zeros(source.in_features))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self._source[0].weight.t(), self.bias)


class DenseLayer(nn.Sequential):
    """Linear, [batch norm], activation: one layer of the stack; [N,in] -> [N,out]."""

    def __init__(self, linear: nn.Module, features: int, activation: str, *, batch_norm: bool) -> None:
        norm = [nn.BatchNorm1d(features)] if batch_norm else []
        super().__init__(linear, *norm, ACTIVATIONS[activation]())


class Centered(nn.Flatten):
    """[N,...] -> [N,D] less the mean of the train split at each place."""

    mean: Tensor

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.flatten())

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - self.mean


def _dense(recipe: Dense, shape: tuple[int, ...], mean: Tensor) -> tuple[nn.Module, nn.Module]:
    """Encoder: Flatten, then one DenseLayer per width; decoder: the same widths in reverse, then Unflatten."""
    widths = [math.prod(shape), *recipe.hidden, recipe.latent_dim]
    encoder, decoder = nn.Sequential(Centered(mean) if recipe.centered else nn.Flatten()), nn.Sequential()
    linears = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    for index, linear in enumerate(linears):
        is_last = index == len(linears) - 1
        activation = recipe.latent_activation if is_last else recipe.activation
        norm = recipe.batch_norm and not is_last
        encoder.append(DenseLayer(linear, widths[index + 1], activation, batch_norm=norm))
    output = recipe.output_activation if len(shape) == 3 else "linear"  # a sigmoid cannot output standardised vectors
    for index, linear in reversed(list(enumerate(linears))):
        mirror = TiedLinear(linear) if recipe.tied else nn.Linear(widths[index + 1], widths[index])
        activation = recipe.activation if index else output
        norm = recipe.batch_norm and index > 0
        decoder.append(DenseLayer(mirror, widths[index], activation, batch_norm=norm))
    decoder.append(nn.Unflatten(1, shape))
    return add_linear_path(encoder, decoder, shape, recipe.latent_dim) if recipe.linear_path else (encoder, decoder)


# --- convolutional ---------------------------------------------------------------------------------------


class Residual(nn.Module):
    """x + conv(act(conv(x))), batch-normalised (He et al., CVPR 2016, section 3.2); starts as the identity."""

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        conv, norm = _layer_types(dims)
        self.body = nn.Sequential(
            conv(channels, channels, 3, padding=1, bias=False),
            norm(channels),
            nn.SiLU(),
            conv(channels, channels, 3, padding=1, bias=False),
            norm(channels),
        )
        nn.init.zeros_(self.body[-1].weight)  # type: ignore[arg-type]
        self.activation = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x + self.body(x))  # type: ignore[no-any-return]


class PadTo(nn.Module):
    """Zero-pads the spatial sizes of [N,C,...] up to the next multiple of `stride`."""

    def __init__(self, sizes: tuple[int, ...], stride: int) -> None:
        super().__init__()
        self.padding = [p for size in reversed(sizes) for p in (0, -size % stride)]

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.padding) if any(self.padding) else x


class CropTo(nn.Module):
    """The inverse of PadTo, then the sample's shape: [N,C,...] -> [N, *shape]."""

    def __init__(self, sizes: tuple[int, ...], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes, self.shape = sizes, shape

    def forward(self, x: Tensor) -> Tensor:
        for axis, size in enumerate(self.sizes, 2):
            x = x.narrow(axis, 0, size)
        return x.flatten(1) if len(self.shape) == 1 else x


def _layer_types(dims: int) -> tuple[type[nn.Module], type[nn.Module]]:
    """Convolution and batch norm of one or two spatial axes."""
    return (nn.Conv1d, nn.BatchNorm1d) if dims == 1 else (nn.Conv2d, nn.BatchNorm2d)


def _convolutional(
    recipe: Convolutional, shape: tuple[int, ...], sample: tuple[int, ...]
) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of samples of `shape`, (C,H,W), or (1,D) for vectors; `sample` is the shape of the output.

    Encoder: for each entry of `channels` a 4x4 convolution of stride 2 and residual blocks; then dense layers to a flat
    latent, or a 1x1 convolution to a spatial one. Decoder: the mirror image with transposed convolutions.
    """
    colours, sizes = shape[0], shape[1:]
    dims, stages = len(sizes), len(recipe.channels)
    conv, norm = _layer_types(dims)
    transposed = nn.ConvTranspose1d if dims == 1 else nn.ConvTranspose2d
    stride = 2**stages
    small = tuple(math.ceil(size / stride) for size in sizes)
    top = recipe.channels[-1]
    features = top * math.prod(small)

    encoder: list[nn.Module] = [PadTo(sizes, stride)] if dims == 2 else [nn.Unflatten(1, shape), PadTo(sizes, stride)]
    stage_inputs = (colours, *recipe.channels)
    for inputs, channels, blocks in zip(stage_inputs, recipe.channels, recipe.encoder_blocks, strict=False):
        encoder += [conv(inputs, channels, 4, stride=2, padding=1, bias=False), norm(channels), nn.SiLU()]
        encoder += [Residual(channels, dims) for _ in range(blocks)]
    decoder: list[nn.Module] = []
    if recipe.latent_channels is not None:
        encoder.append(conv(top, recipe.latent_channels, 1))
        decoder.append(conv(recipe.latent_channels, top, 1, bias=False))
    else:
        assert recipe.latent_dim is not None  # noqa: S101  (the recipe's own check)
        encoder += [
            nn.Flatten(),
            *_hidden_layer(features, recipe.hidden),
            nn.Linear(recipe.hidden or features, recipe.latent_dim),
        ]
        decoder += [
            *_hidden_layer(recipe.latent_dim, recipe.hidden),
            nn.Linear(recipe.hidden or recipe.latent_dim, features),
        ]
        decoder.append(nn.Unflatten(1, (top, *small)))
    decoder += [norm(top), nn.SiLU()]
    for index in reversed(range(stages)):
        decoder += [Residual(recipe.channels[index], dims) for _ in range(recipe.decoder_blocks[index])]
        if index:
            outputs = recipe.channels[index - 1]
            decoder += [
                transposed(recipe.channels[index], outputs, 4, stride=2, padding=1, bias=False),
                norm(outputs),
                nn.SiLU(),
            ]
        else:
            decoder.append(transposed(recipe.channels[0], recipe.head or colours, 4, stride=2, padding=1))
            decoder += [nn.SiLU(), conv(recipe.head, colours, 3, padding=1)] if recipe.head else []
    if recipe.output_activation != "linear" and len(sample) == 3:
        decoder.append(ACTIVATIONS[recipe.output_activation]())
    decoder.append(CropTo(sizes, sample))
    layers = nn.Sequential(*encoder), nn.Sequential(*decoder)
    if recipe.linear_path:
        assert recipe.latent_dim is not None  # noqa: S101  (the recipe's own check)
        return add_linear_path(*layers, sample, recipe.latent_dim)
    return layers


def _hidden_layer(inputs: int, width: int) -> list[nn.Module]:
    """[N,inputs] -> [N,width]; nothing if `width` is 0."""
    return [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.SiLU()] if width else []
