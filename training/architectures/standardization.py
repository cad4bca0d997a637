"""Standardisation of vectors, a part of the module and of its exported graphs.

float64 [N,D] -> Standardization -> float32 [N,D] of mean 0 and deviation 1 -> inverse -> float64 [N,D]

It computes in float64: float32 has 24 bits, and a column around 1e6 with a deviation of 1 would keep four of them.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from service.model.measures.standard_units import StandardUnits

ROUNDING_STEPS = 4  # a column that deviates by fewer steps of its numbers' resolution is constant, but for rounding
SMALLEST_DEVIATION = 1e-150  # whose square is a number still


def measure_units(train: NDArray[np.floating]) -> StandardUnits:
    """Mean and deviation of each column of [N,D]; the deviation is 0 where a column is constant but for rounding."""
    first = train[0].astype(np.float64)
    shifted = train.astype(np.float64) - first  # exact for an offset, which no result may depend on
    largest = np.abs(shifted).max(axis=0)
    scale = np.where(largest > 0, largest, 1.0)
    shares = shifted / scale  # within -1..1, so that no square overflows
    mean = first + shares.mean(axis=0) * scale
    deviation = shares.std(axis=0) * scale
    resolution = np.finfo(np.float64).eps * np.abs(train).max(axis=0).astype(np.float64)
    is_constant = (deviation <= ROUNDING_STEPS * resolution) | (deviation < SMALLEST_DEVIATION)
    return StandardUnits(mean, np.where(is_constant, 0.0, deviation))


class Standardization(nn.Module):
    """float64 [N,D] <-> float32 [N,D] of mean 0 and standard deviation 1 per number, as measured on the train split.

    Constants are 0 inside, and come back as they were.
    """

    mean: Tensor
    deviation: Tensor
    scale: Tensor

    def __init__(self, train: NDArray[np.floating]) -> None:
        super().__init__()
        units = measure_units(train)
        self.register_buffer("mean", torch.from_numpy(units.mean))
        self.register_buffer("deviation", torch.from_numpy(units.deviation))
        with np.errstate(divide="ignore"):
            scale = np.where(units.is_constant, 0.0, 1 / units.deviation)
        self.register_buffer("scale", torch.from_numpy(scale))

    @property
    def units(self) -> StandardUnits:
        """Mean and deviation as numpy arrays."""
        return StandardUnits(self.mean.cpu().numpy(), self.deviation.cpu().numpy())

    def forward(self, vector: Tensor) -> Tensor:
        return ((vector.double() - self.mean) * self.scale).float()

    def inverse(self, standard: Tensor) -> Tensor:
        return standard.double() * self.deviation + self.mean
