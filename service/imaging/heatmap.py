"""Heatmaps: the reconstruction error of each pixel, in colours, shows where an input is unlike the training data.

batch, reconstruction -> squared_errors -> to_colours -> Picture
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.imaging.picture import Picture

Array = NDArray[Any]

WHITE_DIFFERENCE = 0.5  # difference (of 0..1) that is white, as are all larger ones
COLOUR_SCALE = "black (no difference) through red and yellow to white (a difference of 0.5 of the range and more)"
_DIFFERENCES = np.array([0, 1, 2, 3]) / 3 * WHITE_DIFFERENCE
_COLOURS = np.array([[0, 0, 0], [255, 0, 0], [255, 255, 0], [255, 255, 255]])  # their luma rises: it holds in grey too


def squared_errors(
    batch: Array, reconstruction: Array, differences: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Squared differences; the mean of a sample's is its reconstruction error.

    Images uint8 [N,H,W,C] -> [N,H,W], the mean of the channels, pixels in 0..1; vectors [N,D] -> [N,D], in their own
    units, unless `differences` [N,D] are given in others.
    """
    if differences is None:
        differences = (batch.astype(np.float64) - reconstruction) / (255 if batch.dtype == np.uint8 else 1)
    squares = differences**2
    return (squares.mean(axis=3) if batch.dtype == np.uint8 else squares).astype(np.float32)


def to_colours(squares: NDArray[np.float32]) -> Picture:
    """[H,W] of `squared_errors` -> RGB [H,W,3]: COLOUR_SCALE of the root, linear in between.

    The scale is the same for every picture and model.
    """
    root = np.sqrt(squares)
    channels = [np.rint(np.interp(root, _DIFFERENCES, values)).astype(np.uint8) for values in _COLOURS.T]
    return Picture(np.stack(channels, axis=-1))
