"""Where an input differs from what the model knows: the reconstruction error of each pixel, and its colours.

batch, reconstruction -> errors -> coloured -> a picture
"""

import numpy as np
from numpy.typing import NDArray

from service.imaging.picture import Array, Picture

WHITE = 0.5  # difference (of 0..1) that is white, as are all larger ones
SCALE = "black (no difference) through red and yellow to white (a difference of 0.5 of the range and more)"
_AT = np.array([0, 1, 2, 3]) / 3 * WHITE
_COLOURS = np.array([[0, 0, 0], [255, 0, 0], [255, 255, 0], [255, 255, 255]])  # their luma rises: it holds in grey too


def errors(batch: Array, output: Array) -> NDArray[np.float32]:
    """Squared differences: images uint8 [N,H,W,C] -> [N,H,W], the mean of the channels, pixels in 0..1; vectors
    float32 [N,D] -> [N,D], in their own units. The mean of a sample's is its reconstruction error."""
    difference = (batch.astype(np.float64) - output) / (255 if batch.dtype == np.uint8 else 1)
    squared = difference**2
    return (squared.mean(axis=3) if batch.dtype == np.uint8 else squared).astype(np.float32)


def coloured(squared: NDArray[np.float32]) -> Picture:
    """[H,W] of `errors` -> RGB [H,W,3]: SCALE, of the root, linear in between; the same for every picture and model."""
    root = np.sqrt(squared)
    return Picture(np.stack([np.rint(np.interp(root, _AT, c)).astype(np.uint8) for c in _COLOURS.T], axis=-1))
