"""Inks: how what is written or printed looks, from how much ink lies at each pixel.

coverage float32 [H,W] -> [pressure: thicker and thinner] -> density by the kind of ink -> reflectance float32 [H,W,3]

Reflectance is 1 where there is no ink. The contrast of ink to white paper is a quarter to all of what it can be.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthetic_pages.paper import Floats, smooth_noise

Colour = NDArray[np.float32]  # [3], RGB 0..1

MIN_CONTRAST = 0.25
FULL_SHARE = 0.45  # of inks, that have their full contrast


@dataclass(frozen=True)
class Ink:
    """`reflectance` float32 [H,W,3]; `contrast`: 1 - reflectance of a thick stroke's darkest channel, 0.25 to 1."""

    reflectance: Floats
    contrast: float


def lay_ink(rng: np.random.Generator, coverage: Floats, kind: str) -> Ink:
    """Ink of `kind`, a key of KINDS, where `coverage` float32 [H,W] (0 paper, 1 ink) says."""
    colour, density = KINDS[kind](rng, coverage)
    own_contrast = float(1 - colour.min())
    share = 1.0 if rng.random() < FULL_SHARE else float(rng.uniform(MIN_CONTRAST, 1))
    contrast = max(own_contrast * share, min(own_contrast, MIN_CONTRAST))
    amount = coverage * density * np.float32(contrast / own_contrast)
    return Ink(1 - amount[..., None] * (1 - colour), contrast)


def choose_print(rng: np.random.Generator) -> str:
    """A kind of ink for print."""
    return str(rng.choice(["printed", "typed", "thermal", "coloured", "iron-gall"], p=[0.6, 0.13, 0.12, 0.1, 0.05]))


def choose_pen(rng: np.random.Generator) -> str:
    """A kind of ink for strokes."""
    kinds = ["printed", "pencil", "fountain pen", "iron-gall", "ballpoint", "marker", "stamp"]
    return str(rng.choice(kinds, p=[0.14, 0.16, 0.18, 0.16, 0.22, 0.07, 0.07]))


def vary_width(rng: np.random.Generator, coverage: Floats, reach: float) -> Floats:
    """Strokes that swell and shrink by about `reach` pixels, as under a pen's pressure or a worn type."""
    soft = cv2.GaussianBlur(coverage, (0, 0), max(0.5, reach))
    threshold = rng.uniform(0.25, 0.5) + rng.uniform(0, 0.2) * smooth_noise(rng, _shape(coverage), rng.uniform(6, 60))
    return np.asarray(np.clip((soft - threshold) * np.float32(rng.uniform(2, 5)) + 0.5, 0, 1), np.float32)


# --- kinds: (generator, coverage) -> colour [3] and density [H,W] or a number, 0..1 --------------------------------

_Pen = Callable[[np.random.Generator, Floats], tuple[Colour, Floats | np.float32]]


def _print(rng: np.random.Generator, _coverage: Floats) -> tuple[Colour, Floats | np.float32]:
    return _near_black(rng, 0.15), np.float32(1)


def _print_in_colour(rng: np.random.Generator, _coverage: Floats) -> tuple[Colour, Floats | np.float32]:
    return _saturated(rng), np.float32(1)


def _type(rng: np.random.Generator, coverage: Floats) -> tuple[Colour, Floats | np.float32]:
    """A ribbon: some letters fainter than others, and worn within."""
    letters = 0.8 + 0.2 * smooth_noise(rng, _shape(coverage), rng.uniform(8, 30))
    weave = 1 + rng.uniform(0, 0.2) * smooth_noise(rng, _shape(coverage), 2)
    return _near_black(rng, 0.25), _density(letters * weave, 0.45)


def _print_by_heat(rng: np.random.Generator, coverage: Floats) -> tuple[Colour, Floats | np.float32]:
    """Thermal paper: black, grey or violet, faded in bands and where it was held."""
    violet = np.array([0.25, 0.2, 0.4], np.float32) * np.float32(rng.uniform(0.3, 1.3))
    colour = violet if rng.random() < 0.3 else _near_black(rng, 0.4)
    rows = smooth_noise(rng, (coverage.shape[0], 8), rng.uniform(3, 30))[:, :1]
    patches = smooth_noise(rng, _shape(coverage), rng.uniform(40, 150))
    return colour, _density(0.8 + rng.uniform(0, 0.15) * rows + rng.uniform(0, 0.3) * patches, 0.3)


def _pencil(rng: np.random.Generator, coverage: Floats) -> tuple[Colour, Floats | np.float32]:
    """Graphite that catches on the paper's grain."""
    grain = smooth_noise(rng, _shape(coverage), rng.uniform(2, 3))
    pressure = smooth_noise(rng, _shape(coverage), rng.uniform(15, 60))
    density = _density(0.75 + rng.uniform(0.1, 0.3) * grain + 0.15 * pressure, 0.3)
    return _grey(rng.uniform(0.25, 0.6)), density


def _fountain_pen(rng: np.random.Generator, coverage: Floats) -> tuple[Colour, Floats | np.float32]:
    """Shading: paler where the pen was fast, darker where the ink has gathered."""
    colour = np.asarray(
        [(0.08, 0.1, 0.3), (0.1, 0.1, 0.15), (0.15, 0.1, 0.4), (0.05, 0.25, 0.25)][rng.integers(4)], np.float32
    )
    shading = 0.7 + rng.uniform(0.1, 0.35) * smooth_noise(rng, _shape(coverage), rng.uniform(5, 25))
    return _vary(rng, colour, 0.05), _density(shading, 0.35)


def _iron_gall(rng: np.random.Generator, coverage: Floats) -> tuple[Colour, Floats | np.float32]:
    """Brown to black, uneven."""
    colour = np.array([0.38, 0.22, 0.1], np.float32) * np.float32(rng.uniform(0.2, 1.3))
    uneven = 0.75 + rng.uniform(0.05, 0.35) * smooth_noise(rng, _shape(coverage), rng.uniform(4, 40))
    return _vary(rng, colour, 0.04), _density(uneven, 0.35)


def _ballpoint(rng: np.random.Generator, coverage: Floats) -> tuple[Colour, Floats | np.float32]:
    """Blue, black, red or green, with small gaps."""
    colours = [(0.1, 0.15, 0.6), (0.15, 0.2, 0.75), (0.1, 0.1, 0.12), (0.75, 0.1, 0.15), (0.05, 0.45, 0.25)]
    gaps = 0.9 + rng.uniform(0, 0.3) * smooth_noise(rng, _shape(coverage), rng.uniform(2, 5))
    return _vary(rng, np.asarray(colours[rng.choice(5, p=[0.35, 0.2, 0.25, 0.12, 0.08])], np.float32), 0.07), _density(
        gaps, 0.4
    )


def _marker(rng: np.random.Generator, _coverage: Floats) -> tuple[Colour, Floats | np.float32]:
    return (_near_black(rng, 0.1) if rng.random() < 0.35 else _saturated(rng)), np.float32(1)


def _stamp(rng: np.random.Generator, coverage: Floats) -> tuple[Colour, Floats | np.float32]:
    """Red, blue or violet; the pad did not reach everywhere."""
    colours = [(0.75, 0.12, 0.15), (0.15, 0.2, 0.65), (0.4, 0.15, 0.55), (0.1, 0.1, 0.12)]
    patches = 0.75 + rng.uniform(0.1, 0.4) * smooth_noise(rng, _shape(coverage), rng.uniform(4, 40))
    return _vary(rng, np.asarray(colours[rng.integers(4)], np.float32), 0.07), _density(patches, 0.25)


KINDS: dict[str, _Pen] = {
    "printed": _print,
    "coloured": _print_in_colour,
    "typed": _type,
    "thermal": _print_by_heat,
    "pencil": _pencil,
    "fountain pen": _fountain_pen,
    "iron-gall": _iron_gall,
    "ballpoint": _ballpoint,
    "marker": _marker,
    "stamp": _stamp,
}


def _shape(coverage: Floats) -> tuple[int, int]:
    return coverage.shape[0], coverage.shape[1]


def _density(values: NDArray[np.floating], lowest: float) -> Floats:
    return np.asarray(np.clip(values, lowest, 1), np.float32)


def _grey(level: float) -> Colour:
    return np.full(3, level, np.float32)


def _near_black(rng: np.random.Generator, lightest: float) -> Colour:
    return _vary(rng, _grey(rng.uniform(0, lightest)), 0.02)


def _saturated(rng: np.random.Generator) -> Colour:
    """A colour of any hue, at most half as bright as paper in one channel."""
    hsv = np.array([[[rng.uniform(0, 360), rng.uniform(0.5, 1), rng.uniform(0.4, 0.95)]]], np.float32)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0], np.float32)


def _vary(rng: np.random.Generator, colour: Colour, deviation: float) -> Colour:
    return np.clip(colour + rng.normal(0, deviation, 3), 0, 0.85).astype(np.float32)
