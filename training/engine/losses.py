"""Loss functions by the names that a recipe gives them: one table for autoencoders and denoisers.

(output, target) -> LOSSES[name] -> mean over numbers | emphasized: mean with weights from the corruption's mask
"""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from training.recipe import LossName


class LossFunction(Protocol):
    """(output, target), float [N,...] each -> scalar; with reduction="none" the loss of each number or image."""

    def __call__(self, output: Tensor, target: Tensor, /, *, reduction: str = "mean") -> Tensor: ...


class LossAndError(NamedTuple):
    """What an objective returns where its loss is not on the scale of the validation error: scalars both.

    `error` is reported; `loss` is minimised.
    """

    loss: Tensor
    error: Tensor


def negative_psnr(output: Tensor, target: Tensor, /, *, reduction: str = "mean") -> Tensor:
    """A tenth of ln(MSE) of each image [N,C,H,W], pixels in 0..1, averaged over images as PSNR is; 0.023 are 1 dB.

    Faint noise counts as much as strong noise (Chen et al., "Simple Baselines for Image Restoration", ECCV 2022, use
    it too). Errors below 1.5 of 255 count little. With reduction="none" one value for each image: [N].
    """
    losses = ((output - target).square().mean((1, 2, 3)) + (1.5 / 255) ** 2).log()
    return 0.1 * (losses if reduction == "none" else losses.mean())


LOSSES: dict[LossName, LossFunction] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "psnr": negative_psnr,
    "bce": F.binary_cross_entropy,
}
"""Name in `optimization.loss` -> function; training.recipe says which of them each kind of network may use."""


def emphasized(loss: LossFunction, output: Tensor, target: Tensor, mask: Tensor, emphasis: float) -> Tensor:
    """Weighted mean of the loss of each number, in which numbers outside `mask` have the weight 1 - `emphasis`.

    Vincent et al., "Stacked Denoising Autoencoders" (JMLR 11, 2010), section 3.4.

    Args:
        output, target: float [N,...]; mask: bool [N,...], the numbers that the corruption changed.
        emphasis: 0..1; with 0 it is the plain mean, with 1 only numbers in `mask` count.
    """
    if not emphasis:
        return loss(output, target)
    weights = torch.where(mask, 1.0, 1 - emphasis)
    return (loss(output, target, reduction="none") * weights).sum() / weights.sum().clamp_min(1)


def exempt_clamped(output: Tensor, target: Tensor) -> Tensor:
    """`output`, but `target` where clamping to 0..1 makes them equal: above white paper, below black ink.

    So the denoiser need not cancel a paper's texture to the last digit. Where the clamp does not help, nothing changes.
    """
    equal_after_clamp = ((target >= 1) & (output > 1)) | ((target <= 0) & (output < 0))
    return torch.where(equal_after_clamp, target, output)
