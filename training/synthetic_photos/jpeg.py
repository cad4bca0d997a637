"""JPEG compression as a corruption: image -> JPEG of some quality -> image."""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # [H,W,C]

BEST_QUALITY = 100
_SUBSAMPLED = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
_FULL = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
SUBSAMPLED_SHARE = 0.6  # of the draws; most cameras and web sites halve the colours


def corrupt(clean: Image, level: float, rng: np.random.Generator) -> tuple[Image, Image]:
    """uint8 [H,W,1 or 3] -> (clean, compressed), uint8 of the same shape.

    Args:
        level: 1 - quality / 100: 0.05 is quality 95, 0.9 is quality 10.
        rng: draws whether the colours are halved (4:2:0) or not (4:4:4).
    """
    quality = round(BEST_QUALITY * (1 - level))
    return clean, compress(clean, max(1, quality), subsampled=rng.random() < SUBSAMPLED_SHARE)


def compress(image: Image, quality: int, *, subsampled: bool) -> Image:
    """uint8 [H,W,1 or 3] through JPEG of `quality` 1 to 100, its colours halved (4:2:0) or not (4:4:4)."""
    factor = _SUBSAMPLED if subsampled else _FULL
    options = (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor)
    if image.shape[2] == 1:
        _, encoded = cv2.imencode(".jpg", image, options[:2])
        return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)[..., None]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return np.asarray(cv2.cvtColor(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB), np.uint8)
