"""Noise that the autoencoder learns to undo: (clean, generator) -> corrupted. The target stays clean.

Vincent et al., "Extracting and Composing Robust Features with Denoising Autoencoders" (ICML 2008), section 2.3,
and "Stacked Denoising Autoencoders" (JMLR 11, 2010), section 3.3: gaussian, masking, salt-and-pepper.

Camera noise is what gaussian noise leaves out: it grows with the light (Foi et al., "Practical Poissonian-Gaussian
noise modeling and fitting", IEEE TIP 17, 2008), has been smeared over its neighbours and colours by the camera, and
then compressed (as in Zhang et al., "Designing a Practical Degradation Model", ICCV 2021, section 3).
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.recipe import Corruption

Changed = tuple[Tensor, Tensor | bool]
"""corrupted float [N,...]; which of its numbers are not as they were: bool [N,...], or True: all"""


class Corruptor:
    """Applies to each sample one of `corruptions`, at a level drawn evenly between its two bounds.

    Args:
        corruptions: at least one; several make one model that undoes each of them.
        pixels: samples are pixels in 0..1: the result is clipped and rounded to 8 bits, as a file would be.
            Otherwise samples are standardised vectors and a level counts in standard deviations.
        mean: float [...], the mean sample, for a masking whose fill it is; 0 without it.
    """

    def __init__(self, corruptions: Sequence[Corruption], *, pixels: bool, mean: Tensor | None = None) -> None:
        self.corruptions = tuple(corruptions)
        self.pixels = pixels
        self.mean = torch.zeros(()) if mean is None else mean

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """`clean` float [N,...] -> corrupted float [N,...]; draws only from `generator`."""
        return self.corrupt_with_mask(clean, generator)[0]

    def corrupt_with_mask(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """As `__call__`, and bool [N,...]: which numbers were replaced or have noise on them."""
        if not self.corruptions:
            return clean, torch.zeros_like(clean, dtype=torch.bool)
        shape = (len(clean), *[1] * (clean.dim() - 1))
        uniform = {"generator": generator, "device": clean.device}
        weights = torch.tensor([c.weight for c in self.corruptions], device=clean.device).cumsum(0)
        draw = torch.rand(shape, **uniform) * weights[-1]  # type: ignore[call-overload]
        choice = torch.bucketize(draw, weights[:-1], right=True)
        corrupted, marked = clean, torch.ones_like(clean, dtype=torch.bool)
        for index, corruption in enumerate(self.corruptions):
            low, high = corruption.level
            level = low + (high - low) * torch.rand(shape, **uniform)  # type: ignore[call-overload]
            fill = self.mean if corruption.fill == "mean" else torch.zeros(())
            changed, places = _CORRUPT[corruption.kind](clean, level, generator, fill.to(clean))
            marked = torch.where(choice == index, places, marked)
            corrupted = torch.where(choice == index, changed, corrupted)
        return (corrupted.clamp(0, 1) * 255).round() / 255 if self.pixels else corrupted, marked


def gaussian(clean: Tensor, level: Tensor, generator: torch.Generator, _fill: Tensor) -> Changed:
    """Adds normal noise of standard deviation `level`."""
    return clean + level * torch.randn(clean.shape, generator=generator, device=clean.device), True


def masking(clean: Tensor, level: Tensor, generator: torch.Generator, fill: Tensor) -> Changed:
    """Sets a share `level` of the numbers to `fill`."""
    hidden = torch.rand(clean.shape, generator=generator, device=clean.device) < level
    return torch.where(hidden, fill, clean), hidden


def salt_and_pepper(clean: Tensor, level: Tensor, generator: torch.Generator, _fill: Tensor) -> Changed:
    """Sets a share `level` of the numbers to 0 or 1, by a fair coin."""
    draw = torch.rand(clean.shape, generator=generator, device=clean.device)
    return torch.where(draw < level / 2, 0.0, torch.where(draw < level, 1.0, clean)), draw < level


def camera(clean: Tensor, level: Tensor, generator: torch.Generator, _fill: Tensor) -> Changed:
    """[N,C,H,W]: noise of standard deviation about `level` at half light, as a camera and its JPEG leave it."""
    uniform = {"generator": generator, "device": clean.device}
    shape = level.shape
    light, blur, shared = (torch.rand(shape, **uniform) for _ in range(3))  # type: ignore[call-overload]
    noise = torch.randn(clean.shape, **uniform)  # type: ignore[call-overload]
    noise = torch.lerp(noise, noise[:, :1], 0.5 * shared)  # colours share a part of it
    smeared = torch.lerp(noise, F.avg_pool2d(F.pad(noise, (1, 1, 1, 1), mode="reflect"), 3, 1), blur)
    smeared = smeared / smeared.std((1, 2, 3), keepdim=True).clamp_min(1e-6)
    noisy = clean + level * (1 - light + 2 * light * clean).clamp_min(0).sqrt() * smeared
    files = (noisy.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    qualities = torch.randint(30, 140, (len(files),), generator=generator, device=clean.device).tolist()
    opened = [_jpeg(file, quality) if quality <= 95 else file for file, quality in zip(files, qualities, strict=True)]
    return torch.from_numpy(np.stack(opened)).to(clean.device).permute(0, 3, 1, 2).float() / 255, True


def _jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """[H,W,C] through JPEG with halved colour, as most cameras write it."""
    _, encoded = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    read = cv2.IMREAD_GRAYSCALE if image.shape[2] == 1 else cv2.IMREAD_COLOR
    return np.asarray(cv2.imdecode(encoded, read), np.uint8).reshape(image.shape)


_CORRUPT = {"camera": camera, "gaussian": gaussian, "masking": masking, "salt-and-pepper": salt_and_pepper}
