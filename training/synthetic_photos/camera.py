"""Noise as cameras make it: a clean picture is photographed twice, once without noise.

clean sRGB -> [softer] -> tone curve undone, linear light -> colours of the sensor -> shot and read noise
  -> Bayer mosaic -> demosaicing -> white balance, colour matrix -> tone curve
  -> [film grain, colour blotches, the camera's smoothing and sharpening, in any order]
  -> [JPEG] -> resized -> [JPEG] -> (clean, noisy)

Each step in brackets is drawn at random, and so are the parameters of all. Sources: unprocessing, gains and the colour
matrix: Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019; noise that grows with the light:
Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting", IEEE TIP 17, 2008; steps in random order,
resizing and two compressions: Zhang et al., BSRGAN, ICCV 2021, and SCUNet, arXiv:2203.13278.

Both pictures go through the same steps, so a denoiser has nothing to undo but noise and compression. Where steps that
are not linear shift the mean of the noisy picture, the clean one is shifted alike: the target is the mean of what the
camera would give.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthetic_photos import jpeg

Image = NDArray[np.uint8]  # [H,W,3]
Floats = NDArray[Any]  # float32, in 0..1
Pair = Floats  # [2,H,W,3]: the picture without noise and with it
Step = Callable[[Pair], Pair]

MIDDLE_GREY = 0.18  # of white, in linear light
FAINTEST, STRONGEST = 0.015, 0.4  # standard deviation of the sensor's noise at middle grey, of middle grey
GRAIN = (0.006, 0.08)  # of white: standard deviation of film grain in the middle tones, at level 0 and 1
BLOTCHES = (0.004, 0.05)  # of white: the same of blotches of colour
GAMMA = 2.2
PEDESTAL, WHITE = 8192, 48_000  # of 65,535: how a mosaic is stored, so that noise may fall below black
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def corrupt(clean: Image, level: float, rng: np.random.Generator) -> tuple[Image, Image]:
    """uint8 [P,P,3] -> (clean, noisy), both uint8 [P,P,3] and processed alike.

    Args:
        clean: a square picture without visible noise.
        level: 0 (hardly visible noise) to 1 (strong noise), on a logarithmic scale.
        rng: the only source of randomness.
    """
    size = len(clean)
    scale = _draw_scale(rng)
    side = 2 * round(size / scale / 2)  # of the sensor, pixels
    tone = rng.uniform(0, 1)
    pair = _expose(_content(clean, side, scale, rng), level, tone, rng)
    steps: list[Step] = []
    if rng.random() < 0.2:
        steps.append(_grain(pair, level, rng))
    if rng.random() < 0.35:
        steps.append(_blotches(pair, level, rng))
    if rng.random() < 0.35 + 0.4 * level:
        steps.append(_smooth(rng))
    if rng.random() < 0.5:
        steps.append(_sharpen(rng))
    for index in rng.permutation(len(steps)):
        pair = steps[index](pair)
    pair = pair.clip(0, 1)
    if rng.random() < 0.6:
        pair[1] = _compressed(pair[1], int(rng.integers(70, 99)), rng)
    pair = _resize(pair, size, rng)
    target = _with_mean_of(pair)
    noisy = _compressed(pair[1], int(rng.integers(45, 99)), rng) if rng.random() < 0.5 else pair[1]
    return _as_file(target), _as_file(noisy)


# --- from a picture to a sensor and back -----------------------------------------------------------------


def _draw_scale(rng: np.random.Generator) -> float:
    """How much larger the picture is than what the sensor saw: 1 mostly; 1 to 4 makes grain of so many pixels."""
    draw = rng.random()
    if draw < 0.55:
        return 1.0
    return float(rng.uniform(0.65, 1)) if draw < 0.68 else float(1 + 3 * rng.random() ** 2)


def _content(clean: Image, side: int, scale: float, rng: np.random.Generator) -> Image:
    """What the lens draws on a sensor of `side` pixels: a part of `clean`, often softer than the picture was."""
    softness = float(rng.uniform(1, 2.2)) if rng.random() < 0.6 else 1.0
    length = max(side, round(len(clean) * softness / scale))
    if length != len(clean):
        smaller = length < len(clean)
        method = cv2.INTER_AREA if smaller else rng.choice([cv2.INTER_CUBIC, cv2.INTER_LINEAR])
        clean = np.asarray(cv2.resize(clean, (length, length), interpolation=int(method)), np.uint8)
    if softness == 1:
        clean = np.asarray(cv2.GaussianBlur(clean, (0, 0), float(rng.uniform(0.3, 0.7))), np.uint8)  # lens and filter
    top, left = rng.integers(0, length - side + 1, 2)
    return clean[top : top + side, left : left + side]


def _expose(scene: Image, level: float, tone: float, rng: np.random.Generator) -> Pair:
    """uint8 [S,S,3] -> pair [2,S,S,3]: through a sensor and the development of its picture."""
    gains = np.array([rng.uniform(1.2, 2.6), 1, rng.uniform(1.2, 2.4)], np.float32)
    matrix = _draw_colour_matrix(rng)
    light = _linear_light(tone)[scene]  # [S,S,3]
    raw = _mix(light, np.linalg.inv(matrix)).clip(0, 1) / gains
    pair: Pair = np.stack([raw, raw])
    has_mosaic = rng.random() < 0.8
    noise = rng.standard_normal(raw.shape[:2] if has_mosaic else raw.shape, np.float32)
    if has_mosaic:
        pattern = int(rng.integers(4))
        cells = _cells(raw, pattern)
        pair = np.stack([_demosaic(cells, pattern), _demosaic(cells + noise * _deviation(cells, level, rng), pattern)])
    else:
        pair[1] += noise * _deviation(raw, level, rng)
    pair = (pair * gains).clip(None, 1)
    if rng.random() < 0.7:
        pair = pair.clip(0, None)  # black is cut off before the colours are mixed
    return _develop(pair, matrix, tone)


def _linear_light(tone: float) -> Floats:
    """Of each of the 256 values of sRGB the linear light, 0..1, below a tone curve of strength `tone`."""
    grid = np.linspace(0, 1, 1024, dtype=np.float32)
    curved = np.interp(np.linspace(0, 1, 256), _tone_curve(grid, tone), grid)
    return np.asarray(curved**GAMMA, np.float32)


def _develop(pair: Pair, matrix: Floats, tone: float) -> Pair:
    """Linear light in the sensor's colours -> sRGB behind the tone curve."""
    light = np.stack([_mix(picture, matrix) for picture in pair]).clip(0, 1)
    return _tone_curve(np.power(light, np.float32(1 / GAMMA)), tone)


def _mix(picture: Floats, matrix: Floats) -> Floats:
    """[H,W,3], each pixel multiplied by a matrix [3,3]."""
    return np.asarray(cv2.transform(picture, matrix), np.float32)


def _tone_curve(x: Floats, strength: float) -> Floats:
    """A part of smoothstep, 3x^2 - 2x^3 (Brooks et al., section 3.1)."""
    k = np.float32(strength)
    return np.asarray(x * ((1 - k) + x * (3 * k - 2 * k * x)))


def _draw_colour_matrix(rng: np.random.Generator) -> Floats:
    """From the sensor's colours to sRGB, float32 [3,3]: rows add up to 1, so grey stays grey."""
    strength, share = rng.uniform(0.1, 0.8, 3), rng.uniform(0.2, 0.8, 3)
    matrix = np.diag(1 + strength)
    for row in range(3):
        first, second = (column for column in range(3) if column != row)
        matrix[row, first] = -strength[row] * share[row]
        matrix[row, second] = -strength[row] * (1 - share[row])
    return matrix.astype(np.float32)


def _deviation(raw: Floats, level: float, rng: np.random.Generator) -> Floats:
    """Standard deviation of the noise of each value: shot noise, which grows with the light, and read noise."""
    variance = (MIDDLE_GREY * FAINTEST * (STRONGEST / FAINTEST) ** level) ** 2  # at middle grey
    read = 0.5 * rng.random() ** 2
    deviation = np.sqrt(variance * ((1 - read) * raw / MIDDLE_GREY + read))
    if rng.random() < 0.25:  # brightened corners and shadows
        corners = rng.uniform(0.5, 1.8, (2, 2)).astype(np.float32)
        gain = np.asarray(cv2.resize(corners, raw.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)
        deviation = deviation * (gain if raw.ndim == 2 else gain[..., None])
    return np.asarray(deviation, np.float32)


def _cells(raw: Floats, pattern: int) -> Floats:
    """[S,S,3] -> [S,S]: the one colour that each cell of a Bayer mosaic sees; `pattern` 0 to 3 shifts it."""
    top, left = pattern // 2, pattern % 2
    cells = raw[..., 1].copy()
    cells[top::2, left::2] = raw[top::2, left::2, 0]
    cells[1 - top :: 2, 1 - left :: 2] = raw[1 - top :: 2, 1 - left :: 2, 2]
    return cells


_DEMOSAIC = (
    cv2.COLOR_BayerRGGB2RGB_EA,
    cv2.COLOR_BayerGRBG2RGB_EA,
    cv2.COLOR_BayerGBRG2RGB_EA,
    cv2.COLOR_BayerBGGR2RGB_EA,
)


def _demosaic(cells: Floats, pattern: int) -> Floats:
    """[S,S] -> [S,S,3], edge-aware."""
    stored = np.rint(cells * WHITE + PEDESTAL).clip(0, 65_535).astype(np.uint16)
    colours = cv2.demosaicing(stored, _DEMOSAIC[pattern])
    return np.asarray((colours.astype(np.float32) - PEDESTAL) / WHITE, np.float32)


# --- what happens to the developed picture ---------------------------------------------------------------


def _grain(pair: Pair, level: float, rng: np.random.Generator) -> Step:
    """Film grain: correlated over 1 to 4 pixels, partly common to the colours, strongest in the middle tones."""
    noise = _blurred(rng.standard_normal(pair.shape[1:], np.float32), rng.uniform(0.3, 1.6))
    noise += rng.uniform(0, 3) * noise.mean(-1, keepdims=True)
    amplitude = GRAIN[0] * (GRAIN[1] / GRAIN[0]) ** level / max(float(noise.std()), 1e-6)

    def add(pictures: Pair) -> Pair:
        tones = pictures[0] @ _LUMA
        pictures[1] += amplitude * noise * (0.3 + 2.8 * tones * (1 - tones))[..., None].clip(0, None)
        return pictures

    return add


def _blotches(pair: Pair, level: float, rng: np.random.Generator) -> Step:
    """Blotches of colour, 2 to 12 pixels wide, that leave the luma alone; stronger in the dark."""
    side = pair.shape[1]
    coarse = max(2, round(side / rng.uniform(2, 12)))
    noise = rng.standard_normal((coarse, coarse, 3), np.float32)
    noise = np.asarray(cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
    noise -= (noise @ _LUMA)[..., None]
    amplitude = BLOTCHES[0] * (BLOTCHES[1] / BLOTCHES[0]) ** level / max(float(noise.std()), 1e-6)

    def add(pictures: Pair) -> Pair:
        pictures[1] += amplitude * noise * (1.3 - (pictures[0] @ _LUMA))[..., None]
        return pictures

    return add


def _smooth(rng: np.random.Generator) -> Step:
    """The camera's own denoising, never complete: of the colours alone, or edge-preserving, or both in part."""
    kind, strength = rng.integers(3), rng.uniform(0.3, 0.95)
    deviation, blur = float(rng.uniform(1, 3)), float(rng.uniform(0.8, 3))

    def smooth_colours(picture: Floats) -> Floats:
        luma = (picture @ _LUMA)[..., None]
        colours = picture - luma
        return np.asarray(picture + np.float32(strength) * (_blurred(colours, blur) - colours))

    def smooth_edges(picture: Floats, noise: float) -> Floats:
        smoothed = cv2.bilateralFilter(picture, 5, max(0.01, deviation * noise), blur)
        return np.asarray(picture + np.float32(strength) * (smoothed - picture))

    def smooth(pictures: Pair) -> Pair:
        noise = float((pictures[1] - pictures[0]).std())
        if kind != 1:
            pictures = np.stack([smooth_colours(picture) for picture in pictures])
        if kind != 0:
            pictures = np.stack([smooth_edges(np.ascontiguousarray(picture), noise) for picture in pictures])
        return pictures

    return smooth


def _sharpen(rng: np.random.Generator) -> Step:
    """Unsharp masking."""
    amount, radius = np.float32(rng.uniform(0.2, 1.2)), float(rng.uniform(0.6, 1.5))

    def sharpen(pictures: Pair) -> Pair:
        return np.stack([picture + amount * (picture - _blurred(picture, radius)) for picture in pictures])

    return sharpen


def _blurred(picture: Floats, radius: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), float(radius)), np.float32)


# --- files -----------------------------------------------------------------------------------------------


def _resize(pair: Pair, size: int, rng: np.random.Generator) -> Pair:
    if pair.shape[1] == size:
        return pair
    methods = [cv2.INTER_AREA, cv2.INTER_CUBIC] if pair.shape[1] > size else [cv2.INTER_LINEAR, cv2.INTER_CUBIC]
    method = int(rng.choice([*methods, cv2.INTER_LANCZOS4]))
    return np.stack([cv2.resize(picture, (size, size), interpolation=method) for picture in pair]).clip(0, 1)


def _with_mean_of(pair: Pair) -> Floats:
    """The picture without noise, with the mean of the noisy one at each brightness: a parabola for each channel."""
    clean, noisy = pair[0], pair[1]
    for channel in range(3):
        x, y = (picture[::2, ::2, channel].ravel() for picture in (clean, noisy))
        basis = np.stack([np.ones_like(x), x, x * x])
        ridge = np.diag(np.array([0, 1e-3, 1e-3], np.float32)) * x.size  # for pictures of one brightness
        a, b, c = np.linalg.solve(basis @ basis.T + ridge, basis @ (y - x))
        x = clean[..., channel]
        clean[..., channel] = x + (a + x * (b + c * x))
    return np.asarray(clean)


def _compressed(picture: Floats, quality: int, rng: np.random.Generator) -> Floats:
    file = jpeg.compress(_as_file(picture), quality, subsampled=rng.random() < jpeg.SUBSAMPLED_SHARE)
    return np.asarray(file / np.float32(255), np.float32)


def _as_file(picture: Floats) -> Image:
    return np.asarray(np.rint(picture.clip(0, 1) * 255), np.uint8)
