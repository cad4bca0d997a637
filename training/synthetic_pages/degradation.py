"""Degradation of clean pages: wear, dirt and scanning. Pixel by pixel: ink is never moved and never erased.

clean -> ink (faded, uneven, softened) -> laid on paper -> optics (blur, resampling) -> sensor (noise) -> JPEG

One page in twelve stays unchanged, so that a model learns to leave clean pages alone.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthetic_pages import paper
from training.synthetic_pages.paper import Floats

Page = NDArray[np.uint8]  # [H,W], white 255

UNCHANGED_SHARE = 0.08  # share of pages


def degrade(clean: Page, rng: np.random.Generator) -> Page:
    """A noisy uint8 [H,W] of `clean` uint8 [H,W], aligned with it; draws only from `rng`."""
    if rng.random() < UNCHANGED_SHARE:
        return clean.copy()
    strength = float(rng.beta(1.0, 1.6))
    sheet = paper.draw_sheet(rng, clean.shape, strength)
    if rng.random() < 0.2:
        sheet *= draw_bleed_through(rng, clean)
    return scan(rng, lay_ink(rng, clean, sheet, strength), strength)


class Backgrounds:
    """Real sheets without ink, on which any ink can be laid."""

    def __init__(self, images: list[Page]) -> None:
        """`images`: uint8 [h,w] grey, of any size."""
        self.images = images

    def degrade(self, clean: Page, rng: np.random.Generator) -> Page:
        """As `degrade`, on one of these sheets."""
        return recombine(clean, self.images[rng.integers(len(self.images))], rng)


def recombine(clean: Page, background: Page, rng: np.random.Generator) -> Page:
    """Lays the ink of `clean` uint8 [H,W] on a random piece of `background` uint8 [h,w] -> uint8 [H,W], aligned with
    `clean`. The piece is flipped, rotated, scaled and changed in contrast."""
    strength = float(rng.uniform(0, 0.5))
    sheet = cut_background(rng, background, clean.shape)
    return scan(rng, lay_ink(rng, clean, sheet, strength), strength)


def cut_background(rng: np.random.Generator, background: Page, shape: tuple[int, int]) -> Floats:
    """A random piece of `background` uint8 [h,w] -> float32 [H,W] in 0..1; mirrored beyond its edges."""
    image = background.astype(np.float32) / 255
    image = np.rot90(image, int(rng.integers(4)))
    image = image[:, ::-1] if rng.random() < 0.5 else image
    scale, degrees = float(rng.uniform(0.7, 1.8)), float(rng.normal(0, 6))
    centre = (float(rng.uniform(0.2, 0.8)) * image.shape[1], float(rng.uniform(0.2, 0.8)) * image.shape[0])
    matrix = cv2.getRotationMatrix2D(centre, degrees, scale)
    matrix[:, 2] += np.array(shape[::-1]) / 2 - centre
    image = np.ascontiguousarray(image)
    piece = cv2.warpAffine(image, matrix, shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    median = float(np.median(piece))
    piece = median + (piece - median) * rng.uniform(0.5, 1.6) + rng.uniform(-0.1, 0.1)
    return np.asarray(np.clip(piece, 0.05, 1), np.float32)


def lay_ink(rng: np.random.Generator, clean: Page, sheet: Floats, strength: float) -> Floats:
    """Ink of `clean` on `sheet` float32 [H,W] in 0..1 -> float32 [H,W]: multiplied, painted over, or inverted.

    Ink keeps at least half of its darkness everywhere, and ink that is grey already keeps 80 %.
    """
    ink: Floats = 1 - clean.astype(np.float32) / np.float32(255)
    if rng.random() < 0.5:
        ink = _blur(rng, ink, 0.3 + 0.5 * strength)
    lightest = 0.5 if _is_black(clean) else 0.8
    if rng.random() < 0.1 + 0.2 * strength:  # a tired ribbon, a dry pen: unevenly faded
        fade = rng.uniform(lightest, 1)
        uneven = paper.fractal_noise(rng, clean.shape, 10 ** rng.uniform(0.6, 2.2), 3)
        ink *= np.clip(fade + rng.uniform(0, 0.3) * strength * uneven, lightest, 1)
    choice = rng.random()
    if choice < 0.55:
        return np.asarray(sheet * (1 - ink * rng.uniform(0.85, 1)), np.float32)
    if choice < 0.92:
        tone = np.float32(rng.uniform(0, 0.12) if rng.random() < 0.85 else rng.uniform(0.12, 0.4))
        return np.asarray(sheet + (np.minimum(tone, 0.5 * sheet) - sheet) * ink, np.float32)
    floor = np.minimum(1 - sheet, 0.5 * sheet)  # as the NoisyOffice corpus was composed: dark paper lightens ink
    return np.asarray(sheet + (floor - sheet) * ink, np.float32)


def draw_bleed_through(rng: np.random.Generator, clean: Page) -> Floats:
    """Bleed-through of the other side, float32 [H,W] to multiply by: the page mirrored, shifted, faint and blurred."""
    reverse = np.roll(clean[:, ::-1], (int(rng.integers(clean.shape[0])), int(rng.integers(clean.shape[1]))), (0, 1))
    reverse = reverse[::-1] if rng.random() < 0.1 else reverse
    ink = cv2.GaussianBlur(255 - np.ascontiguousarray(reverse), (0, 0), float(rng.uniform(0.8, 3)))
    patches = np.clip(0.7 + 0.4 * paper.smooth_noise(rng, clean.shape, 90), 0, 1)
    return np.asarray(1 - rng.uniform(0.03, 0.22) * patches * (ink / 255), np.float32)


def scan(rng: np.random.Generator, page: Floats, strength: float) -> Page:
    """Optics, sensor and file format: float32 [H,W] in 0..1 -> uint8 [H,W]."""
    shape = page.shape
    if rng.random() < 0.25 + 0.3 * strength:
        page = _blur(rng, page, 0.4 + 0.7 * strength)
    if rng.random() < 0.2:
        share = float(rng.uniform(0.55, 0.95))
        small = cv2.resize(page, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        interpolation = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_LINEAR
        page = cv2.resize(small, shape[::-1], interpolation=interpolation).astype(np.float32)
    if rng.random() < 0.3:
        page = np.clip(page, 0, 1) ** np.float32(rng.uniform(0.75, 1.35))
    if rng.random() < 0.04:
        y, x = np.ogrid[0 : shape[0], 0 : shape[1]]
        pitch, angle = rng.uniform(2.5, 9), rng.uniform(0, np.pi)
        wave = np.cos((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / pitch)).astype(np.float32)
        page = page + np.float32(rng.uniform(0.01, 0.05)) * wave
    if rng.random() < 0.6:
        sigma = rng.gamma(1.5, 0.012) * (0.4 + strength)
        page = page + np.float32(min(sigma, 0.14)) * rng.standard_normal(shape, np.float32)
    if rng.random() < 0.3:
        sigma = rng.gamma(1.5, 0.010) * (0.4 + strength)
        page = page + np.float32(min(sigma, 0.08)) * paper.smooth_noise(rng, shape, rng.uniform(2, 4))
    noisy = (np.clip(page, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.random() < 0.05 + 0.1 * strength:
        draw = rng.random(shape, np.float32)
        share = 10 ** rng.uniform(-4, -1.7)
        noisy[draw < share / 2] = 0
        noisy[draw > 1 - share / 2] = 255
    if rng.random() < 0.45:
        quality = int(rng.uniform(20 if strength > 0.3 else 50, 91))
        _, data = cv2.imencode(".jpg", noisy, (cv2.IMWRITE_JPEG_QUALITY, quality))
        noisy = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
    return noisy


def _is_black(clean: Page) -> bool:
    """Whether most of the ink is dark enough to be faded."""
    ink = clean[clean < 230]
    return bool(ink.size) and float(np.median(ink)) < 80


def _blur(rng: np.random.Generator, image: Floats, max_sigma: float) -> Floats:
    """Gaussian or defocus (disc) blur of up to `max_sigma` pixels of standard deviation: thin strokes stay visible."""
    sigma = float(rng.uniform(0.3, max(max_sigma, 0.35)))
    if rng.random() < 0.75:
        return cv2.GaussianBlur(image, (0, 0), sigma).astype(np.float32)
    radius = 2 * sigma  # a disc's standard deviation along an axis is half its radius
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return cv2.filter2D(image, -1, disc / disc.sum()).astype(np.float32)
