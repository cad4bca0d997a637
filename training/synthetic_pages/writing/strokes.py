"""Strokes on a page: lines, line art and handwriting, anti-aliased, drawn dark on white 255.

points | box -> polylines -> page uint8 [H,W], in place
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Page = NDArray[np.uint8]  # [H,W], white 255
Floats = NDArray[np.float32]
_SHIFT = 4  # bits of sub-pixel position


def draw_stroke(page: Page, points: Floats | Sequence[Sequence[float]], grey: int, width: int = 1) -> None:
    """Draws the polyline `points` float [N,2] (x, y) with ink `grey` and `width` pixels, in place."""
    fixed = np.round(np.asarray(points, np.float32) * (1 << _SHIFT)).astype(np.int32)
    cv2.polylines(page, [fixed.reshape(-1, 1, 2)], False, int(grey), int(width), cv2.LINE_AA, _SHIFT)


def smooth_curve(corners: Floats, steps: int = 8) -> Floats:
    """Catmull-Rom curve through `corners` float [N,2] -> float [(N-1)*steps+1,2]."""
    padded = np.concatenate([2 * corners[:1] - corners[1:2], corners, 2 * corners[-1:] - corners[-2:-1]])
    a, b, c, d = padded[:-3, None], padded[1:-2, None], padded[2:-1, None], padded[3:, None]
    t = (np.arange(steps, dtype=np.float32) / steps)[None, :, None]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return np.concatenate([curve.reshape(-1, 2), corners[-1:]]).astype(np.float32)


def draw_handwriting(
    page: Page, rng: np.random.Generator, box: tuple[int, int, int, int], grey: int, width: int
) -> None:
    """Fills `box` (x0, y0, x1, y1) with lines of made-up cursive words: rounds, arches, loops, dots, bars."""
    x0, y0, x1, y1 = box
    size = float(rng.uniform(6, 22))  # height of a lower-case letter
    slant = rng.uniform(-0.1, 0.6)
    letter_width = size * rng.uniform(0.5, 1.0)
    irregularity = rng.uniform(0.05, 0.25)
    roundness = rng.uniform(0.2, 1.1)  # below about 0.8 arches, above it loops
    drift = rng.normal(0, 0.02)
    baseline = y0 + 2.2 * size
    while baseline + size < y1:
        x = x0 + rng.uniform(0, 2) * size
        while x < x1 - 3 * size:
            letters = int(rng.integers(1, 10))
            positions, heights = _trace_word(rng, letters, roundness, irregularity)
            xs, ys = x + letter_width * positions, baseline + drift * (x - x0) - size * heights
            curve = np.stack([xs + slant * size * heights, ys], 1).astype(np.float32)
            curve = curve[curve[:, 0] < x1]
            shade = int(np.clip(grey + rng.normal(0, 8), 0, 200))
            if len(curve) > 2:
                draw_stroke(page, curve, shade, width)
                if rng.random() < 0.5:
                    bar_x, bar_y = curve[int(rng.integers(len(curve)))] - (0, size * rng.uniform(0.4, 1.0))
                    length = rng.uniform(0, 1.2) * size
                    draw_stroke(page, [(bar_x, bar_y), (bar_x + length, bar_y + rng.normal(0, 1.5))], shade, width)
            x = float(xs[-1]) + size * rng.uniform(0.5, 1.4)
        baseline += size * rng.uniform(2.6, 4.2)


def _trace_word(
    rng: np.random.Generator, letters: int, roundness: float, irregularity: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Path of a pen that circles as it advances: position along the line and height in letters, float [12*letters]."""
    phase = np.linspace(0, 2 * np.pi * letters, 12 * letters + 1)[:-1]
    index = np.minimum((phase / (2 * np.pi)).astype(int), letters - 1)
    letter_kind = rng.random(letters)  # below 0.15 an ascender, above 0.9 a descender
    top = np.where(letter_kind < 0.15, 2.0, 1.0) + rng.normal(0, irregularity, letters)
    bottom = np.where(letter_kind > 0.9, -1.0, 0.0) + rng.normal(0, irregularity * 0.4, letters)
    ends = np.cumsum(np.clip(1 + 2 * rng.normal(0, irregularity, letters), 0.4, 2))
    starts = np.concatenate([[0.0], ends[:-1]])
    position = starts[index] + (ends - starts)[index] * (phase / (2 * np.pi) - index)
    position -= (roundness * rng.uniform(0.3, 1.3, letters))[index] * 0.45 * np.sin(phase)
    height = bottom[index] + (top - bottom)[index] * (0.5 - 0.5 * np.cos(phase))
    is_angular = (rng.random(letters) < 0.2)[index]  # as m, n, u, v
    height = np.where(is_angular, bottom[index] + 0.9 * np.abs(np.sin(phase)), height)
    return position, height


def draw_scribble(page: Page, rng: np.random.Generator, box: tuple[int, int, int, int], grey: int, width: int) -> None:
    """A signature, a sketch or a marginal mark: one to five smooth curves inside `box`."""
    x0, y0, x1, y1 = box
    for _ in range(int(rng.integers(1, 6))):
        corners = rng.uniform((x0, y0), (x1, y1), (int(rng.integers(3, 10)), 2)).astype(np.float32)
        draw_stroke(page, smooth_curve(corners, 12), grey, width)


def draw_line_art(page: Page, rng: np.random.Generator, box: tuple[int, int, int, int], grey: int) -> None:
    """Line art inside `box`: a plot with axes, a diagram of boxes and arrows, circles, or hatching."""
    x0, y0, x1, y1 = box
    kind = rng.integers(4)
    width = int(rng.integers(1, 3))
    if kind == 0:  # plot
        draw_stroke(page, [(x0, y0), (x0, y1), (x1, y1)], grey, width)
        for tick in np.linspace(x0, x1, int(rng.integers(4, 12))):
            draw_stroke(page, [(tick, y1), (tick, y1 - 5)], grey)
        for _ in range(int(rng.integers(1, 4))):
            xs = np.linspace(x0, x1, int(rng.integers(4, 40)))
            ys = np.clip(np.cumsum(rng.normal(0, (y1 - y0) / 12, len(xs))) + (y0 + y1) / 2, y0, y1)
            draw_stroke(page, np.stack([xs, ys], 1).astype(np.float32), grey, int(rng.integers(1, 3)))
    elif kind == 1:  # boxes and arrows
        previous: tuple[float, float] | None = None
        for _ in range(int(rng.integers(2, 6))):
            w, h = rng.uniform(0.12, 0.3) * (x1 - x0), rng.uniform(0.12, 0.3) * (y1 - y0)
            x, y = rng.uniform(x0, x1 - w), rng.uniform(y0, y1 - h)
            draw_stroke(page, [(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)], grey, width)
            if previous:
                start, end = (int(previous[0]), int(previous[1])), (int(x), int(y + h / 2))
                cv2.arrowedLine(page, start, end, int(grey), 1, cv2.LINE_AA, 0, 0.06)
            previous = (x + w, y + h / 2)
    elif kind == 2:  # circles and ellipses
        for _ in range(int(rng.integers(1, 6))):
            centre = (int(rng.uniform(x0, x1)), int(rng.uniform(y0, y1)))
            axes = (int(rng.uniform(4, (x1 - x0) / 3)), int(rng.uniform(4, (y1 - y0) / 3)))
            cv2.ellipse(page, centre, axes, float(rng.uniform(0, 180)), 0, 360, int(grey), width, cv2.LINE_AA)
    else:  # hatching
        step = float(rng.uniform(4, 16))
        slope = float(rng.uniform(-1, 1)) * (y1 - y0)
        for x in np.arange(x0, x1, step):
            draw_stroke(page, [(x, y0), (x + slope * 0.2, y1)], grey)
        draw_stroke(page, [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], grey, width)


def draw_figure(page: Page, rng: np.random.Generator, box: tuple[int, int, int, int]) -> None:
    """Grey that belongs to the page and must be preserved: a bar chart, or a halftone picture.

    Never a continuous-tone picture: nothing would distinguish it from a stain.
    """
    x0, y0, x1, y1 = box
    height, width = y1 - y0, x1 - x0
    if rng.random() < 0.4:
        edges = np.linspace(x0, x1, 2 * int(rng.integers(3, 9))).astype(int)
        bars = np.full_like(page, 255)
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            top = int(rng.uniform(y0, y1))
            cv2.rectangle(bars, (int(start), top), (int(end), y1), int(rng.integers(0, 110)), -1)
            cv2.rectangle(bars, (int(start), top), (int(end), y1), 0, 1)
        np.minimum(page, bars, out=page)
        return
    coarse = rng.uniform(10, 250, (int(rng.integers(3, 9)), int(rng.integers(3, 9)))).astype(np.float32)
    picture = np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255)
    pitch = rng.uniform(3.5, 7)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) * (np.pi / pitch)
    screen = 127.5 + 63.75 * (np.cos(x + y) + np.cos(x - y))
    picture = np.clip((picture - screen) * 3 + 127.5, 0, 255)
    page[y0:y1, x0:x1] = np.minimum(page[y0:y1, x0:x1], picture.astype(np.uint8))
