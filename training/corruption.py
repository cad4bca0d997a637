"""Noise that the autoencoder learns to undo: (clean, generator) -> corrupted. The target stays clean.

Vincent et al., "Extracting and Composing Robust Features with Denoising Autoencoders" (ICML 2008), section 2.3,
and "Stacked Denoising Autoencoders" (JMLR 11, 2010), section 3.3: gaussian, masking, salt-and-pepper.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from training.recipe import Corruption


class Corruptor:
    """Applies to each sample one of `corruptions`, at a level drawn evenly between its two bounds.

    Args:
        corruptions: at least one; several make one model that undoes each of them.
        pixels: samples are pixels in 0..1: the result is clipped and rounded to 8 bits, as a file would be.
            Otherwise samples are standardised vectors and a level counts in standard deviations.
    """

    def __init__(self, corruptions: Sequence[Corruption], *, pixels: bool) -> None:
        self.corruptions = tuple(corruptions)
        self.pixels = pixels

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """`clean` float [N,...] -> corrupted float [N,...]; draws only from `generator`."""
        if not self.corruptions:
            return clean
        shape = (len(clean), *[1] * (clean.dim() - 1))
        uniform = {"generator": generator, "device": clean.device}
        choice = torch.randint(len(self.corruptions), shape, **uniform)  # type: ignore[call-overload]
        corrupted = clean
        for index, corruption in enumerate(self.corruptions):
            low, high = corruption.level
            level = low + (high - low) * torch.rand(shape, **uniform)  # type: ignore[call-overload]
            corrupted = torch.where(choice == index, _CORRUPT[corruption.kind](clean, level, generator), corrupted)
        return (corrupted.clamp(0, 1) * 255).round() / 255 if self.pixels else corrupted


def gaussian(clean: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """Adds normal noise of standard deviation `level`."""
    return clean + level * torch.randn(clean.shape, generator=generator, device=clean.device)


def masking(clean: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """Sets a share `level` of the numbers to 0."""
    kept = torch.rand(clean.shape, generator=generator, device=clean.device) >= level
    return clean * kept


def salt_and_pepper(clean: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """Sets a share `level` of the numbers to 0 or 1, by a fair coin."""
    draw = torch.rand(clean.shape, generator=generator, device=clean.device)
    return torch.where(draw < level / 2, 0.0, torch.where(draw < level, 1.0, clean))


_CORRUPT = {"gaussian": gaussian, "masking": masking, "salt-and-pepper": salt_and_pepper}
