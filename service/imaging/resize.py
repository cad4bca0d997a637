"""Resizing: an image brought to the one size that a model takes. Modes: contain, cover or stretch.

uint8 [H,W,C] -> resize -> uint8 [height,width,C]
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Fit = Literal["contain", "cover", "stretch"]


def resize(image: Pixels, height: int, width: int, mode: Fit) -> Pixels:
    """uint8 [H, W, C] -> uint8 [height, width, C], by Lanczos resampling.

    contain: all of the image, centred on the colour of its border (the median, per channel);
    cover: the image fills the frame, and what exceeds it on two sides is cut off;
    stretch: each axis is scaled on its own.
    """
    if image.shape[:2] == (height, width):
        return image
    picture = _to_pillow(image)
    if mode == "stretch":
        return _to_pixels(picture.resize((width, height), Image.Resampling.LANCZOS))
    scale_y, scale_x = height / picture.height, width / picture.width
    if mode == "cover":
        scale = max(scale_y, scale_x)
        margin_x = max(0.0, (picture.width - width / scale) / 2)
        margin_y = max(0.0, (picture.height - height / scale) / 2)
        box = (margin_x, margin_y, picture.width - margin_x, picture.height - margin_y)
        return _to_pixels(picture.resize((width, height), Image.Resampling.LANCZOS, box=box))
    scale = min(scale_y, scale_x)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    inner = _to_pixels(picture.resize(size, Image.Resampling.LANCZOS))
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])  # [perimeter, C]
    frame = np.empty((height, width, image.shape[2]), np.uint8)
    frame[:] = np.median(border, axis=0).astype(np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    frame[top : top + size[1], left : left + size[0]] = inner
    return frame


def _to_pillow(image: Pixels) -> Image.Image:
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _to_pixels(picture: Image.Image) -> Pixels:
    pixels = np.asarray(picture)
    return pixels.reshape(*pixels.shape[:2], -1)
