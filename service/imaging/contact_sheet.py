"""Contact sheet: many pictures of one size in one, row by row.

[N,H,W,C] -> make_contact_sheet -> [rows*H, columns*W, C]
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def make_contact_sheet(pictures: Array) -> Array:
    """Pictures [N,H,W,C] of any dtype, N at least 1, in a near-square; places that are left over are 0."""
    count, height, width, channels = pictures.shape
    columns = math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    if rows * columns > count:
        empty = np.zeros((rows * columns - count, height, width, channels), pictures.dtype)
        pictures = np.concatenate([pictures, empty])
    grid = pictures.reshape(rows, columns, height, width, channels)
    return np.ascontiguousarray(grid.swapaxes(1, 2).reshape(rows * height, columns * width, channels))
