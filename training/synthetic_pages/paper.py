"""Used paper: its brightness at each pixel before any ink, float32 [H,W], 0 black to 1 white.

level -> texture -> light and shadow -> folds and wrinkles -> stains and prints -> specks and scratches

Everything smooth is drawn small and enlarged: a 512x512 sheet takes about 15 ms on one core.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Shape = tuple[int, int]


def draw_sheet(rng: np.random.Generator, shape: Shape, strength: float) -> Floats:
    """A used sheet, float32 [H,W]; `strength` 0..1 moves it from clean office paper to paper from the floor."""

    def chance(share: float) -> bool:
        return bool(rng.random() < share * (0.35 + strength))

    level = rng.uniform(140, 200) if chance(0.2) else rng.uniform(200, 255)
    paper = np.full(shape, level / 255, np.float32)
    if chance(0.9):
        paper += draw_texture(rng, shape, (0.3 + strength) * rng.gamma(2, 0.008))
    if chance(0.7):
        paper *= draw_light(rng, shape, strength)
    if chance(0.35):
        paper *= draw_wrinkles(rng, shape, strength)
    if chance(0.25):
        paper *= draw_folds(rng, shape, strength)
    for _ in range(int(rng.integers(1, 5)) if chance(0.4) else 0):
        paper *= (draw_ring, draw_blob, draw_blob, draw_footprint)[int(rng.integers(4))](rng, shape, strength)
    if chance(0.5):
        add_specks(rng, paper, strength)
    if chance(0.25):
        add_scratches(rng, paper, strength)
    if rng.random() < 0.04:
        add_borders(rng, paper)
    return np.clip(paper, 0.02, 1, out=paper)


def draw_relief(rng: np.random.Generator, shape: Shape, strength: float) -> Floats:
    """What a sheet's surface does to light, to multiply by: texture, wrinkles, folds; float32 [H,W], about 1."""
    relief = np.ones(shape, np.float32)
    if rng.random() < 0.9:
        relief += draw_texture(rng, shape, (0.3 + strength) * rng.gamma(2, 0.008))
    if rng.random() < 0.4:
        relief *= draw_wrinkles(rng, shape, strength)
    if rng.random() < 0.35:
        relief *= draw_folds(rng, shape, strength)
    return relief


def draw_dirt(rng: np.random.Generator, shape: Shape, strength: float) -> Floats:
    """What has come onto a sheet, to multiply by: stains, rings, prints, specks, scratches; float32 [H,W], 0..1."""
    dirt = np.ones(shape, np.float32)
    for _ in range(int(rng.integers(0, 6))):
        dirt *= (draw_ring, draw_blob, draw_blob, draw_footprint)[int(rng.integers(4))](rng, shape, strength)
    if rng.random() < 0.5:
        add_specks(rng, dirt, strength)
    if rng.random() < 0.25:
        add_scratches(rng, dirt, strength)
    if rng.random() < 0.15:
        add_borders(rng, dirt)
    return np.clip(dirt, 0.02, 1, out=dirt)


def smooth_noise(rng: np.random.Generator, shape: Shape, cell: float) -> Floats:
    """Value noise, float32 [H,W]: normal numbers on a grid of `cell` pixels, interpolated; unit variance at nodes."""
    height, width = shape
    rows, columns = int(height / cell) + 4, int(width / cell) + 4
    nodes = rng.standard_normal((rows, columns), np.float32)
    noise = cv2.resize(nodes, (int(columns * cell), int(rows * cell)), interpolation=cv2.INTER_CUBIC)
    y, x = int(rng.integers(noise.shape[0] - height + 1)), int(rng.integers(noise.shape[1] - width + 1))
    return np.asarray(noise[y : y + height, x : x + width], np.float32)


def fractal_noise(rng: np.random.Generator, shape: Shape, coarse: float, count: int, decay: float = 0.5) -> Floats:
    """`count` octaves of smooth noise, each half as wide and `decay` as strong as the previous; about unit variance."""
    total = np.zeros(shape, np.float32)
    for number in range(count):
        total += decay**number * smooth_noise(rng, shape, max(coarse / 2**number, 2))
    return total / np.float32(np.sqrt(sum(decay ** (2 * n) for n in range(count))))


def draw_texture(rng: np.random.Generator, shape: Shape, sigma: float) -> Floats:
    """Clouds, grain and fibres, to add to a sheet; `sigma` in 0..1 grey."""
    total = sigma * fractal_noise(rng, shape, rng.uniform(8, 128), int(rng.integers(2, 5)), rng.uniform(0.5, 1.0))
    if rng.random() < 0.5:  # in one direction, as from the sieve of paper making
        grain = smooth_noise(rng, (shape[0] // 8 + 1, shape[1]), 2.0)
        grain = grain if rng.random() < 0.5 else grain[:, ::-1]
        total += sigma * 0.5 * cv2.resize(grain, shape[::-1], interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.3:
        fibres = np.zeros(shape, np.uint8)
        for _ in range(int(rng.integers(20, 300))):
            centre = rng.uniform(0, 1, 2) * shape[::-1]
            arc = centre + np.cumsum(rng.normal(0, 4, (4, 2)), 0)
            cv2.polylines(fibres, [arc.astype(np.int32)], False, int(rng.integers(60, 255)), 1, cv2.LINE_AA)
        total += rng.choice([-1, 1]) * rng.uniform(0.02, 0.1) * cv2.GaussianBlur(fibres / np.float32(255), (0, 0), 0.6)
    return total.astype(np.float32)


def draw_light(rng: np.random.Generator, shape: Shape, strength: float) -> Floats:
    """Uneven light, to multiply by: a slope, a vignette, the shadow of a hand or of a book's spine."""
    x, y = _rotated_coordinates(rng, shape)
    brightness = np.asarray(1 - (0.1 + 0.35 * strength) * rng.random() * (x + 0.5), np.float32)
    if rng.random() < 0.3:
        brightness = np.asarray(brightness - (0.05 + 0.5 * strength) * rng.random() * (x * x + y * y), np.float32)
    if rng.random() < 0.4 * (0.3 + strength):
        edge = x - rng.uniform(-0.4, 0.4) + 0.08 * smooth_noise(rng, shape, max(shape) / rng.uniform(1.5, 5))
        softness = 10 ** rng.uniform(-2.5, -0.7)
        brightness *= 1 - rng.uniform(0.05, 0.5) / (1 + np.exp(np.clip(edge / softness, -30, 30)))
    if rng.random() < 0.1:
        brightness *= 1 - rng.uniform(0.1, 0.6) * np.exp(-np.abs(x - rng.uniform(-0.5, 0.5)) / rng.uniform(0.02, 0.15))
    return np.clip(brightness, 0.3, 1.1).astype(np.float32)


def draw_wrinkles(rng: np.random.Generator, shape: Shape, strength: float) -> Floats:
    """Crumpled paper, to multiply by: facets that tilt to and from the light, and ridges where they meet."""
    half_shape = (shape[0] // 2 + 1, shape[1] // 2 + 1)
    shade = np.zeros(half_shape, np.float32)
    ridges = np.zeros(half_shape, np.float32)
    for layer in range(int(rng.integers(1, 4))):
        seeds = np.full(half_shape, 255, np.uint8)
        count = int(rng.uniform(6, 25) * (1 + 2 * layer))
        ys, xs = rng.integers(0, half_shape[0], count), rng.integers(0, half_shape[1], count)
        seeds[ys, xs] = 0
        _, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
        grid_y, grid_x = np.mgrid[0 : half_shape[0], 0 : half_shape[1]].astype(np.float32)
        bend = 60 / (1 + layer)
        warp_x = grid_x + bend * 0.4 * fractal_noise(rng, half_shape, bend, 3)
        warp_y = grid_y + bend * 0.4 * fractal_noise(rng, half_shape, bend, 3)
        cells = cv2.remap(labels.astype(np.float32), warp_x, warp_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
        cells = cells.astype(np.int32)
        levels = rng.normal(0, 1, int(cells.max()) + 1).astype(np.float32)
        slopes = rng.normal(0, 1.5 / max(half_shape), (2, len(levels))).astype(np.float32)
        weight = 0.7**layer
        shade += weight * (levels[cells] + slopes[0][cells] * grid_x + slopes[1][cells] * grid_y)
        step = levels[cells]
        ridges += weight * (step - cv2.GaussianBlur(step, (0, 0), float(rng.uniform(1.0, 3.0))))
    shade = cv2.GaussianBlur(shade, (0, 0), float(rng.uniform(0.6, 6))).astype(np.float32)
    patches = np.clip(1 + 0.5 * smooth_noise(rng, half_shape, max(half_shape) / 3), 0.1, 2)
    power = (0.02 + 0.07 * strength) * rng.uniform(0.4, 1.3)
    total = 1 + power * patches * (shade + rng.uniform(0, 3) * ridges)
    total += 0.01 * strength * fractal_noise(rng, half_shape, 12, 3)
    return _enlarge(np.clip(total, 0.35, 1.25), shape)


def draw_folds(rng: np.random.Generator, shape: Shape, strength: float) -> Floats:
    """One to five creases across the sheet, to multiply by: light or dark ridges, shaded to their sides."""
    total = np.ones(shape, np.float32)
    for _ in range(int(rng.integers(1, 6))):
        x, _ = _rotated_coordinates(rng, shape, square=rng.random() < 0.6)
        distance = x - np.float32(rng.uniform(-0.45, 0.45)) + 0.004 * smooth_noise(rng, shape, rng.uniform(20, 150))
        ridge = np.exp(-np.square(distance * np.float32(rng.uniform(90, 600))))
        side = np.sign(distance) * np.exp(-np.abs(distance) * np.float32(rng.uniform(4, 40)))
        gaps = np.clip(0.7 + 0.5 * smooth_noise(rng, shape, rng.uniform(5, 60)), 0, 1.5)
        sign = rng.choice([-1, 1], p=[0.6, 0.4])
        total *= 1 + sign * rng.uniform(0.04, 0.15 + 0.2 * strength) * ridge * gaps
        total *= 1 + rng.uniform(-0.12, 0.12) * (0.3 + strength) * side
    return np.clip(total, 0.3, 1.2).astype(np.float32)


def draw_ring(rng: np.random.Generator, shape: Shape, strength: float) -> Floats:
    """The foot of a wet cup, to multiply by: a broken ring with dark rims."""
    x, y = _centred_coordinates(rng, shape)
    radius = rng.uniform(40, 160)
    uneven = fractal_noise(rng, shape, rng.uniform(20, 80), 3)
    distance = np.sqrt(x * x + (y * rng.uniform(0.85, 1.15)) ** 2) - radius + 2 * uneven
    width = rng.uniform(3, 14) * np.clip(1 + 0.5 * smooth_noise(rng, shape, 90), 0.2, 2)
    band = np.clip((width - np.abs(distance)) / 1.5, 0, 1)
    rim = band * np.exp(-np.square((np.abs(distance) - width) / 2.0))
    wash = np.clip(-distance / 3, 0, 1) * rng.uniform(0, 0.25)
    gaps = np.clip(0.8 + 0.7 * smooth_noise(rng, shape, rng.uniform(60, 150)), 0, 1)
    darkness = rng.uniform(0.06, 0.2 + 0.35 * strength)
    stain = (0.7 * band + 0.3 * rim) * gaps * (1 + 0.15 * uneven) + wash
    return np.asarray(1 - darkness * stain.clip(0, 1.2), np.float32)


def draw_blob(rng: np.random.Generator, shape: Shape, strength: float) -> Floats:
    """A spill, a grease spot or damp, to multiply by: a ragged patch, often with a darker rim."""
    x, y = _centred_coordinates(rng, shape)
    radius = rng.uniform(8, 130)
    distance = np.sqrt(x * x + y * y * rng.uniform(0.5, 2)) - radius
    distance = distance + radius * 0.35 * fractal_noise(rng, shape, max(radius, 10), 4)
    softness = 10 ** rng.uniform(0, 1.4)
    patch = np.clip(0.5 - distance / softness, 0, 1)
    rim = np.exp(-np.square(distance / (1 + softness / 2))) * patch * rng.uniform(0, 1.2)
    darkness = rng.uniform(0.04, 0.15 + 0.4 * strength)
    mottling = 1 + rng.uniform(0, 0.3) * fractal_noise(rng, shape, 24, 3)
    stain = (rng.uniform(0.2, 1) * patch + rim) * mottling
    return np.asarray(1 - darkness * stain.clip(0, 1.2), np.float32)


def draw_footprint(rng: np.random.Generator, shape: Shape, strength: float) -> Floats:
    """A dusty sole, a tyre or a stamp pad, to multiply by: bars, tiles or waves that print only in patches."""
    x, y = _centred_coordinates(rng, shape)
    angle = rng.uniform(0, np.pi)
    u = x * np.cos(angle) + y * np.sin(angle)  # across the print
    v = y * np.cos(angle) - x * np.sin(angle)  # along it
    bend = 6 * smooth_noise(rng, shape, 80)
    pitch = rng.uniform(16, 60)
    waves = np.cos((u + bend) * (2 * np.pi / pitch) + rng.uniform(0, 3) * np.sin(v * (2 * np.pi / pitch)))
    if rng.random() < 0.6:
        waves = np.minimum(waves, np.cos((v + bend) * (2 * np.pi / (pitch * rng.uniform(0.6, 2)))))
    marks = np.clip((waves + rng.uniform(-0.2, 0.5)) * rng.uniform(1.5, 6), 0, 1)
    if rng.random() < 0.5:
        marks = np.abs(marks - cv2.GaussianBlur(marks, (0, 0), 4)) * 2  # only its edges
    outline = np.clip(1.2 - np.square(u / rng.uniform(60, 150)) - np.square(v / rng.uniform(120, 320)), 0, 1)
    dust = np.clip(0.6 + 0.5 * fractal_noise(rng, shape, rng.uniform(20, 60), 5, 0.8), 0, 1.4)
    darkness = rng.uniform(0.05, 0.15 + 0.25 * strength)
    return np.asarray(1 - darkness * outline * dust * marks.clip(0, 1), np.float32)


def add_specks(rng: np.random.Generator, paper: Floats, strength: float) -> None:
    """Dirt and dust, in place: single grains of 0.5 to 4 pixels, dark ones mostly."""
    height, width = paper.shape
    count = int(10 ** rng.uniform(0.7, 1.8 + 1.2 * strength))
    tone = rng.uniform(0.15, 0.9)
    is_light = rng.random() < 0.2
    for x, y, size in zip(
        rng.uniform(0, width, count), rng.uniform(0, height, count), rng.gamma(1.2, 0.8, count), strict=True
    ):
        grey = float(rng.uniform(0.9, 1)) if is_light else float(tone * rng.uniform(0.5, 1.3))
        axes = (int(16 * max(size, 0.4)), int(16 * max(size * rng.uniform(0.4, 1), 0.4)))
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(paper, (int(16 * x), int(16 * y)), axes, angle, 0, 360, grey, -1, cv2.LINE_8, 4)


def add_scratches(rng: np.random.Generator, paper: Floats, strength: float) -> None:
    """Long thin marks and the streaks of a dirty scanner glass, in place; fainter than ink."""
    height, width = paper.shape
    marks = np.zeros(paper.shape, np.uint8)
    for _ in range(int(rng.integers(1, 3 + int(6 * strength)))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(30, 500)
        angles = np.cumsum(rng.normal(0, 0.05, 12)) + angle
        arc = np.stack([x + np.cumsum(np.cos(angles)) * length / 12, y + np.cumsum(np.sin(angles)) * length / 12], 1)
        cv2.polylines(marks, [arc.astype(np.int32)], False, int(rng.integers(60, 255)), 1, cv2.LINE_AA)
    if rng.random() < 0.3:
        marks[:, rng.integers(width, size=int(rng.integers(1, 5)))] = int(rng.integers(60, 200))
    wear = np.clip(0.5 + 0.5 * smooth_noise(rng, (height, width), 30), 0, 1)
    paper *= 1 + rng.choice([-1, 1]) * rng.uniform(0.05, 0.25) * wear * (marks.astype(np.float32) / 255)


def add_borders(rng: np.random.Generator, paper: Floats) -> None:
    """The dark edge of a scan, or two punched holes, in place; small, so that hardly any ink is lost."""
    height, width = paper.shape
    if rng.random() < 0.5:
        side = int(rng.integers(4))
        thickness = rng.uniform(2, 14)
        view = np.rot90(paper, side)  # a view: what is multiplied below is `paper` itself
        edge = thickness + 3 * np.linspace(-1, 1, view.shape[1], dtype=np.float32) * rng.uniform(-1, 1)
        rows = np.arange(view.shape[0], dtype=np.float32)[:, None]
        view *= np.clip((rows - edge[None]) / rng.uniform(1, 6), rng.uniform(0.08, 0.4), 1)
        return
    x, top, radius = int(rng.uniform(6, 30)), int(rng.uniform(0, height * 0.6)), int(rng.uniform(5, 12))
    for y in (top, top + int(rng.uniform(80, 300))):
        cv2.circle(
            paper, (x if rng.random() < 0.9 else width - x, y), radius, float(rng.uniform(0.05, 0.5)), -1, cv2.LINE_AA
        )


def _rotated_coordinates(rng: np.random.Generator, shape: Shape, *, square: bool = False) -> tuple[Floats, Floats]:
    """Coordinates in -0.7..0.7 along and across a random direction (nearly upright or level if `square`)."""
    angle = rng.uniform(0, 2 * np.pi)
    if square:
        angle = np.pi / 2 * rng.integers(4) + rng.normal(0, 0.05)
    y = np.linspace(-0.5, 0.5, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, shape[1], dtype=np.float32)[None]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _centred_coordinates(rng: np.random.Generator, shape: Shape) -> tuple[Floats, Floats]:
    """Pixel coordinates x [1,W] and y [H,1] relative to a random point on or near the sheet."""
    y = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(rng.uniform(-0.1, 1.1) * shape[0])
    x = np.arange(shape[1], dtype=np.float32)[None] - np.float32(rng.uniform(-0.1, 1.1) * shape[1])
    return x, y


def _enlarge(small: Floats, shape: Shape) -> Floats:
    return cv2.resize(small, shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
