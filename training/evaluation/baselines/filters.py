"""Classical denoising filters: the baselines that a trained model must beat.

noisy uint8 [H,W,C] -> filter of one strength, chosen on validation images -> uint8 [H,W,C]
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from training.evaluation.metrics import mse

Image = NDArray[np.uint8]  # [H,W,C]
Filter = Callable[[Image], Image]
"""uint8 [H,W,C] -> uint8 [H,W,C]"""


def choose_filter(candidates: Sequence[Filter], pairs: Iterable[tuple[Image, Image]]) -> Filter:
    """The candidate of the least mean squared error over `pairs` (noisy, clean); the first if there are no pairs."""
    images = list(pairs)
    if not images:
        return candidates[0]
    return min(candidates, key=lambda f: float(np.mean([mse(f(noisy), clean) for noisy, clean in images])))


def is_grey(image: Image) -> bool:
    """Whether all channels of [H,W,C] are equal."""
    return bool((image == image[..., :1]).all())


# --- filters of any image --------------------------------------------------------------------------------


def median(image: Image, kernel: int) -> Image:
    """The median of `kernel` x `kernel` pixels, of each channel."""
    return np.asarray(cv2.medianBlur(image, kernel), np.uint8).reshape(image.shape)


def non_local_means(image: Image, strength: int, window: int = 7) -> Image:
    """Buades et al., "A non-local algorithm for image denoising" (CVPR 2005), of patches of `window` pixels.

    In one channel if the image is grey, else in OpenCV's variant for three colours.
    """
    if is_grey(image):
        grey = np.asarray(cv2.fastNlMeansDenoising(image[..., 0], None, strength, window, 21), np.uint8)
        return np.repeat(grey[..., None], image.shape[2], axis=2)
    return np.asarray(cv2.fastNlMeansDenoisingColored(image, None, strength, strength, window, 21), np.uint8)


PICTURE_FILTERS: list[Filter] = [partial(non_local_means, strength=strength) for strength in (3, 6, 10, 15, 25, 40)]
MEDIANS: list[Filter] = [partial(median, kernel=kernel) for kernel in (3, 5)]
NON_LOCAL_MEANS: list[Filter] = [
    partial(non_local_means, strength=strength, window=window)
    for window in (3, 5, 7)
    for strength in (10, 20, 30, 45, 60, 80, 100, 130, 160, 200)
]


def non_local_means_candidates(sigma: int) -> list[Filter]:
    """Candidates for gaussian noise of `sigma` of 255."""
    return [partial(non_local_means, strength=round(sigma * share)) for share in (0.4, 0.6, 0.8, 1.0, 1.2)]


# --- filters of scanned pages: uint8 [H,W,1], or the first channel of [H,W,C] ----------------------------


def divide_by_background(image: Image, kernel: int, white: float) -> Image:
    """uint8 [H,W,1]: the page divided by its background, a median; above `white` (0..1) all is paper."""
    grey = image[..., 0]
    background = cv2.medianBlur(grey, kernel).astype(np.float32)
    ratio = grey.astype(np.float32) / np.maximum(background, 1)
    return np.asarray(np.clip(ratio / white, 0, 1) * 255 + 0.5, np.uint8)[..., None]


def subtract_background(image: Image, kernel: int, threshold: int) -> Image:
    """uint8 [H,W,1]: a pixel that is darker than its background, a median, by `threshold` stays; all else is paper."""
    grey = image[..., 0]
    background = cv2.medianBlur(grey, kernel).astype(np.int32)
    return np.where(background - grey > threshold, grey, 255).astype(np.uint8)[..., None]


def adaptive_threshold(image: Image, kernel: int, offset: int) -> Image:
    """uint8 [H,W,1], black or white: darker than the gaussian mean of `kernel` pixels by `offset`, or not."""
    mean = cv2.ADAPTIVE_THRESH_GAUSSIAN_C
    page = cv2.adaptiveThreshold(image[..., 0], 255, mean, cv2.THRESH_BINARY, kernel, offset)
    return np.asarray(page, np.uint8)[..., None]


PAGE_FILTERS: dict[str, list[Filter]] = {
    "median background, divided": [
        partial(divide_by_background, kernel=kernel, white=white)
        for kernel in (15, 23, 31)
        for white in (0.7, 0.8, 0.9)
    ],
    "median background, threshold": [
        partial(subtract_background, kernel=kernel, threshold=threshold)
        for kernel in (15, 23, 31)
        for threshold in (10, 20, 30, 45, 60)
    ],
    "adaptive threshold": [
        partial(adaptive_threshold, kernel=kernel, offset=offset) for kernel in (15, 25, 41) for offset in (10, 20, 30)
    ],
    "non-local means": [partial(non_local_means, strength=strength) for strength in (5, 15, 30)],
}
