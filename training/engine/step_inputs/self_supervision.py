"""Self-supervision: what a denoiser learns from where there are noisy pictures alone.

noisy crops -> METHODS[name] -> (input, target), both noisy, of one scene, with independent noise -> squared error

- neighbor2neighbor: two of the four pixels of each 2x2 cell, chosen at random (Huang et al., CVPR 2021), with the
  paper's regularizer. Needs noise that is independent between neighbours.
- recorrupted: noise of the estimated model is added to the input and, divided by its factor, subtracted from the target
  (Pang et al., "Recorrupted-to-Recorrupted", CVPR 2021). Noise may be correlated, and may depend on the light.
- refined: what the network at the start makes of a picture is taken for clean, with noise of the estimated model as
  input (Zhang et al., "IDR: Self-Supervised Image Denoising via Iterative Data Refinement", CVPR 2022).
"""

import copy
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from training.engine.losses import LossAndError, LossFunction
from training.engine.step_inputs.noise_model import NoiseModel
from training.recipe import SelfSupervision as Method

Floats = NDArray[np.float32]  # [H,W,C] in 0..1

FACTOR = 0.5  # of the noise that `recorrupt` adds; the target gets 1 / FACTOR of it
REGULARIZER = 1.0  # weight of the regularizer of neighbor2neighbor
SMOOTHING = 5  # pixels a side, over which the brightness that decides the noise is averaged


@dataclass(frozen=True)
class SelfSupervision:
    """A method with what it needs: the estimated noise; for "refined" the denoiser at the start, in `teacher`."""

    method: Method
    model: NoiseModel
    teacher: list[nn.Module] = field(default_factory=list)  # in a list: its weights are not to be trained

    @classmethod
    def create(cls, method: Method, model: NoiseModel, denoiser: nn.Module) -> "SelfSupervision":
        teacher = [copy.deepcopy(denoiser).eval().requires_grad_(False)] if method == "refined" else []
        return cls(method, model, teacher)

    def step(self, module: nn.Module, noisy: Tensor, loss: LossFunction, generator: torch.Generator) -> LossAndError:
        """The loss of one batch of noisy crops, float [B,C,H,W] in 0..1, H and W even; the error is an RMSE."""
        if self.method == "neighbor2neighbor":
            return self._compare_neighbours(module, noisy, loss, generator)
        if self.method == "refined":
            shown, target = refine(noisy, self.teacher[0], self.model, generator)
        else:
            shown, target = recorrupt(noisy, self.model, generator)
        output = module(shown).float()
        return LossAndError(loss(output, target), F.mse_loss(output.detach(), target).sqrt())

    def _compare_neighbours(
        self, module: nn.Module, noisy: Tensor, loss: LossFunction, generator: torch.Generator
    ) -> LossAndError:
        first, second = choose_neighbours(noisy, generator)
        with torch.no_grad():
            restored = module(noisy).float()
        gap = take_pixels(restored, first) - take_pixels(restored, second)  # what differs without noise
        target = take_pixels(noisy, second)
        output = module(take_pixels(noisy, first)).float()
        total = loss(output, target) + REGULARIZER * loss(output - gap, target)
        return LossAndError(total, F.mse_loss(output.detach(), target).sqrt())

    def draw_versions(self, noisy: Floats, seed: int) -> tuple[Floats, Floats]:
        """Two noisy versions of one noisy picture whose noise is independent; to measure by, the same for one seed."""
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.from_numpy(noisy).permute(2, 0, 1)[None].float()
        if self.method == "neighbor2neighbor":
            pixels = pixels[:, :, : pixels.shape[2] // 2 * 2, : pixels.shape[3] // 2 * 2]
            pair = [take_pixels(pixels, numbers) for numbers in choose_neighbours(pixels, generator)]
        else:
            pair = list(recorrupt(pixels, self.model, generator))
        first, second = (np.ascontiguousarray(part[0].permute(1, 2, 0).numpy()) for part in pair)
        return first, second

    def add_noise(self, clean: Floats, seed: int) -> Floats:
        """A clean picture, float [H,W,C] in 0..1, with noise of the model."""
        pixels = torch.from_numpy(clean).permute(2, 0, 1)[None]
        noisy = pixels + self.model.draw(pixels, torch.Generator().manual_seed(seed))
        return np.ascontiguousarray(noisy[0].permute(1, 2, 0).numpy())


def recorrupt(noisy: Tensor, model: NoiseModel, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """float [B,C,H,W] -> (input, target) of that shape."""
    brightness = F.avg_pool2d(F.pad(noisy, [SMOOTHING // 2] * 4, mode="reflect"), SMOOTHING, 1)
    noise = model.draw(brightness, generator)
    return noisy + FACTOR * noise, noisy - noise / FACTOR


def refine(noisy: Tensor, teacher: nn.Module, model: NoiseModel, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """float [B,C,H,W] -> (input, target) of that shape; `teacher` is the denoiser at the start."""
    with torch.no_grad():
        clean = teacher(noisy).float().clamp(0, 1)
    return clean + model.draw(clean, generator), clean


def choose_neighbours(noisy: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """int64 [B,1,H/2,W/2] twice: numbers 0..3 of two different pixels of each 2x2 cell that share a side."""
    size = (len(noisy), 1, noisy.shape[2] // 2, noisy.shape[3] // 2)
    first, step = (torch.randint(n, size, generator=generator, device=noisy.device) for n in (4, 2))
    return first, torch.where(step == 0, first ^ 1, first ^ 2)


def take_pixels(images: Tensor, numbers: Tensor) -> Tensor:
    """[B,C,H,W] -> [B,C,H/2,W/2]: of each 2x2 cell the pixel of that number, 0..3 in reading order."""
    batch, channels, height, width = images.shape
    cells = F.pixel_unshuffle(images, 2).view(batch, channels, 4, height // 2, width // 2)
    index = numbers[:, :, None].expand(-1, channels, -1, -1, -1)
    return cells.gather(2, index)[:, :, 0]
