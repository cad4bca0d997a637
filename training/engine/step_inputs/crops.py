"""Random crops of training patches, with their noise: what one training step of a denoiser gets.

patches -> random crop -> [flip] -> [quarter turns] -> clean -> [grey] -> corruption -> [8 bits] -> (clean, noisy)
"""

import torch
from torch import Tensor

from training.engine.step_inputs.corruption import CORRUPTIONS, Corruptor
from training.recipe import DenoiserRecipe


class RandomCrops:
    """(patches [B,P,P,C], generator, is_pair) -> (clean, noisy) float [B,C,p,p] in 0..1, channels last.

    Patches are uint8, or of 16 bits int32.

    With `is_pair`, bool [B], patches are [B,P,P,2C] of pairs.py; those that are pairs get no other noise.

    Args:
        recipe: its `data.crop` is p; `augmentation` and `corruption` say what is done to a crop.
        paired: patches are [B,P,P,2C], the noisy image behind the clean one; no noise is added.
    """

    def __init__(self, recipe: DenoiserRecipe, *, paired: bool) -> None:
        self.crop, self.augmentation, self.paired = recipe.data.crop, recipe.augmentation, paired
        numeric = [corruption for corruption in recipe.corruption if CORRUPTIONS[corruption.kind].apply is not None]
        self.corrupt = Corruptor(numeric, pixels=False)

    def __call__(
        self, patches: Tensor, generator: torch.Generator, is_pair: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        height, width = patches.shape[1:3]
        y_offsets, x_offsets, flips, turns = (
            torch.randint(bound, (len(patches),), generator=generator, device=patches.device).tolist()
            for bound in (height - self.crop + 1, width - self.crop + 1, 2, 4)
        )
        crops = []
        for patch, y, x, flip, turn in zip(patches, y_offsets, x_offsets, flips, turns, strict=True):
            crop = patch[y : y + self.crop, x : x + self.crop]  # [p,p,C]
            if self.augmentation.flip and flip:
                crop = crop.flip(1)
            crops.append(crop.rot90(turn) if self.augmentation.quarter_turns else crop)
        pixels = torch.stack(crops).permute(0, 3, 1, 2).float()  # [B,C,p,p]
        is_file = patches.dtype == torch.uint8
        pixels = pixels / (255 if is_file else 65_535)
        if self.paired:
            clean, noisy = pixels.chunk(2, dim=1)
        elif is_pair is None:
            clean = self._make_some_grey(pixels, generator)
            noisy = self.corrupt(clean, generator)
            noisy = self._round_half_of(noisy, clean, generator, levels=255 if is_file else 65_535)
        else:
            clean, noisy_pairs = self._make_some_grey(pixels, generator).chunk(2, dim=1)
            noisy = self._round_half_of(self.corrupt(clean, generator), clean, generator)
            noisy = torch.where(is_pair[:, None, None, None], noisy_pairs, noisy)
        is_clean = self._random_mask(len(patches), self.augmentation.clean, pixels, generator)
        noisy = torch.where(is_clean, clean, noisy)
        return tuple(part.contiguous(memory_format=torch.channels_last) for part in (clean, noisy))  # type: ignore[return-value]

    def _round_half_of(self, noisy: Tensor, clean: Tensor, generator: torch.Generator, levels: int = 255) -> Tensor:
        """Half of the images clipped and rounded to 8 or 16 bits, as files are; grey images get grey noise."""
        if clean.shape[1] == 3:
            is_grey = (clean[:, :1] == clean).all(dim=(1, 2, 3), keepdim=True)
            noisy = torch.where(is_grey, noisy[:, :1], noisy)
        is_file = self._random_mask(len(noisy), 0.5, noisy, generator)
        return torch.where(is_file, (noisy.clamp(0, 1) * levels).round() / levels, noisy)

    def _make_some_grey(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """A share `augmentation.grey` of the images with the mean of their channels in each channel."""
        if not self.augmentation.grey:
            return pixels
        is_grey = self._random_mask(len(pixels), self.augmentation.grey, pixels, generator)
        means = [image.mean(1, keepdim=True).expand_as(image) for image in torch.split(pixels, 3, dim=1)]
        return torch.where(is_grey, torch.cat(means, 1), pixels)

    @staticmethod
    def _random_mask(count: int, share: float, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """bool [count,1,1,1], true with probability `share`, on the device of `pixels`."""
        return torch.rand(count, 1, 1, 1, generator=generator, device=pixels.device) < share
