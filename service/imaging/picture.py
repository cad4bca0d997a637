"""Pictures and what a model takes of them: bit depth, alpha, colour channels. No file format, no model.

Picture [H,W,B] -> to_model_input -> uint8 [n,H,W,C] -> a denoiser -> apply_correction -> [H,W,B] of the same depth
Picture [H,W,B] -> flatten_to_uint8 -> uint8 [H,W,C], for models of one size

B is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha). Models work at 8 bits. A denoiser's change is added to the
original pixels, so a pixel that the model leaves alone keeps all its 16 bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Array = NDArray[Any]

MAX_PIXELS = 120_000_000  # of one picture, unless a setting says otherwise
SCALE_8_TO_16 = 257  # one grey level of 8 bits in 16: 255 * 257 = 65535
_BAND_NUMBERS = 1 << 20  # numbers converted at once, of a picture that may be much larger


@dataclass(frozen=True)
class Metadata:
    """What a file holds beside its pixels, for the codec that read it.

    Args:
        fields: type, name and value of each, as libvips has them: colour profile, EXIF, text.
        resolution: pixels per millimetre, horizontal and vertical; None: not known.
        colour: chunks of a PNG, or their like, that say what the pixels' numbers mean (service.codecs.colour).
        bits: significant bits of a channel, in 8 or in 16; None: all of them.
        lossless_media_type: of the file, if it was written without loss though its format also has loss.
        dropped: names of what the file held and a new file will not.
    """

    fields: tuple[tuple[int, str, Any], ...] = ()
    resolution: tuple[float, float] | None = None
    colour: Mapping[str, bytes] = field(default_factory=dict)
    bits: int | None = None
    lossless_media_type: str | None = None
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Picture:
    """`pixels` uint8 or uint16 [H,W,B], upright, C order."""

    pixels: Pixels
    metadata: Metadata = Metadata()


def count_colours(pixels: Pixels) -> int:
    """Channels without alpha: 1 (grey) or 3 (RGB)."""
    return 1 if pixels.shape[2] < 3 else 3


def to_model_input(pixels: Pixels, channels: int) -> NDArray[np.uint8]:
    """[H,W,B] -> uint8 [n,H,W,channels], the planes that a model of that many channels takes.

    Alpha is left out: the model takes the colour under it. Colour for a grey model becomes three grey planes, n = 3:
    tinted paper becomes white and ink keeps its colour. Grey for a colour model becomes R = G = B.
    """
    colours = _to_8_bits(pixels[:, :, : count_colours(pixels)])
    if colours.shape[2] == channels:
        return colours[None]
    if channels == 1:
        return np.ascontiguousarray(np.moveaxis(colours, 2, 0)[..., None])
    return np.repeat(colours, channels, axis=2)[None]


def apply_correction(
    pixels: Pixels, model_input: NDArray[np.uint8], denoised: NDArray[np.uint8], strength: float
) -> Pixels:
    """pixels + strength * (denoised - model_input), of the depth of `pixels` [H,W,B]; alpha is untouched.

    At 16 bits the model's correction, of 8 bits, is multiplied by SCALE_8_TO_16.

    Args:
        model_input: `to_model_input(pixels, C)`, [n,H,W,C].
        denoised: the model's output for it, [n,H,W,C]; three channels for a grey picture are averaged.
        strength: 0 (the pixels as they are, bit for bit) to 1.
    """
    count = count_colours(pixels)
    output = pixels.copy()
    original, target = _merge_planes(model_input, count), _merge_planes(denoised, count)
    if pixels.dtype == np.uint8 and strength == 1:
        output[:, :, :count] = target
        return output
    scale = strength * (SCALE_8_TO_16 if pixels.dtype == np.uint16 else 1)
    correction = np.rint(scale * (target.astype(np.float64) - original))
    white = np.iinfo(pixels.dtype).max
    output[:, :, :count] = np.clip(pixels[:, :, :count] + correction, 0, white).astype(pixels.dtype)
    return output


def blend(batch: Array, output: Array, strength: float) -> Array:
    """batch + strength * (output - batch), uint8 (rounded) or float32, any shape; 0 gives `batch` bit for bit."""
    if strength == 1:
        return output
    mixture = batch + strength * (output.astype(np.float64) - batch)
    return (np.rint(mixture) if batch.dtype == np.uint8 else mixture).astype(batch.dtype)


def flatten_to_uint8(pixels: Pixels, channels: int) -> NDArray[np.uint8]:
    """[H,W,B] -> uint8 [H,W,channels], over white where it is transparent; colours become grey by ITU-R 601 luma."""
    output = np.empty((*pixels.shape[:2], channels), np.uint8)
    rows = max(1, _BAND_NUMBERS // (pixels.shape[1] * pixels.shape[2]))
    for top in range(0, len(pixels), rows):  # in bands of rows: only a band is ever held in more than 8 bits
        band = _over_white(_to_8_bits(pixels[top : top + rows]))
        output[top : top + rows] = _to_luma(band) if channels < band.shape[2] else band
    return output


def _to_8_bits(pixels: Pixels) -> NDArray[np.uint8]:
    """65535 becomes 255, to the nearest; uint8 as it is."""
    if pixels.dtype == np.uint8:
        return pixels  # type: ignore[return-value]
    return ((pixels.astype(np.uint32) + SCALE_8_TO_16 // 2) // SCALE_8_TO_16).astype(np.uint8)


def _over_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[H,W,B] -> [H,W,1 or 3], without alpha."""
    count = count_colours(pixels)
    if pixels.shape[2] == count:
        return pixels
    numbers = pixels.astype(np.uint32)
    alpha = numbers[:, :, count:]
    return ((numbers[:, :, :count] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _to_luma(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[H,W,3] -> [H,W,1]; the weights 0.299, 0.587, 0.114 in 65536ths."""
    luma: NDArray[np.uint32] = pixels.astype(np.uint32) @ np.array([[19595], [38470], [7471]], np.uint32)
    return ((luma + 32768) >> 16).astype(np.uint8)


def _merge_planes(planes: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """[n,H,W,C] -> [H,W,count]: three grey planes are a colour picture, three colours of a grey one its mean."""
    if len(planes) == 3:
        channels: NDArray[np.uint8] = np.transpose(planes[..., 0], (1, 2, 0))
        return channels
    plane: NDArray[np.uint8] = planes[0]
    if plane.shape[2] == count:
        return plane
    total: NDArray[np.uint16] = plane.sum(axis=2, keepdims=True, dtype=np.uint16)
    return ((total + 1) // 3).astype(np.uint8)
