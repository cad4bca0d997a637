"""Augmentation of images: random flips, affine maps and elastic displacements; the result is as clean as its source.

clean -> [flip] -> affine map and displacement field -> one bicubic sampling, black or mirrored outside -> clean
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from training.recipe import AutoencoderAugmentation


class Augmenter:
    """(clean float [N,C,H,W] in 0..1, progress of the run 0..1, generator) -> clean float [N,C,H,W] in 0..1."""

    def __init__(self, recipe: AutoencoderAugmentation) -> None:
        self.recipe = recipe

    def __call__(self, clean: Tensor, progress: float, generator: torch.Generator) -> Tensor:
        recipe = self.recipe
        if recipe.flip:
            is_flipped = torch.rand(len(clean), 1, 1, 1, generator=generator, device=clean.device) < 0.5
            clean = torch.where(is_flipped, clean.flip(3), clean)
        strength = self.strength(progress)
        if strength == 0 or not (recipe.shift or recipe.rotate or recipe.scale or recipe.shear or recipe.elastic):
            return clean
        grid = self._grid(clean, strength, generator)
        padding = "zeros" if recipe.edge == "black" else "reflection"
        warped = F.grid_sample(clean, grid, mode="bicubic", padding_mode=padding, align_corners=True)
        return warped.clamp(0, 1)

    def strength(self, progress: float) -> float:
        """Factor of all changes at `progress`: 1 until the first bound of `fade`, then linearly down to 0."""
        start, end = self.recipe.fade
        if progress <= start:
            return 1.0
        return 0.0 if progress >= end else (end - progress) / (end - start)

    def _grid(self, clean: Tensor, strength: float, generator: torch.Generator) -> Tensor:
        """Where each output pixel is sampled: float [N,H,W,2], (x, y) in -1..1."""
        n, _, height, width = clean.shape
        recipe, device = self.recipe, clean.device

        def uniform(*shape: int) -> Tensor:
            return (torch.rand(*shape, generator=generator, device=device) * 2 - 1) * strength

        angle = uniform(n) * math.radians(recipe.rotate)
        shear = uniform(n) * recipe.shear
        scale_x, scale_y = 1 + uniform(n) * recipe.scale, 1 + uniform(n) * recipe.scale
        cos, sin = torch.cos(angle), torch.sin(angle)
        shift = uniform(n, 2) * recipe.shift * 2 / torch.tensor([max(width - 1, 1), max(height - 1, 1)], device=device)
        affine = torch.stack(  # [N,2,3]
            [
                torch.stack([scale_x * cos, shear - scale_y * sin, shift[:, 0]], 1),
                torch.stack([scale_x * sin, scale_y * cos, shift[:, 1]], 1),
            ],
            1,
        )
        grid = F.affine_grid(affine, list(clean.shape), align_corners=True)  # [N,H,W,2]
        if recipe.elastic:
            field = torch.randn(n, 2, 4, 4, generator=generator, device=device) * recipe.elastic * strength
            field = F.interpolate(field, size=(height, width), mode="bicubic", align_corners=True)
            grid = grid + field.permute(0, 2, 3, 1)
        return grid
