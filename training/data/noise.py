"""Noise in pictures, estimated: are pictures that are taken for clean ones really clean?

pictures -> diagonal details of blocks -> median of each block -> the quieter blocks -> standard deviation -> a remark

Donoho, "De-noising by soft-thresholding", IEEE Trans. Inf. Theory 41 (1995), section 7: the median of the finest
wavelet details estimates the noise, since edges are rare. It is taken in blocks, and of these the quieter ones are
trusted: texture is not everywhere, noise is.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # [H,W,C]

BLOCK = 8  # details a side; smaller pictures are one block
QUIET_SHARE = 0.25  # of the blocks, below which the estimate lies
MEDIAN_OF_NORMAL = 0.6745  # of the absolute value, at a deviation of 1
LIMIT = 5 / 255  # from which a picture looks noisy
LIMIT_OF_SMALL = 12 / 255  # where there is hardly a block without an edge; clean photographs of 28 pixels have 7 / 255
SMALL = 48  # pixels a side
MAX_PICTURES = 200  # that are looked at


def estimate_noise(image: Image) -> float:
    """Standard deviation of the noise of a picture, pixels in 0..1; 0 where most of it is of even colours.

    Blocks of one value, such as the ground around a picture that was brought to another shape, are left out.
    """
    pixels = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2].mean(axis=2) / 255
    details = pixels[::2, ::2] - pixels[1::2, ::2] - pixels[::2, 1::2] + pixels[1::2, 1::2]
    details = np.abs(details) * np.sqrt(image.shape[2]) / 2  # noise of the mean of C channels is that much smaller
    height, width = (min(BLOCK, size) for size in details.shape)
    rows, columns = (size // side for size, side in zip(details.shape, (height, width), strict=True))
    blocks = details[: rows * height, : columns * width].reshape(rows, height, columns, width)
    blocks = blocks.transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    blocks = blocks[blocks.max(axis=1) > 0]
    return float(np.quantile(np.median(blocks, axis=1), QUIET_SHARE) / MEDIAN_OF_NORMAL) if len(blocks) else 0.0


def describe_noise(images: Sequence[Image] | NDArray[np.uint8]) -> str:
    """A remark if most of the pictures look noisy, else ""; of many pictures a part is looked at."""
    step = -(-len(images) // MAX_PICTURES)
    looked_at = [image for image in images[::step] if min(image.shape[:2]) > 1]
    deviation = float(np.median([estimate_noise(image) for image in looked_at])) if looked_at else 0.0
    side = min((min(image.shape[:2]) for image in looked_at), default=0)
    if deviation < (LIMIT_OF_SMALL if side < SMALL else LIMIT):
        return ""
    return (
        f"most pictures look noisy: a standard deviation of about {255 * deviation:.0f} of 255 is everywhere in them. "
        "They are taken for clean ones, so what is learned has that noise in it: train on clean pictures, or clean "
        "these first (autoencoder-service denoise)"
    )
