"""Metrics of held-out data: mean squared error, PSNR, and their entries in a manifest.

Pixels are in 0..1. PSNR is 10 log10(1 / MSE) of each image, averaged over images.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model.manifest import Metric

Array = NDArray[Any]

MAX_PSNR = 100.0  # dB, of an exact image


def mse(output: Array, clean: Array) -> float:
    """Mean squared error of two images of one shape; each uint8, uint16 or float in 0..1."""
    a, b = (np.asarray(image, np.float64) / _largest(image) for image in (output, clean))
    return float(np.mean((a - b) ** 2))


def _largest(image: Array) -> int:
    return int(np.iinfo(image.dtype).max) if image.dtype.kind == "u" else 1


def psnr(errors: Sequence[float] | NDArray[np.float64], limit: float = MAX_PSNR) -> float:
    """dB: mean over images of 10 log10(1 / MSE), each at most `limit`; `errors` are the images' MSE."""
    decibels = 10 * np.log10(1 / np.maximum(np.asarray(errors, np.float64), 1e-10))
    return float(np.mean(np.minimum(decibels, limit)))


def make_metric(value: float, unit: str, baselines: Mapping[str, float]) -> Metric:
    """The manifest's entry of a metric on the test split, beside its baselines."""
    return Metric(value=value, unit=unit, split="test", baselines=dict(baselines))
