"""Corruptions: random noise that a network learns to remove, in one table by the names of a recipe.

clean -> for each sample: choose a corruption -> draw its level -> CORRUPTIONS[kind].apply -> (corrupted, mask)

Vincent et al., "Extracting and Composing Robust Features with Denoising Autoencoders" (ICML 2008), section 2.3,
and "Stacked Denoising Autoencoders" (JMLR 11, 2010), section 3.3: gaussian, masking, salt-and-pepper.

Camera noise and JPEG act on whole photographs in eight bits (training.synthetic_photos, pairs.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.recipe import Corruption, CorruptionKind
from training.synthetic_photos import camera, jpeg

CorruptionFunction = Callable[[Tensor, Tensor, torch.Generator, Tensor], tuple[Tensor, Tensor | bool]]
"""(clean float [N,...], level float [N,1,...], generator, fill value) -> (corrupted float [N,...], mask).

The mask, bool [N,...], says which numbers were changed; True: all of them."""
Image = NDArray[np.uint8]  # [P,P,3]
ImageCorruption = Callable[[Image, float, np.random.Generator], tuple[Image, Image]]
"""(clean image, level, generator) -> (clean, corrupted) of the same shape; the clean one may be another picture."""


class Corruptor:
    """Applies to each sample one of `corruptions`, at a level drawn uniformly between its two bounds.

    Args:
        corruptions: one model learns to undo each of them; with none, samples stay as they are.
        pixels: samples are pixels in 0..1, and the result is clipped and rounded to 8 bits, as a file holds it.
            Otherwise samples are standardised vectors and a level counts in standard deviations.
        mean: float [...], the mean sample, for a masking with fill "mean"; 0 without it.
    """

    def __init__(self, corruptions: Sequence[Corruption], *, pixels: bool, mean: Tensor | None = None) -> None:
        self.corruptions = tuple(corruptions)
        self.pixels = pixels
        self.mean = torch.zeros(()) if mean is None else mean

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """`clean` float [N,...] -> corrupted float [N,...]; `generator` is the only source of randomness."""
        return self.corrupt_with_mask(clean, generator)[0]

    def corrupt_with_mask(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """As `__call__`, and bool [N,...]: which numbers were replaced or have noise added."""
        if not self.corruptions:
            return clean, torch.zeros_like(clean, dtype=torch.bool)
        shape = (len(clean), *[1] * (clean.dim() - 1))
        uniform = {"generator": generator, "device": clean.device}
        weights = torch.tensor([c.weight for c in self.corruptions], device=clean.device).cumsum(0)
        draw = torch.rand(shape, **uniform) * weights[-1]  # type: ignore[call-overload]
        choice = torch.bucketize(draw, weights[:-1], right=True)
        corrupted, mask = clean, torch.ones_like(clean, dtype=torch.bool)
        for index, corruption in enumerate(self.corruptions):
            low, high = corruption.level
            level = low + (high - low) * torch.rand(shape, **uniform)  # type: ignore[call-overload]
            fill = self.mean if corruption.fill == "mean" else torch.zeros(())
            apply = CORRUPTIONS[corruption.kind].apply
            if apply is None:
                raise AssertionError(f"This is a bug: recipes with corruption {corruption.kind} use PairBatches")
            candidate, places = apply(clean, level, generator, fill.to(clean))
            mask = torch.where(choice == index, places, mask)
            corrupted = torch.where(choice == index, candidate, corrupted)
        return (corrupted.clamp(0, 1) * 255).round() / 255 if self.pixels else corrupted, mask


def add_gaussian_noise(
    clean: Tensor, level: Tensor, generator: torch.Generator, _fill: Tensor
) -> tuple[Tensor, Tensor | bool]:
    """Adds normal noise of standard deviation `level`."""
    return clean + level * torch.randn(clean.shape, generator=generator, device=clean.device), True


def mask_numbers(
    clean: Tensor, level: Tensor, generator: torch.Generator, fill: Tensor
) -> tuple[Tensor, Tensor | bool]:
    """Sets a share `level` of the numbers to `fill`."""
    mask = torch.rand(clean.shape, generator=generator, device=clean.device) < level
    return torch.where(mask, fill, clean), mask


def add_salt_and_pepper(
    clean: Tensor, level: Tensor, generator: torch.Generator, _fill: Tensor
) -> tuple[Tensor, Tensor | bool]:
    """Sets a share `level` of the numbers to 0 or 1, with equal probability."""
    draw = torch.rand(clean.shape, generator=generator, device=clean.device)
    return torch.where(draw < level / 2, 0.0, torch.where(draw < level, 1.0, clean)), draw < level


@dataclass(frozen=True)
class CorruptionType:
    """A row of the table: what is done to a sample, and at which levels the test split is measured.

    Either `apply` is given, for batches of any samples, or `apply_to_image`, for single photographs.
    """

    apply: CorruptionFunction | None = None
    apply_to_image: ImageCorruption | None = None
    evaluation_levels: tuple[float, ...] = (0.1, 0.25)


CORRUPTIONS: dict[CorruptionKind, CorruptionType] = {
    "gaussian": CorruptionType(add_gaussian_noise, evaluation_levels=(0.1, 0.25, 0.5)),
    "masking": CorruptionType(mask_numbers),
    "salt-and-pepper": CorruptionType(add_salt_and_pepper),
    "camera": CorruptionType(apply_to_image=camera.corrupt),
    "jpeg": CorruptionType(apply_to_image=jpeg.corrupt),
}
"""`corruption.kind` of a recipe -> how it is applied and measured; parameters are the fields of recipe.Corruption."""
