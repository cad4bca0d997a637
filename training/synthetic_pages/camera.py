"""Light, lens, sensor and file: what happens to a page between its paper and its pixels.

page -> lens (blur by focus and motion) -> light (level, slope, shadows, tint) -> sensor (noise) -> resampling -> JPEG

Light is one number for each pixel, common to the channels, times one tint for the page.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthetic_pages.paper import Floats, Shape, smooth_noise

Image = NDArray[np.uint8]  # [H,W,3]

DARKEST = 0.1  # of the light in a shadow


def blur(rng: np.random.Generator, image: Floats, sigma: float) -> Floats:
    """Out of focus (gaussian or disc) or moved, by a standard deviation of about `sigma` pixels."""
    kind = rng.random()
    if kind < 0.6:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)
    reach = int(np.ceil(2 * sigma))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    if kind < 0.85:  # a disc's standard deviation along an axis is half its radius
        kernel = np.clip(2 * sigma + 0.5 - np.hypot(x, y), 0, 1)
    else:
        angle = rng.uniform(0, np.pi)
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        kernel = np.clip(1.7 * sigma + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT), np.float32)


def draw_light(rng: np.random.Generator, shape: Shape, strength: float) -> Floats:
    """Light on a piece of a page, float32 [H,W] from DARKEST to about 1: slope, shadows soft and hard, a book's spine.

    `strength` 0..1 goes from a scanner's lamp to a photograph taken in a dark room.
    """
    light = np.ones(shape, np.float32)
    x, y = _coordinates(rng, shape)
    light -= np.float32(rng.uniform(0, 0.0025) * strength) * x
    if rng.random() < 0.25 + 0.45 * strength:  # the edge of a shadow
        edge = x - np.float32(rng.uniform(-0.6, 0.6) * max(shape))
        if rng.random() < 0.6:  # of a hand or a head, not of a ruler
            edge = edge + np.float32(rng.uniform(2, 25)) * smooth_noise(rng, shape, rng.uniform(40, 200))
        softness = np.float32(np.exp(rng.uniform(np.log(0.7), np.log(60))))
        depth = rng.uniform(0.05, 0.3 + 0.6 * strength)
        light *= 1 - np.float32(depth) / (1 + np.exp(np.clip(edge / softness, -30, 30)))
    if rng.random() < 0.12 * (0.5 + strength):  # the spine of a book, or the valley of a crease
        distance = np.abs(y - np.float32(rng.uniform(-0.5, 0.5) * max(shape)))
        light *= 1 - np.float32(rng.uniform(0.1, 0.8)) * np.exp(-distance / np.float32(rng.uniform(6, 90)))
    if rng.random() < 0.3 * strength:  # blinds, leaves
        light *= 1 - np.float32(rng.uniform(0.05, 0.3)) * np.clip(smooth_noise(rng, shape, rng.uniform(20, 120)), 0, 1)
    if rng.random() < 0.06:  # a lamp's reflection
        light += np.float32(rng.uniform(0, 0.4)) * np.exp(-np.square(x / rng.uniform(20, 120))).astype(np.float32)
    level = 1 - strength * rng.beta(1.2, 2.5)
    return np.clip(light * np.float32(level), DARKEST, 1.3, out=light)


def draw_tint(rng: np.random.Generator, shape: Shape) -> Floats:
    """Colour of light and paper, float32 [1,1,3] or, where paper has yellowed unevenly, [H,W,3]; at most about 1."""
    kind = rng.random()
    if kind < 0.45:
        paper = np.ones(3)
    elif kind < 0.75:  # yellowed
        paper = np.array([1, rng.uniform(0.88, 0.99), rng.uniform(0.6, 0.95)])
    elif kind < 0.9:  # old and brown
        paper = np.array([rng.uniform(0.7, 0.95), rng.uniform(0.6, 0.85), rng.uniform(0.35, 0.75)])
        paper = np.sort(paper)[::-1]
    else:  # coloured paper
        paper = rng.uniform(0.7, 1, 3)
    tint = np.clip(paper * (1 + rng.normal(0, 0.03, 3)), 0.25, 1.05).astype(np.float32)[None, None]
    if kind >= 0.45 and rng.random() < 0.4:
        uneven = 1 + rng.uniform(0.1, 0.5) * smooth_noise(rng, shape, rng.uniform(30, 200))
        return np.asarray(tint ** np.clip(uneven, 0.5, 1.5)[..., None].astype(np.float32), np.float32)
    return np.asarray(tint, np.float32)


def expose(rng: np.random.Generator, page: Floats) -> Floats:
    """Exposure and tone curve, float32 [H,W,3] -> the same; at most 1."""
    gain, gamma = rng.uniform(0.85, 1.1), rng.uniform(0.75, 1.3) if rng.random() < 0.4 else 1.0
    return np.asarray(np.clip(page * np.float32(gain), 0, 1) ** np.float32(gamma), np.float32)


def add_noise(rng: np.random.Generator, page: Floats, largest: float) -> Floats:
    """A sensor's noise, fine and of a grain of some pixels, grey or of each channel; at most `largest` (0..1)."""
    height, width = page.shape[:2]
    if rng.random() < 0.65:
        sigma = np.float32(min(rng.gamma(1.5, 0.012), largest))
        channels = 3 if rng.random() < 0.5 else 1
        page = page + sigma * rng.standard_normal((height, width, channels), np.float32)
    if rng.random() < 0.3:
        sigma = np.float32(min(rng.gamma(1.5, 0.009), largest))
        page = page + sigma * smooth_noise(rng, (height, width), rng.uniform(2, 4))[..., None]
    return np.asarray(page, np.float32)


def resample(rng: np.random.Generator, page: Floats) -> Floats:
    """A little smaller and back, as files are that went through several programs."""
    height, width = page.shape[:2]
    share = float(rng.uniform(0.7, 0.97))
    small = cv2.resize(page, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    how = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(small, (width, height), interpolation=how), np.float32)


def compress(rng: np.random.Generator, page: Image, worst: int) -> Image:
    """JPEG of quality `worst` to 95, colours halved or not; uint8 [H,W,3]."""
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if rng.random() < 0.7 else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    options = (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(worst, 96)), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling)
    _, data = cv2.imencode(".jpg", page[..., ::-1], options)
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def to_uint8(page: Floats) -> Image:
    """0..1 -> 0..255, clipped and rounded."""
    return np.asarray(np.clip(page, 0, 1) * 255 + 0.5, np.uint8)


def _coordinates(rng: np.random.Generator, shape: Shape) -> tuple[Floats, Floats]:
    """Pixels from the centre along and across a random direction, float32 [H,W] each."""
    angle = rng.uniform(0, 2 * np.pi)
    y = np.arange(shape[0], dtype=np.float32)[:, None] - shape[0] / 2
    x = np.arange(shape[1], dtype=np.float32)[None] - shape[1] / 2
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin
