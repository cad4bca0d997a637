"""Denoiser with skip connections, a U-Net: an autoencoder whose decoder also sees the encoder's inner layers.

image -> scaling -> [halved by pixel unshuffle] -> [blocks, halve] ... blocks ... [enlarge, + skip, blocks] -> noise
image - noise -> scaling back -> denoised

U-Net (Ronneberger et al., MICCAI 2015) of residual blocks, that predicts the noise (Zhang et al., "Beyond a Gaussian
Denoiser", IEEE TIP 2017, section III). With `unshuffle` 2 it works at half size from its first layer on (Zhang et al.,
"FFDNet", IEEE TIP 2018, section III-B): a quarter of the arithmetic, enough for pages, but photographs lose fine
texture. There is no normalisation: a pixel's output depends on `halo` pixels to each side alone, so any image can be
cut into tiles without a seam.

With `context` the lowest level, or `context_level`, also sees the maximum of each channel over a neighbourhood. The
darkest ink nearby distinguishes ink from stains, and convolutions, which add, are slow to learn a maximum.
"""

import copy
import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.architectures.autoencoder import PixelScaling
from training.recipe import Unet

LEAK = 1e-3  # share of the gradient of a silent channel that its bias gets


class Conv(nn.Module):
    """A convolution whose weights are stored as the matrix [out, in * k * k] that Muon steps on."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, gain: float = 1.0) -> None:
        super().__init__()
        self.shape, self.stride = (out_channels, in_channels, kernel, kernel), stride
        self.padding = kernel // 2 if stride == 1 else 0
        features = in_channels * kernel * kernel
        self.weight = nn.Parameter(torch.randn(out_channels, features) * gain * math.sqrt(2 / features))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.view(self.shape).contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)

    def to_conv2d(self) -> nn.Conv2d:
        """The same convolution with its weights [out, in, k, k], as torch has them."""
        out_channels, in_channels, kernel, _ = self.shape
        conv = nn.Conv2d(in_channels, out_channels, kernel, self.stride, self.padding)
        conv.weight.data, conv.bias.data = self.weight.data.view(self.shape), self.bias.data  # type: ignore[union-attr]
        return conv


class RevivingRelu(torch.autograd.Function):
    """(x [N,C,H,W], bias [C], which x has in it already) -> max(x, 0), whose gradient is exact.

    The bias of a channel that is 0 in the whole batch, and would get no gradient, gets LEAK of that behind the ReLU: it
    comes back where that lowers the error. Nothing leaks to the layers before: with large weights behind the ReLU the
    leak was more than their gradient, and runs diverged.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        output = F.relu(x)
        ctx.save_for_backward(output, bias)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        output, bias = ctx.saved_tensors
        exact: Tensor = torch.ops.aten.threshold_backward(gradient, output, 0)
        is_silent = output.amax((0, 2, 3)) == 0
        return exact, (LEAK * gradient.sum((0, 2, 3)) * is_silent).to(bias.dtype)


class Block(nn.Module):
    """x + conv(relu(conv(x))), 3x3 (He et al., CVPR 2016, section 3.2); nearly the identity at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.outer = Conv(width, width, 3), Conv(width, width, 3, gain=0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.outer(self._activate(x))  # type: ignore[no-any-return]

    def _activate(self, x: Tensor) -> Tensor:
        inner = self.inner(x)
        return RevivingRelu.apply(inner, self.inner.bias) if self.training else F.relu(inner)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def revive(self, x: Tensor) -> int:
        """Draw the silent channels between the convolutions anew, which changes no output for `x`; their number.

        A channel is silent where it is 0 for all of `x` [N,C,H,W]: whole blocks of earlier runs were.
        """
        is_silent = F.relu(self.inner(x)).amax((0, 2, 3)) == 0
        fresh = Conv(self.inner.shape[1], self.inner.shape[0], 3)
        self.inner.weight[is_silent] = fresh.weight[is_silent].to(self.inner.weight)
        self.inner.bias[is_silent] = 0
        self.inner.bias[is_silent] = -self.inner(x).mean((0, 2, 3))[is_silent]  # on about half of the time
        self.outer.weight.view(self.outer.shape)[:, is_silent] = 0
        return int(is_silent.sum())


class Upsample(nn.Module):
    """[N,C,H,W] -> [N,C',2H,2W] by a 1x1 convolution and pixel shuffle (Shi et al., CVPR 2016)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.spread = Conv(in_channels, out_channels * 4, 1, gain=0.7)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.spread(x), 2)


class Denoiser(nn.Module):
    """`forward`: float [N,C,H,W] in 0..1 -> the same without noise; `denoise`: the port, uint8 [N,H,W,C] -> the same.

    H and W must be multiples of `stride`. Of 16 `bits` the port is uint16.
    """

    def __init__(self, recipe: Unet, bits: int = 8) -> None:
        super().__init__()
        self.recipe, self.bits = recipe, bits
        self.scaling = PixelScaling(bits)
        widths, pixels = recipe.widths, recipe.channels * recipe.unshuffle**2
        self.first = Conv(pixels, widths[0], 3)
        self.encoder = nn.ModuleList(_blocks(w, n) for w, n in zip(widths, recipe.encoder_blocks, strict=True))
        self.halve = nn.ModuleList(Conv(a, b, 2, stride=2) for a, b in itertools.pairwise(widths))
        self.enlarge = nn.ModuleList(Upsample(b, a) for a, b in itertools.pairwise(widths))
        self.decoder = nn.ModuleList(_blocks(w, n) for w, n in zip(widths, recipe.decoder_blocks, strict=False))
        self.context_level = len(self.halve) if recipe.context_level is None else recipe.context_level
        width = widths[self.context_level]
        self.context = Conv(width, width, 1, gain=0.5) if recipe.context else None
        self.last = Conv(widths[0], pixels, 3, gain=0.1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(self._unshuffle(image))
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.encoder):
            if self.context is not None and level == self.context_level:
                x = x + self.context(F.max_pool2d(x, self.recipe.context, 1, self.recipe.context // 2))
            x = blocks(x)
            if level < len(self.halve):
                skips.append(x)
                x = self.halve[level](x)
        for level in reversed(range(len(self.enlarge))):
            x = self.decoder[level](self.enlarge[level](x) + skips[level])
        return image + self._shuffle(self.last(x))

    @torch.no_grad()
    def revive(self, image: Tensor) -> int:
        """Draw all channels anew that are silent for `image` [N,C,H,W] in 0..1, without a change of its output.

        Returns: their number, of all blocks.
        """
        counts: list[int] = []
        handles = [
            block.register_forward_pre_hook(lambda block, inputs: counts.append(block.revive(inputs[0])))
            for block in self.modules()
            if isinstance(block, Block)
        ]
        try:
            self(image)
        finally:
            for handle in handles:
                handle.remove()
        return sum(counts)

    def denoise(self, image: Tensor) -> Tensor:
        """uint8 or uint16 [N,H,W,C] -> the same."""
        return self.scaling.inverse(self(self.scaling(image)))

    def _unshuffle(self, image: Tensor) -> Tensor:
        return image if self.recipe.unshuffle == 1 else F.pixel_unshuffle(image, self.recipe.unshuffle)

    def _shuffle(self, x: Tensor) -> Tensor:
        return x if self.recipe.unshuffle == 1 else F.pixel_shuffle(x, self.recipe.unshuffle)

    @property
    def stride(self) -> int:
        """Pixels: H and W must be multiples of it."""
        return int(self.recipe.unshuffle * 2 ** (len(self.recipe.widths) - 1))

    @property
    def halo(self) -> int:
        """Pixels: nothing farther away affects an output pixel. A 3x3 convolution at 1/s of the size reaches s."""
        scales = [self.recipe.unshuffle * 2**level for level in range(len(self.recipe.widths))]
        blocks = [
            e + d for e, d in itertools.zip_longest(self.recipe.encoder_blocks, self.recipe.decoder_blocks, fillvalue=0)
        ]
        reach = (
            2 * scales[0]
            + self.recipe.context // 2 * scales[self.context_level]
            + sum(2 * n * scale for n, scale in zip(blocks, scales, strict=True))
            + self.stride
            - 1
        )
        return int(-(-reach // self.stride) * self.stride)


def with_plain_convolutions(denoiser: Denoiser) -> Denoiser:
    """A copy of nn.Conv2d layers, for export: a runtime prepares weights once if they are constants, not views."""
    duplicate = copy.deepcopy(denoiser)
    for module in list(duplicate.modules()):
        for name, child in module.named_children():
            if isinstance(child, Conv):
                setattr(module, name, child.to_conv2d())
    return duplicate


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*[Block(width) for _ in range(count)])
