"""Pixels as people have them, and as a model sees them: depth, alpha, colour. No codec, no model.

Picture [H,W,B] -> seen -> uint8 [n,H,W,C] -> denoise -> corrected -> [H,W,B] of the same depth
Picture [H,W,B] -> flat -> uint8 [H,W,C], for models of one size

B is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha). Models work at 8 bits. What they change is added to
the pixels that were sent, so that a pixel that a model leaves alone keeps all its 16 bits.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Array = NDArray[Any]

DEEP = 257  # one grey level of 8 bits in 16: 255 * 257 = 65535
_ROWS_OF = 1 << 20  # numbers worked on at once where a whole picture is converted


@dataclass(frozen=True)
class Notes:
    """What a file says beside its pixels, for the codec that read it: profile, EXIF, text, pixels per millimetre."""

    fields: tuple[tuple[int, str, Any], ...] = ()
    resolution: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """`pixels` uint8 or uint16 [H,W,B], upright, C order."""

    pixels: Pixels
    notes: Notes = Notes()


def colours(pixels: Pixels) -> int:
    """1 (grey) or 3 (RGB), without alpha."""
    return 1 if pixels.shape[2] < 3 else 3


def seen(pixels: Pixels, channels: int) -> NDArray[np.uint8]:
    """[H,W,B] -> uint8 [n,H,W,channels], what a model of that many channels is given.

    Alpha is left out: a model sees the colour under it. Colour through a grey model is three grey pages, n = 3:
    tinted paper becomes white and ink keeps its colour. Grey through a colour model is R = G = B.
    """
    bare = _eight_bits(pixels[:, :, : colours(pixels)])
    if bare.shape[2] == channels:
        return bare[None]
    if channels == 1:
        return np.ascontiguousarray(np.moveaxis(bare, 2, 0)[..., None])
    return np.repeat(bare, channels, axis=2)[None]


def corrected(pixels: Pixels, given: NDArray[np.uint8], denoised: NDArray[np.uint8], strength: float) -> Pixels:
    """pixels + strength * (denoised - given), of the depth of `pixels` [H,W,B]; alpha is untouched.

    At 16 bits the model's correction, of 8 bits, counts 257 fold.

    Args:
        given: what `seen` made of `pixels`, [n,H,W,C].
        denoised: what the model made of `given`, [n,H,W,C]; three channels for a grey picture are averaged.
        strength: 0 (the pixels as they are, bit for bit) to 1.
    """
    count = colours(pixels)
    output = pixels.copy()
    before, after = _merged(given, count), _merged(denoised, count)
    if pixels.dtype == np.uint8 and strength == 1:
        output[:, :, :count] = after
        return output
    scale = strength * (DEEP if pixels.dtype == np.uint16 else 1)
    correction = np.rint(scale * (after.astype(np.float64) - before))
    most = np.iinfo(pixels.dtype).max
    output[:, :, :count] = np.clip(pixels[:, :, :count] + correction, 0, most).astype(pixels.dtype)
    return output


def blended(batch: Array, output: Array, strength: float) -> Array:
    """batch + strength * (output - batch), uint8 (rounded) or float32, any shape; 0 gives `batch` bit for bit."""
    if strength == 1:
        return output
    mixed = batch + strength * (output.astype(np.float64) - batch)
    return (np.rint(mixed) if batch.dtype == np.uint8 else mixed).astype(batch.dtype)


def flat(pixels: Pixels, channels: int) -> NDArray[np.uint8]:
    """[H,W,B] -> uint8 [H,W,channels], over white where it is transparent; colours become grey by ITU-R 601 luma."""
    output = np.empty((*pixels.shape[:2], channels), np.uint8)
    rows = max(1, _ROWS_OF // (pixels.shape[1] * pixels.shape[2]))
    for top in range(0, len(pixels), rows):  # in bands of rows, so that nothing wider than a byte is ever whole
        band = _over_white(_eight_bits(pixels[top : top + rows]))
        output[top : top + rows] = _luma(band) if channels < band.shape[2] else band
    return output


def _eight_bits(pixels: Pixels) -> NDArray[np.uint8]:
    """65535 becomes 255, to the nearest; uint8 as it is."""
    if pixels.dtype == np.uint8:
        return pixels  # type: ignore[return-value]
    return ((pixels.astype(np.uint32) + DEEP // 2) // DEEP).astype(np.uint8)


def _over_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    count = colours(pixels)
    if pixels.shape[2] == count:
        return pixels
    wide = pixels.astype(np.uint32)
    alpha = wide[:, :, count:]
    return ((wide[:, :, :count] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _luma(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[H,W,3] -> [H,W,1]; the weights 0.299, 0.587, 0.114 in 65536ths."""
    weighed: NDArray[np.uint32] = pixels.astype(np.uint32) @ np.array([[19595], [38470], [7471]], np.uint32)
    return ((weighed + 32768) >> 16).astype(np.uint8)


def _merged(planes: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """[n,H,W,C] -> [H,W,count]: three grey pages are a colour picture, three colours of a grey one its mean."""
    if len(planes) == 3:
        pages: NDArray[np.uint8] = np.transpose(planes[..., 0], (1, 2, 0))
        return pages
    plane: NDArray[np.uint8] = planes[0]
    if plane.shape[2] == count:
        return plane
    total: NDArray[np.uint16] = plane.sum(axis=2, keepdims=True, dtype=np.uint16)
    return ((total + 1) // 3).astype(np.uint8)
