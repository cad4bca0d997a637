"""Trial pictures: synthetic photographs by which a graph's range, layout and reach are found when none are given.

seed -> smooth colours, edges, lines, texture -> uint8 [N,H,W,C]; the same each time
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # [N,H,W,C]
SIGMA = 25  # of 255, of the noise on trial pictures


def draw_pictures(count: int, height: int, width: int, channels: int, seed: int = 0) -> Images:
    """Colours that change smoothly, with filled shapes, lines and fine texture upon them."""
    generator = np.random.default_rng(seed)
    pictures = np.empty((count, height, width, 3), np.uint8)
    for index in range(count):
        coarse = generator.integers(30, 226, (5, 6, 3)).astype(np.uint8)
        canvas = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(6):
            centre = int(generator.integers(0, width)), int(generator.integers(0, height))
            colour = tuple(int(c) for c in generator.integers(0, 256, 3))
            radius = int(generator.integers(2, max(3, min(height, width) // 5)))
            cv2.circle(canvas, centre, radius, colour, -1, cv2.LINE_AA)
            end = int(generator.integers(0, width)), int(generator.integers(0, height))
            cv2.line(canvas, centre, end, tuple(255 - c for c in colour), 1, cv2.LINE_AA)
        rows, columns = np.mgrid[:height, :width]
        stripes = 12 * np.sin(columns * generator.uniform(0.3, 0.9) + rows * generator.uniform(-0.5, 0.5))
        pictures[index] = (canvas + stripes[..., None] * (rows > height // 2)[..., None]).clip(0, 255)
    if channels == 3:
        return pictures
    grey = [np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8) for picture in pictures]
    return np.stack(grey)[..., None]


def add_noise(pictures: Images, sigma: float = SIGMA, seed: int = 1) -> NDArray[np.float64]:
    """The pictures with gaussian noise of `sigma` of 255, neither clipped nor rounded: float64 [N,H,W,C] of 0..255."""
    noise = np.random.default_rng(seed).standard_normal(pictures.shape)
    return np.asarray(pictures + sigma * noise)
