"""Corruptions: random noise that a network learns to remove, in one table by the names of a recipe.

clean -> for each sample: choose a corruption -> draw its level -> CORRUPTIONS[kind].apply -> (corrupted, mask)

Vincent et al., "Extracting and Composing Robust Features with Denoising Autoencoders" (ICML 2008), section 2.3,
and "Stacked Denoising Autoencoders" (JMLR 11, 2010), section 3.3: gaussian, masking, salt-and-pepper.

Camera noise grows with the light (Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting", IEEE TIP 17,
2008). The camera smears it over neighbouring pixels and colours and then compresses it (as in Zhang et al., "Designing
a Practical Degradation Model", ICCV 2021, section 3). Gaussian noise has none of this.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.recipe import Corruption, CorruptionKind

CorruptionFunction = Callable[[Tensor, Tensor, torch.Generator, Tensor], tuple[Tensor, Tensor | bool]]
"""(clean float [N,...], level float [N,1,...], generator, fill value) -> (corrupted float [N,...], mask).

The mask, bool [N,...], says which numbers were changed; True: all of them."""


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
            candidate, places = CORRUPTIONS[corruption.kind].apply(clean, level, generator, fill.to(clean))
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


def add_camera_noise(
    clean: Tensor, level: Tensor, generator: torch.Generator, _fill: Tensor
) -> tuple[Tensor, Tensor | bool]:
    """[N,C,H,W]: noise of a camera and its JPEG files, of a standard deviation of about `level` at half light."""
    uniform = {"generator": generator, "device": clean.device}
    shape = level.shape
    light, blur, shared = (torch.rand(shape, **uniform) for _ in range(3))  # type: ignore[call-overload]
    noise = torch.randn(clean.shape, **uniform)  # type: ignore[call-overload]
    noise = torch.lerp(noise, noise[:, :1], 0.5 * shared)  # colours share a part of it
    smeared = torch.lerp(noise, F.avg_pool2d(F.pad(noise, (1, 1, 1, 1), mode="reflect"), 3, 1), blur)
    smeared = smeared / smeared.std((1, 2, 3), keepdim=True).clamp_min(1e-6)
    noisy = clean + level * (1 - light + 2 * light * clean).clamp_min(0).sqrt() * smeared
    images = (noisy.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()  # [N,H,W,C]
    qualities = torch.randint(30, 140, (len(images),), generator=generator, device=clean.device).tolist()
    images = np.stack([_jpeg(i, q) if q <= 95 else i for i, q in zip(images, qualities, strict=True)])
    return torch.from_numpy(images).to(clean.device).permute(0, 3, 1, 2).float() / 255, True


def _jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """uint8 [H,W,C], encoded as JPEG with halved colour resolution, as most cameras do, and decoded again."""
    _, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    mode = cv2.IMREAD_GRAYSCALE if image.shape[2] == 1 else cv2.IMREAD_COLOR
    return np.asarray(cv2.imdecode(data, mode), np.uint8).reshape(image.shape)


@dataclass(frozen=True)
class CorruptionType:
    """A row of the table: what is done to a sample, and at which levels the test split is measured."""

    apply: CorruptionFunction
    evaluation_levels: tuple[float, ...] = (0.1, 0.25)


CORRUPTIONS: dict[CorruptionKind, CorruptionType] = {
    "gaussian": CorruptionType(add_gaussian_noise, evaluation_levels=(0.1, 0.25, 0.5)),
    "masking": CorruptionType(mask_numbers),
    "salt-and-pepper": CorruptionType(add_salt_and_pepper),
    "camera": CorruptionType(add_camera_noise),
}
"""`corruption.kind` of a recipe -> how it is applied and measured; parameters are the fields of recipe.Corruption."""
