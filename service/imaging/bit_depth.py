"""Fewer bits than eight: black and white, or 16 grey levels, for pages that need no more.

Picture [H,W,B] -> reduce_bits -> Picture of the values that so many bits can have, still stored as uint8

A page of 1 bit comes back in 1 bit if hardly a grey is left; greys at the edges of letters do not count, areas do.
"""

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.imaging.picture import Picture, flatten_to_uint8, to_8_bits

Bits = Literal[1, 4, 8]

_GREY = (32, 223)  # from, to
_RADIUS = 2  # pixels; at an edge fewer than twice as many are grey
_MAX_GREY_SHARE = 1e-3  # of the pixels
_MIN_CONTRAST = 32  # grey levels between ink and paper; a page with less is blank


def reduce_bits(picture: Picture, bits: Bits | None) -> Picture:
    """The picture with `bits` of a channel, or with those of the file that it comes from, if they are 1, 2 or 4.

    Args:
        bits: 1 is black and white by Otsu's threshold, of colours by their luma; 4 is 16 levels, of grey pictures
            only; 8 is whatever has more. None: grey pictures of 1 bit are cut at half of white, or have 16 levels where
            areas of grey are left; those of 2 and 4 bits have as many levels as before.
    """
    pixels, metadata = picture.pixels, picture.metadata
    if bits is None:
        if metadata.bits not in (1, 2, 4) or pixels.shape[2] != 1 or pixels.dtype != np.uint8:
            return picture
        kept_bits = 4 if metadata.bits == 1 and has_grey_areas(pixels) else metadata.bits
        return _with_pixels(picture, _quantize(pixels, kept_bits), kept_bits)
    if bits == 1:
        return _with_pixels(picture, _binarize(flatten_to_uint8(pixels, 1, picture.white)), 1)
    eight = to_8_bits(pixels, picture.white)
    if bits == 4 and eight.shape[2] == 1:
        return _with_pixels(picture, _quantize(eight, 4), 4)
    return _with_pixels(picture, eight, None)


def has_grey_areas(pixels: NDArray[np.uint8]) -> bool:
    """Whether grey is more than the edges of black and white, in [H,W,1]."""
    grey = (pixels[:, :, 0] >= _GREY[0]) & (pixels[:, :, 0] <= _GREY[1])
    for axis in (0, 1):
        size = grey.shape[axis] - 2 * _RADIUS
        if size < 1:
            return False
        shifts = [np.take(grey, range(shift, shift + size), axis) for shift in range(2 * _RADIUS + 1)]
        grey = np.logical_and.reduce(shifts)
    return bool(np.count_nonzero(grey) > _MAX_GREY_SHARE * pixels.size)


def fits(pixels: NDArray[np.uint8], bits: int) -> bool:
    """Whether all values are among those of so many bits: 0, 255 and the levels between them."""
    return bool((pixels % (255 // (2**bits - 1)) == 0).all())


def _with_pixels(picture: Picture, pixels: NDArray[np.uint8], bits: int | None) -> Picture:
    return replace(picture, pixels=pixels, metadata=replace(picture.metadata, bits=bits), white=None)


def _quantize(pixels: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """To the nearest of the levels of so many bits."""
    step = 255 // (2**bits - 1)
    table = (np.arange(256) + step // 2) // step * step
    quantized: NDArray[np.uint8] = table.astype(np.uint8)[pixels]
    return quantized


def _binarize(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[H,W,1] -> 0 and 255, by the threshold with the largest variance between its classes (Otsu, IEEE SMC 9, 1979)."""
    counts = np.bincount(pixels.ravel(), minlength=256).astype(np.float64)
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * np.arange(256))
    mean_below, mean_above = sums / np.maximum(below, 1), (sums[-1] - sums) / np.maximum(above, 1)
    threshold = int(np.argmax(below * above * (mean_above - mean_below) ** 2))
    if mean_above[threshold] - mean_below[threshold] < _MIN_CONTRAST:
        threshold = -1 if sums[-1] >= 127.5 * below[-1] else 255
    binary: NDArray[np.uint8] = np.where(pixels > threshold, 255, 0).astype(np.uint8)
    return binary
