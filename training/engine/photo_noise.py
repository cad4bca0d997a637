"""Corruption of photographs: gaussian noise by torch, camera noise and JPEG by training.synthetic_photos.

clean crops [B,C,P,P] -> one corruption for each, by weight -> (clean, noisy) [B,C,P,P]

The camera pipeline develops a crop twice, without noise and with it, so it replaces the clean crop as well.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.engine.corruption import CORRUPTIONS, Corruptor, ImageCorruption
from training.recipe import Corruption


class PhotoNoise:
    """Corrupts each crop by one of `corruptions`, drawn by weight, at a level drawn evenly between its bounds."""

    def __init__(self, corruptions: Sequence[Corruption]) -> None:
        self.corruptions = tuple(corruptions)
        self.corruptors = [Corruptor([corruption], pixels=False) for corruption in self.corruptions]

    def __call__(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """float [B,C,P,P] in 0..1, C 1 or 3 -> (clean, noisy), float of the same shape; noisy may leave 0..1."""
        weights = torch.tensor([corruption.weight for corruption in self.corruptions])
        uniform = torch.rand(len(clean), 2, generator=generator, device=clean.device)
        seeds = torch.randint(2**31, (len(clean),), generator=generator, device=clean.device).tolist()
        choices = torch.bucketize(uniform[:, 0].cpu() * weights.sum(), weights.cumsum(0)[:-1], right=True).tolist()
        pairs = []
        for crop, choice, position, seed in zip(clean, choices, uniform[:, 1].tolist(), seeds, strict=True):
            corruption = self.corruptions[choice]
            corrupt_image = CORRUPTIONS[corruption.kind].apply_to_image
            if corrupt_image is None:
                noisy, _ = self.corruptors[choice].corrupt_with_mask(crop[None], generator)
                pairs.append((crop, noisy[0]))
                continue
            low, high = corruption.level
            level = low + (high - low) * position
            pairs.append(_corrupt_crop(corrupt_image, crop, level, np.random.default_rng(seed)))
        clean_crops, noisy_crops = zip(*pairs, strict=True)
        return torch.stack(clean_crops), torch.stack(noisy_crops)


def has_image_corruption(corruptions: Sequence[Corruption]) -> bool:
    """Whether a corruption needs whole images in eight bits."""
    return any(CORRUPTIONS[corruption.kind].apply_to_image is not None for corruption in corruptions)


def _corrupt_crop(
    corrupt_image: ImageCorruption, crop: Tensor, level: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """float [C,P,P] -> (clean, noisy) float [C,P,P]; a crop whose channels are equal keeps them equal."""
    image = (crop.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    is_grey = bool((image == image[..., :1]).all())
    colour = np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))
    results = []
    for result in corrupt_image(colour, level, rng):
        pixels = torch.from_numpy(result.copy()).to(crop.device).permute(2, 0, 1).float() / 255
        results.append(pixels.mean(0, keepdim=True).expand(len(crop), -1, -1) if is_grey else pixels)
    return results[0], results[1]


VALIDATION_LEVELS = {"camera": (0.15, 0.45, 0.75), "jpeg": (0.9, 0.8, 0.6)}  # jpeg: qualities 10, 20, 40
VALIDATION_SIZE = 256  # pixels along a side of what is corrupted


def corrupt_for_validation(
    image: NDArray[np.uint8], corruptions: Sequence[Corruption], index: int
) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """The same corruptions of a held-out image each time: "camera 0.45" -> (clean, noisy), uint8 [S,S,C].

    Args:
        image: uint8 [H,W,C], C 1 or 3; its centre of VALIDATION_SIZE pixels a side is used.
        index: of the image, the seed of its noise.
    """
    side = min(VALIDATION_SIZE, *image.shape[:2])
    y, x = ((length - side) // 2 for length in image.shape[:2])
    centre = image[y : y + side, x : x + side]
    colour = np.ascontiguousarray(np.broadcast_to(centre, (side, side, 3)))
    pairs = {}
    for kind in dict.fromkeys(corruption.kind for corruption in corruptions):
        corrupt_image = CORRUPTIONS[kind].apply_to_image
        if corrupt_image is None:
            continue
        for level in VALIDATION_LEVELS[kind]:
            rng = np.random.default_rng([index, round(100 * level)])
            clean, noisy = (result[..., : image.shape[2]] for result in corrupt_image(colour, level, rng))
            pairs[f"{kind} {level:g}"] = clean, noisy
    return pairs
