"""Figures: what lies on a page beside ink and has to stay as it is: photographs, fills, charts, maps, slides, seals.

photographs | shapes and gradients -> Ground: colours float32 [H,W,3] under the ink, and where a figure has to be kept
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthetic_pages.paper import Floats, Shape, smooth_noise

Photograph = NDArray[np.uint8]  # [h,w,3], RGB
Colour = tuple[float, float, float]
Box = tuple[int, int, int, int]  # x0, y0, x1, y1


@dataclass
class Ground:
    """Of a page: `colours` float32 [H,W,3] in 0..1 under the ink, white paper 1; `kept` float32 [H,W], 1 where light
    and paper are not corrected; `written` float32 [H,W], 1 where ink lies. `is_dark`: ink is light on it."""

    kind: str
    colours: Floats
    kept: Floats
    written: Floats
    is_dark: bool = False


def draw_ground(rng: np.random.Generator, shape: Shape, kind: str, photographs: Sequence[Photograph]) -> Ground:
    """A ground of `kind`, a key of KINDS."""
    ground = Ground(kind, np.ones((*shape, 3), np.float32), np.zeros(shape, np.float32), np.ones(shape, np.float32))
    KINDS[kind](rng, ground, photographs)
    return ground


def _lay_photograph(rng: np.random.Generator, ground: Ground, photographs: Sequence[Photograph]) -> None:
    """A photograph in a box, in colour or grey, sometimes with a caption over it; one in three fills everything."""
    shape = _shape(ground)
    x0, y0, x1, y1 = (0, 0, shape[1], shape[0]) if rng.random() < 0.33 else _choose_box(rng, shape, 0.35)
    picture = cut_photograph(rng, photographs, (y1 - y0, x1 - x0))
    if rng.random() < 0.3:
        picture = np.repeat(picture.mean(-1, keepdims=True), 3, -1)
    if rng.random() < 0.15:  # printed in few tones, or faded
        picture = 1 - (1 - picture) * np.float32(rng.uniform(0.4, 1))
    _lay(ground, (x0, y0, x1, y1), picture, is_kept=True, is_written=bool(rng.random() < 0.15))


def _lay_drawing(rng: np.random.Generator, ground: Ground, photographs: Sequence[Photograph]) -> None:
    """A shaded drawing in pencil or ink, or a print in few tones: made of a photograph, on white paper."""
    box = _choose_box(rng, _shape(ground), 0.5)
    grey = cut_photograph(rng, photographs, (box[3] - box[1], box[2] - box[0])).mean(-1)
    if rng.random() < 0.6:  # dodge: the picture over its blurred self leaves outlines and soft shades
        soft = cv2.GaussianBlur(grey, (0, 0), float(rng.uniform(1.5, 5)))
        grey = np.clip((grey / np.maximum(soft, 0.05)) ** np.float32(rng.uniform(1, 4)), 0, 1)
    else:
        steps = int(rng.integers(2, 6))
        grey = np.round(cv2.GaussianBlur(grey, (0, 0), 1.0) * steps) / np.float32(steps)
    tint = 1 - np.float32(rng.uniform(0, 0.5)) * np.asarray(_saturated(rng), np.float32) * (rng.random() < 0.3)
    ink = (1 - grey[..., None]) * np.asarray(tint, np.float32)
    _lay(ground, box, 1 - ink * np.float32(rng.uniform(0.5, 1)), is_kept=False, is_written=False)


def _lay_fills(rng: np.random.Generator, ground: Ground, _photographs: Sequence[Photograph]) -> None:
    """Rows or cells of a table with grounds, boxes of text on a colour."""
    height, width = _shape(ground)
    x0, y0, x1, y1 = _choose_box(rng, (height, width), 0.6)
    pale, other = _pale(rng), _pale(rng)
    pitch = int(rng.integers(10, 60))
    is_striped = rng.random() < 0.6
    for row, top in enumerate(range(y0, y1, pitch)):
        if is_striped and row % 2 == 0:
            continue
        colour = _saturated(rng) if row == 0 and rng.random() < 0.3 else (pale if row % 4 < 2 else other)
        ground.colours[top : min(y1, top + pitch), x0:x1] = colour
    if rng.random() < 0.5:
        edge = tuple(float(v) for v in np.multiply(pale, rng.uniform(0.2, 0.9)))
        cv2.rectangle(ground.colours, (x0, y0), (x1, y1), edge, int(rng.integers(1, 3)))


def _lay_highlighter(rng: np.random.Generator, ground: Ground, _photographs: Sequence[Photograph]) -> None:
    """Strokes of a highlighter over lines of text."""
    height, width = _shape(ground)
    colours = [(1.0, 0.97, 0.35), (0.6, 1.0, 0.55), (1.0, 0.65, 0.8), (0.55, 0.85, 1.0), (1.0, 0.8, 0.45)]
    colour = np.asarray(colours[rng.integers(5)], np.float32)
    for _ in range(int(rng.integers(1, 5))):
        x, y, length = rng.uniform(-0.2, 0.8) * width, rng.uniform(0, 1) * height, rng.uniform(0.2, 1) * width
        stroke = np.zeros((height, width), np.float32)
        end = (int(x + length), int(y + rng.normal(0, 4)))
        cv2.line(stroke, (int(x), int(y)), end, (1.0,), int(rng.integers(8, 40)), cv2.LINE_AA)
        stroke *= np.float32(rng.uniform(0.6, 1)) * np.clip(1 + 0.1 * smooth_noise(rng, (height, width), 6), 0, 1)
        ground.colours *= 1 - stroke[..., None] * (1 - colour)


def _lay_chart(rng: np.random.Generator, ground: Ground, _photographs: Sequence[Photograph]) -> None:
    """Bars, slices, areas of a map with borders, or a gradient; flat colours and lines."""
    height, width = _shape(ground)
    box = _choose_box(rng, (height, width), 0.5)
    x0, y0, x1, y1 = box
    kind = rng.integers(4)
    picture: Floats = np.ones((y1 - y0, x1 - x0, 3), np.float32)
    if kind == 0:
        edges = np.linspace(0, x1 - x0, 2 * int(rng.integers(2, 8))).astype(int)
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            top = int(rng.uniform(0, y1 - y0))
            cv2.rectangle(picture, (int(start), top), (int(end), y1 - y0), _any_colour(rng), -1)
    elif kind == 1:
        centre, radius = ((x1 - x0) // 2, (y1 - y0) // 2), max(2, min(x1 - x0, y1 - y0) // 2 - 2)
        angles = np.sort(rng.uniform(0, 360, int(rng.integers(2, 7))))
        for start, end in zip(angles, [*angles[1:], angles[0] + 360], strict=True):
            axes = (radius, radius)
            cv2.ellipse(picture, centre, axes, 0, float(start), float(end), _any_colour(rng), -1, cv2.LINE_AA)
    elif kind == 2:
        field = smooth_noise(rng, (y1 - y0, x1 - x0), rng.uniform(15, 70))
        levels = np.digitize(field, np.sort(rng.normal(0, 0.8, int(rng.integers(1, 5)))))
        palette = np.asarray([_pale(rng) if rng.random() < 0.6 else _any_colour(rng) for _ in range(6)], np.float32)
        picture = np.asarray(palette[levels], np.float32)
        if rng.random() < 0.6:
            borders = cv2.morphologyEx(levels.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0
            picture[borders] *= np.float32(rng.uniform(0, 0.7))
    else:
        corners = np.asarray([[_any_colour(rng) for _ in range(2)] for _ in range(2)], np.float32)
        picture = np.asarray(cv2.resize(corners, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR), np.float32)
    _lay(ground, box, picture, is_kept=False, is_written=bool(rng.random() < 0.5))


def _darken(rng: np.random.Generator, ground: Ground, photographs: Sequence[Photograph]) -> None:
    """White on black: a dark slide, a negative, a screenshot in dark colours, or one box of it."""
    shape = _shape(ground)
    x0, y0, x1, y1 = (0, 0, shape[1], shape[0]) if rng.random() < 0.8 else _choose_box(rng, shape, 0.6)
    first, second = (np.asarray(_dark(rng), np.float32) for _ in range(2))
    slope = np.linspace(0, 1, y1 - y0, dtype=np.float32)[:, None, None] * (rng.random() < 0.5)
    ground.colours[y0:y1, x0:x1] = first + (second - first) * slope
    ground.kept[y0:y1, x0:x1] = 1
    ground.is_dark = True
    if rng.random() < 0.3:
        box = _choose_box(rng, shape, 0.3)
        picture = cut_photograph(rng, photographs, (box[3] - box[1], box[2] - box[0]))
        _lay(ground, box, picture, is_kept=True, is_written=False)


def _lay_screen(rng: np.random.Generator, ground: Ground, _photographs: Sequence[Photograph]) -> None:
    """A screenshot: panels, buttons and bars of flat colours."""
    height, width = _shape(ground)
    ground.colours[:] = _pale(rng)
    for _ in range(int(rng.integers(2, 8))):
        x0, y0, x1, y1 = _choose_box(rng, (height, width), 0.1)
        colour = _any_colour(rng) if rng.random() < 0.4 else _pale(rng)
        cv2.rectangle(ground.colours, (x0, y0), (x1, y1), colour, -1)
        if rng.random() < 0.4:
            edge = tuple(0.8 * channel for channel in colour)
            cv2.rectangle(ground.colours, (x0, y0), (x1, y1), edge, 1)
    ground.kept[:] = 1


def _surround(rng: np.random.Generator, ground: Ground, photographs: Sequence[Photograph]) -> None:
    """The sheet's edge: beyond it a table, a hand, or a scanner's dark lid."""
    height, width = _shape(ground)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = np.pi / 2 * rng.integers(4) + rng.normal(0, 0.08)
    if rng.random() < 0.25:  # a finger that holds the sheet
        distance = np.hypot(x - rng.choice([0, width]), (y - rng.uniform(0.2, 0.8) * height) * rng.uniform(1, 2))
        outside = np.clip(distance.max() * 0 + rng.uniform(15, 45) - distance, 0, 1)
        skin = np.array([0.85, 0.62, 0.5], np.float32) * np.float32(rng.uniform(0.35, 1.1))
        picture = np.clip(skin * (1 - 0.25 * (distance / 45)[..., None] ** 2), 0.02, 1)
    else:
        offset = rng.uniform(-0.35, 0.35) * np.hypot(height, width)
        distance = (x - width / 2) * np.cos(angle) + (y - height / 2) * np.sin(angle) - offset
        outside = np.clip(distance + 0.5, 0, 1)
        if rng.random() < 0.5:
            picture = np.ones((height, width, 3), np.float32) * np.asarray(_dark(rng), np.float32)
            picture *= 1 + np.float32(rng.uniform(0, 0.2)) * smooth_noise(rng, (height, width), 20)[..., None]
        else:
            picture = cut_photograph(rng, photographs, (height, width)) * np.float32(rng.uniform(0.3, 0.9))
    ground.colours += outside[..., None] * (picture - ground.colours)
    ground.kept = np.maximum(ground.kept, outside)
    ground.written *= 1 - outside


def _leave_white(_rng: np.random.Generator, _ground: Ground, _photographs: Sequence[Photograph]) -> None:
    """Nothing but paper."""


KINDS: dict[str, Callable[[np.random.Generator, Ground, Sequence[Photograph]], None]] = {
    "paper": _leave_white,
    "grey": _leave_white,
    "photograph": _lay_photograph,
    "drawing": _lay_drawing,
    "fills": _lay_fills,
    "highlighter": _lay_highlighter,
    "chart": _lay_chart,
    "dark": _darken,
    "screen": _lay_screen,
    "surround": _surround,
}


def cut_photograph(rng: np.random.Generator, photographs: Sequence[Photograph], shape: Shape) -> Floats:
    """A piece of a random photograph, enlarged or reduced, float32 [H,W,3] in 0..1; without photographs, clouds."""
    height, width = shape
    if not photographs:
        clouds = [smooth_noise(rng, shape, rng.uniform(8, 60)) for _ in range(3)]
        return np.asarray(np.clip(0.5 + 0.25 * np.stack(clouds, -1), 0, 1), np.float32)
    picture = photographs[int(rng.integers(len(photographs)))]
    largest = min(picture.shape[0] / height, picture.shape[1] / width)
    scale = float(rng.uniform(min(0.4, largest), largest))  # pixels of the photograph for one of the page
    rows, columns = max(1, int(height * scale)), max(1, int(width * scale))
    y, x = int(rng.integers(picture.shape[0] - rows + 1)), int(rng.integers(picture.shape[1] - columns + 1))
    piece = picture[y : y + rows, x : x + columns]
    how = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(piece, (width, height), interpolation=how), np.float32) / np.float32(255)


def _lay(ground: Ground, box: Box, picture: Floats, *, is_kept: bool, is_written: bool) -> None:
    x0, y0, x1, y1 = box
    ground.colours[y0:y1, x0:x1] = picture
    ground.kept[y0:y1, x0:x1] = is_kept
    if not is_written:
        ground.written[y0:y1, x0:x1] = 0


def _shape(ground: Ground) -> Shape:
    return ground.kept.shape[0], ground.kept.shape[1]


def _choose_box(rng: np.random.Generator, shape: Shape, smallest: float) -> Box:
    """A box of at least `smallest` of each side, often cut off by the edges."""
    sides = []
    for length in shape:
        size = int(length * rng.uniform(smallest, 1.3))
        start = int(rng.uniform(-0.3, 1) * (length - 0.5 * size))
        first, last = max(0, start), min(length, start + size)
        sides.append((first, last) if last - first >= 8 else (0, length))
    return sides[1][0], sides[0][0], sides[1][1], sides[0][1]


def _any_colour(rng: np.random.Generator) -> Colour:
    return _to_colour(rng.uniform(0, 1, 3))


def _saturated(rng: np.random.Generator) -> Colour:
    hsv = np.array([[[rng.uniform(0, 360), rng.uniform(0.4, 1), rng.uniform(0.4, 1)]]], np.float32)
    return _to_colour(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0])


def _pale(rng: np.random.Generator) -> Colour:
    """A light colour or grey, as grounds of text have."""
    if rng.random() < 0.4:
        return _to_colour(np.full(3, rng.uniform(0.7, 0.97)))
    hsv = np.array([[[rng.uniform(0, 360), rng.uniform(0.05, 0.4), rng.uniform(0.8, 1)]]], np.float32)
    return _to_colour(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0])


def _dark(rng: np.random.Generator) -> Colour:
    if rng.random() < 0.5:
        return _to_colour(np.full(3, rng.uniform(0, 0.25)))
    hsv = np.array([[[rng.uniform(0, 360), rng.uniform(0.2, 1), rng.uniform(0.05, 0.45)]]], np.float32)
    return _to_colour(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0])


def _to_colour(values: NDArray[np.floating]) -> Colour:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
