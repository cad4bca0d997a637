"""A picture brought to the one size that a model takes: contain, cover or stretch, by Lanczos resampling."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Fit = Literal["contain", "cover", "stretch"]


def fit(image: Pixels, height: int, width: int, how: Fit) -> Pixels:
    """uint8 [H, W, C] -> uint8 [height, width, C], by Lanczos resampling.

    contain: all of it, centred on the colour of its own border (the median, per channel);
    cover: fills the frame, what sticks out on two sides is cut; stretch: each axis on its own.
    """
    if image.shape[:2] == (height, width):
        return image
    picture = _picture(image)
    if how == "stretch":
        return _pixels(picture.resize((width, height), Image.Resampling.LANCZOS))
    scale_y, scale_x = height / picture.height, width / picture.width
    if how == "cover":
        scale = max(scale_y, scale_x)
        cut_x, cut_y = (picture.width - width / scale) / 2, (picture.height - height / scale) / 2
        box = (max(0.0, cut_x), max(0.0, cut_y), picture.width - max(0.0, cut_x), picture.height - max(0.0, cut_y))
        return _pixels(picture.resize((width, height), Image.Resampling.LANCZOS, box=box))
    scale = min(scale_y, scale_x)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    inner = _pixels(picture.resize(size, Image.Resampling.LANCZOS))
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])  # [perimeter, C]
    frame = np.empty((height, width, image.shape[2]), np.uint8)
    frame[:] = np.median(border, axis=0).astype(np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    frame[top : top + size[1], left : left + size[0]] = inner
    return frame


def _picture(image: Pixels) -> Image.Image:
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _pixels(picture: Image.Image) -> Pixels:
    pixels = np.asarray(picture)
    return pixels.reshape(*pixels.shape[:2], -1)
