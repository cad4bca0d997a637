"""Scenes: pairs of a page as it is and as it was photographed or scanned, put together from a pool in milliseconds.

ink of the pool -> enlarged or reduced -> pens -> on a ground (figures) -> lens --+-> clean
                                                                                  +-> paper, light, sensor -> noisy

Clean and noisy page differ by what does not belong to the page: the colour, relief and dirt of its paper, the other
side's ink, light, noise and JPEG. What belongs to it is in both, however pale, soft or wide: ink keeps the contrast
and the blur that it has. Photographs, slides and what lies beyond the sheet's edge keep their light, too: inside of
them nothing says how bright they ought to be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthetic_pages import camera, figures
from training.synthetic_pages.figures import Ground, Photograph
from training.synthetic_pages.paper import Floats, Shape
from training.synthetic_pages.pool import Pool
from training.synthetic_pages.writing import pens

Image = NDArray[np.uint8]  # [H,W,3]
Layers = NDArray[np.float32]  # [2,H,W], 1 where ink lies

MARGIN = 12  # pixels around a scene, that blurs and filters may use
DIGITAL_SHARE = 0.2  # of scenes, that were never on paper: nothing to correct but JPEG
GREY_SHARE = 0.4  # of scenes
EMPTY_SHARE = 0.35  # of sheets in grey light, that bear no ink
MIN_BLUR, MAX_BLUR = 0.3, 4.0  # standard deviation in pixels
GROUNDS = {  # few photographs: the service keeps them by rules, and paper in little light looks like a part of one
    "paper": 0.43, "grey": 0.2, "photograph": 0.04, "drawing": 0.03, "fills": 0.07, "highlighter": 0.03,
    "chart": 0.06, "dark": 0.05, "screen": 0.04, "surround": 0.05,
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """`clean` and `noisy` uint8 [size,size,3] RGB, aligned; `contrast` of the palest ink (pens.Ink)."""

    clean: Image
    noisy: Image
    ground: str
    is_digital: bool
    contrast: float


def draw_scene(
    rng: np.random.Generator,
    size: int,
    pool: Pool,
    photographs: Sequence[Photograph],
    ground: str | None = None,
) -> Scene:
    """One scene, from `rng` alone; `ground`: a key of GROUNDS, None: by chance."""
    shape = (size + 2 * MARGIN,) * 2
    kind = ground or str(rng.choice(list(GROUNDS), p=list(GROUNDS.values())))
    scale = _draw_scale(rng)
    coverage = cut_ink(rng, pool, shape, scale)
    if kind == "grey" and rng.random() < EMPTY_SHARE:
        coverage *= 0
    if rng.random() < 0.35:
        reach = min(6.0, 0.6 * max(1.0, scale))
        coverage = np.stack([pens.vary_width(rng, layer, rng.uniform(0.4, 1) * reach) for layer in coverage])
    inks = [
        pens.lay_ink(rng, coverage[0], pens.choose_print(rng)),
        pens.lay_ink(rng, coverage[1], pens.choose_pen(rng)),
    ]
    contrast = min(ink.contrast for ink in inks)
    background = figures.draw_ground(rng, shape, kind, photographs)
    page = _write(rng, background, inks[0].reflectance * inks[1].reflectance)
    is_digital = kind != "grey" and bool(rng.random() < (0.8 if kind in ("screen", "dark") else DIGITAL_SHARE))
    if rng.random() < (0.15 if is_digital else 0.65):
        largest = min(MAX_BLUR, 0.5 + 0.9 * scale)  # so that thin strokes stay to be seen
        page = camera.blur(rng, page, float(np.exp(rng.uniform(np.log(MIN_BLUR), np.log(largest)))))
    is_grey = rng.random() < GREY_SHARE
    if is_grey:
        page = _to_grey(page)
    page = np.clip(page, 0, 1)
    noiseless, noisy = (page, page) if is_digital else _photograph(rng, page, background, pool, contrast, scale)
    kept = background.kept[..., None]
    clean = camera.to_uint8(page + kept * (noiseless - page))
    pixels = clean.copy() if is_digital else camera.to_uint8(noisy)
    if is_grey:
        clean, pixels = (camera.to_uint8(_to_grey(image.astype(np.float32) / 255)) for image in (clean, pixels))
    if rng.random() < (0.35 if is_digital else 0.5):
        pixels = camera.compress(rng, pixels, worst=int(rng.choice([25, 50, 75])))
        pixels = camera.to_uint8(_to_grey(pixels.astype(np.float32) / 255)) if is_grey else pixels
    inner = slice(MARGIN, MARGIN + size)
    return Scene(clean[inner, inner], pixels[inner, inner], kind, is_digital, contrast)


def cut_ink(rng: np.random.Generator, pool: Pool, shape: Shape, scale: float) -> Layers:
    """A piece of a page of the pool, enlarged by `scale` (below 1: reduced) and turned a little; float32 [2,H,W].

    Enlarged ink gets sharp edges again in six cases of ten.
    """
    layers = pool.ink[int(rng.integers(len(pool.ink)))]
    limit = layers.shape[1]
    scale = max(scale, max(shape) / limit)
    side = tuple(min(limit, int(np.ceil(length / scale))) for length in shape)
    y, x = (int(rng.integers(limit - length + 1)) for length in side)
    piece = 255 - layers[:, y : y + side[0], x : x + side[1]]
    if rng.random() < 0.08:  # a page that lies on its side or upside down
        turn = int(rng.integers(1, 4))
        piece = np.ascontiguousarray(np.rot90(piece, turn, (1, 2)))
    if scale == 1:
        return np.asarray(piece, np.float32) / np.float32(255)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = np.stack([cv2.resize(layer, shape[::-1], interpolation=how) for layer in piece]).astype(np.float32) / 255
    if rng.random() < 0.3:
        matrix = cv2.getRotationMatrix2D((shape[1] / 2, shape[0] / 2), float(rng.normal(0, 2)), 1.03)
        resized = np.stack([cv2.warpAffine(layer, matrix, shape[::-1]) for layer in resized])
    if scale > 1 and rng.random() < 0.6:
        resized = (resized - 0.5) * np.float32(scale * rng.uniform(0.6, 1.2)) + 0.5
    return np.clip(resized, 0, 1).astype(np.float32)


def _draw_scale(rng: np.random.Generator) -> float:
    """Half of the scenes at the pool's own size, others reduced by up to 2.2 or enlarged by up to 6."""
    kind = rng.random()
    if kind < 0.45:
        return 1.0
    return float(np.exp(rng.uniform(np.log(0.45), 0) if kind < 0.65 else rng.uniform(0, np.log(6))))


def _write(rng: np.random.Generator, ground: Ground, reflectance: Floats) -> Floats:
    """Ink on a ground: it darkens; on a dark ground its negative lightens. float32 [H,W,3]."""
    amount = (1 - reflectance) * ground.written[..., None]
    if not ground.is_dark:
        return np.asarray(ground.colours * (1 - amount), np.float32)
    light = np.asarray(rng.uniform(0.6, 1, 3) if rng.random() < 0.5 else np.ones(3), np.float32)
    dark = ground.kept[..., None]
    amount_of_light = dark * amount.max(-1, keepdims=True)
    page = ground.colours * (1 - (1 - dark) * amount)
    return np.asarray(page + amount_of_light * (light - page), np.float32)


def _photograph(
    rng: np.random.Generator, page: Floats, ground: Ground, pool: Pool, contrast: float, scale: float
) -> tuple[Floats, Floats]:
    """(page in its light, the same on its paper and with noise), float32 [H,W,3] in 0..1."""
    shape = page.shape[0], page.shape[1]
    is_grey = ground.kind == "grey"  # a sheet in little light: nothing on it is white, and no figure
    strength = float(rng.uniform(0.3, 1) if is_grey else rng.beta(1.0, 1.5))
    light = camera.draw_light(rng, shape, strength)
    if is_grey:
        light = np.clip(light * np.float32(rng.uniform(0.4, 0.85)), camera.DARKEST, 1)
    lit = page * light[..., None] * camera.draw_tint(rng, shape)
    relief, dirt = _cut_sheet(rng, pool, shape)
    wear = np.ones((*shape, 3), np.float32)
    if rng.random() < 0.75:
        wear *= (relief ** np.float32(rng.uniform(0.3, 1.2)))[..., None]
    if rng.random() < 0.5:
        power = rng.uniform(0.3, 1.2) * (np.array([0.7, 1.0, 1.4]) if rng.random() < 0.5 else np.ones(3))
        wear *= np.maximum(dirt, 0.02)[..., None] ** power.astype(np.float32)
    if rng.random() < 0.22:
        wear *= _draw_other_side(rng, pool, shape, contrast, scale)[..., None]
    if rng.random() < 0.08:
        wear *= _draw_watermark(rng, pool, shape)[..., None]
    worn = lit * (1 + (1 - ground.kept[..., None]) * (wear - 1))
    state = rng.bit_generator.state
    noiseless = camera.expose(rng, lit)
    rng.bit_generator.state = state  # the same exposure for both
    noisy = camera.expose(rng, worn)
    noisy = camera.add_noise(rng, noisy, largest=0.3 * contrast * float(np.median(light)))
    return noiseless, camera.resample(rng, noisy) if rng.random() < 0.12 else noisy


def _cut_sheet(rng: np.random.Generator, pool: Pool, shape: Shape) -> tuple[Floats, Floats]:
    """Relief and dirt of a piece of a sheet of the pool, turned, flipped and perhaps enlarged; float32 [H,W] each."""
    layers = pool.sheets[int(rng.integers(len(pool.sheets)))]
    limit = layers.shape[1]
    share = float(rng.uniform(0.6, 1)) if rng.random() < 0.5 else 1.0
    side = tuple(min(limit, max(2, int(length * share))) for length in shape)
    y, x = (int(rng.integers(limit - length + 1)) for length in side)
    piece = np.rot90(layers[:, y : y + side[0], x : x + side[1]], int(rng.integers(4)), (1, 2))
    piece = piece[:, :, ::-1] if rng.random() < 0.5 else piece
    relief, dirt = (
        cv2.resize(np.ascontiguousarray(layer), shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
        for layer in piece
    )
    return relief / np.float32(200), dirt / np.float32(255)


def _draw_other_side(rng: np.random.Generator, pool: Pool, shape: Shape, contrast: float, scale: float) -> Floats:
    """The other side's ink shining or bleeding through, mirrored, blurred and fainter than this side's; [H,W]."""
    coverage = cut_ink(rng, pool, shape, scale * float(rng.uniform(0.9, 1.1))).max(0)[:, ::-1]
    soft = cv2.GaussianBlur(np.ascontiguousarray(coverage), (0, 0), float(rng.uniform(0.7, 1.2 + 0.8 * scale)))
    return np.asarray(1 - np.float32(rng.uniform(0.04, 0.6 * contrast)) * soft, np.float32)


def _draw_watermark(rng: np.random.Generator, pool: Pool, shape: Shape) -> Floats:
    """Large faint letters in the paper, lighter or darker than it; [H,W]."""
    coverage = cut_ink(rng, pool, shape, float(rng.uniform(3, 6))).max(0)
    soft = cv2.GaussianBlur(coverage, (0, 0), float(rng.uniform(1.5, 5)))
    return np.asarray(1 + np.float32(rng.choice([-1, 1]) * rng.uniform(0.01, 0.05)) * soft, np.float32)


def _to_grey(image: NDArray[np.floating]) -> Floats:
    """Luma (ITU-R 601) in all three channels."""
    luma = image @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray(np.repeat(luma[..., None], 3, axis=2), np.float32)
