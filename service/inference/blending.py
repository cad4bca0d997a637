"""Blending of what was computed: the result of any strength, from pictures and their results, without a model.

original, denoised [, denoised twice] -> blend_pictures -> as denoise?strength= answers, to a level of 8 bits
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from service.errors import InvalidInput
from service.imaging.bit_depth import reduce_bits
from service.imaging.picture import Picture, Pixels

_BAND_NUMBERS = 1 << 20  # blended at once


def blend_pictures(
    original: Sequence[Picture], denoised: Sequence[Picture], twice: Sequence[Picture] | None, strength: float
) -> list[Picture]:
    """The pages of a file at a strength of 0 to 2, with the metadata and the depth of the original.

    Args:
        original, denoised, twice: the pages at strength 0, 1 and 2; the last is needed above 1 only.
    Raises:
        InvalidInput: the pages differ in number, size, channels or depth, or `twice` is missing (422).
    """
    if strength > 1 and twice is None:
        raise InvalidInput("a strength above 1 needs the result of strength 2 too, in the field 'denoised_twice'")
    low, high, share = (denoised, twice, strength - 1) if strength > 1 and twice else (original, denoised, strength)
    if not len(original) == len(low) == len(high):
        raise InvalidInput(f"the original has {len(original)} pages, its result has {len(high)}")
    pages = []
    for number, (page, first, second) in enumerate(zip(original, low, high, strict=True), 1):
        pixels = _match(page.pixels, first.pixels, number), _match(page.pixels, second.pixels, number)
        pages.append(reduce_bits(replace(page, pixels=_blend(*pixels, share)), None))
    return pages


def _match(original: Pixels, pixels: Pixels, number: int) -> Pixels:
    """`pixels` with the channels of the original; a grey result of a picture in colours has them equal."""
    if pixels.shape[:2] != original.shape[:2] or pixels.dtype != original.dtype:
        raise InvalidInput(
            f"page {number} of the original is {_describe(original)}, that of its result {_describe(pixels)}; send "
            "the file that denoise has answered for this original"
        )
    if pixels.shape[2] == original.shape[2]:
        return pixels
    if pixels.shape[2] == 1 and original.shape[2] == 3:
        return np.repeat(pixels, 3, axis=2)
    raise InvalidInput(f"page {number} has {original.shape[2]} channels, its result {pixels.shape[2]}")


def _describe(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]} in {pixels.dtype}"


def _blend(low: Pixels, high: Pixels, share: float) -> Pixels:
    """low + share * (high - low), of their type; 0 and 1 give one of them bit for bit."""
    if share in (0, 1):
        return high if share else low
    output = np.empty_like(low)
    rows = max(1, _BAND_NUMBERS // max(1, low[0].size))
    for top in range(0, len(low), rows):
        first, second = low[top : top + rows], high[top : top + rows]
        correction = share * (second.astype(np.float64) - first)
        output[top : top + rows] = first + (correction if low.dtype.kind == "f" else np.rint(correction))
    return output
