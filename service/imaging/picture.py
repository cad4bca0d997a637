"""Pictures and what a model takes of them: bit depth, alpha, colour channels. No file format, no model.

Picture [H,W,B] -> to_model_input -> [n,H,W,C] -> a denoiser -> apply_correction -> [H,W,B] of the same depth
Picture [H,W,B] -> flatten_to_uint8 -> uint8 [H,W,C], for models of one size

B is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha). Models work at 8 bits, 255 is white; denoisers that were
trained on pictures of 16 bits work at these. A denoiser's change is
added to the original pixels, so a pixel that the model leaves alone keeps all its bits. What is white in a picture of
more than 8 bits is found first (service.imaging.value_range).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.imaging.value_range import find_white, largest_white

Pixels = NDArray[Any]  # uint8, uint16; of TIFFs and arrays also int16, uint32, int32, float32, float64
Array = NDArray[Any]

MAX_PIXELS = 120_000_000  # of one picture, unless a setting says otherwise
_BAND_NUMBERS = 1 << 20  # numbers converted at once, of a picture that may be much larger


@dataclass(frozen=True)
class Metadata:
    """What a file holds beside its pixels, for the codec that read it.

    Args:
        fields: type, name and value of each, as libvips has them: colour profile, EXIF, text.
        resolution: pixels per millimetre, horizontal and vertical; None: not known.
        colour: chunks of a PNG, or their like, that say what the pixels' numbers mean (codecs.image_formats.colour).
        bits: significant bits of a channel, in 8 or in 16; None: all of them.
        lossless_media_type: of the file, if it was written without loss though its format also has loss.
        max_sample: the largest value that a pixel may have, as the file says.
        tags: entries of a TIFF's directory, by number (service.codecs.image_formats.tiff_tags); None: of other formats.
        dropped: names of what the file held and a new file will not.
    """

    fields: tuple[tuple[int, str, Any], ...] = ()
    resolution: tuple[float, float] | None = None
    colour: Mapping[str, bytes] = field(default_factory=dict)
    bits: int | None = None
    lossless_media_type: str | None = None
    max_sample: int | None = None
    tags: Mapping[int, Any] | None = None
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Picture:
    """`pixels` [H,W,B], upright, C order; `white` is the value of white in them, None: the type's largest."""

    pixels: Pixels
    metadata: Metadata = Metadata()
    white: float | None = None


def with_white(pictures: Sequence[Picture], label: str, white: float | None = None) -> list[Picture]:
    """The pages of one file with `white`, or with the white that is found for all pages of one type.

    Raises:
        InvalidInput: black or white is not known; the sentence names the file by `label` (422).
    """
    if white is not None:
        return [replace(picture, white=white) for picture in pictures]
    if all(picture.white is None and picture.pixels.dtype == np.uint8 for picture in pictures):
        return list(pictures)
    groups: dict[Any, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.pixels.dtype, []).append(picture)
    whites: dict[Any, float] = {}
    for dtype, group in groups.items():
        if dtype != np.uint8:
            limits = [picture.metadata.max_sample for picture in group if picture.metadata.max_sample is not None]
            colours = [picture.pixels[:, :, : count_colours(picture.pixels)] for picture in group]
            whites[dtype] = find_white(colours, label, max(limits, default=None))
    return [replace(picture, white=whites.get(picture.pixels.dtype)) for picture in pictures]


def count_colours(pixels: Pixels) -> int:
    """Channels without alpha: 1 (grey) or 3 (RGB)."""
    return 1 if pixels.shape[2] < 3 else 3


def to_model_input(pixels: Pixels, channels: int, white: float | None = None, dtype: str = "uint8") -> Pixels:
    """[H,W,B] -> `dtype` [n,H,W,channels], the planes that a model of that many channels takes.

    `white` becomes the largest number of `dtype`, "uint8" or "uint16". Alpha is left out: the model takes the colour
    under it. Colour for a grey model becomes three grey planes, n = 3: tinted paper becomes white and ink keeps its
    colour. Grey for a colour model becomes R = G = B.
    """
    convert = to_16_bits if dtype == "uint16" else to_8_bits
    colours: Pixels = convert(pixels[:, :, : count_colours(pixels)], white)
    if colours.shape[2] == channels:
        return colours[None]
    if channels == 1:
        return np.ascontiguousarray(np.moveaxis(colours, 2, 0)[..., None])
    return np.broadcast_to(colours, (*colours.shape[:2], channels))[None]


def apply_correction(
    pixels: Pixels,
    model_input: Pixels,
    denoised: Pixels,
    strength: float,
    white: float | None = None,
) -> Pixels:
    """pixels + strength * (denoised - model_input), of the type of `pixels` [H,W,B]; alpha is untouched.

    The model's correction, of 8 or 16 bits, is multiplied by `white` / 255 or / 65535. No pixel leaves 0..`white` that
    is not outside.

    Args:
        model_input: `to_model_input(pixels, C, white, dtype)`, [n,H,W,C].
        denoised: the model's output for it, [n,H,W,C]; three channels for a grey picture are averaged.
        strength: 0 (the pixels as they are, bit for bit) to 1.
    """
    count = count_colours(pixels)
    target = _merge_planes(denoised, count)
    if pixels.dtype == denoised.dtype == np.uint8 and strength == 1 and white in (None, 255):
        return target if pixels.shape[2] == count else np.concatenate([target, pixels[:, :, count:]], axis=2)
    output, original = pixels.copy(), _merge_planes(model_input, count)
    white = largest_white(pixels.dtype) if white is None else white
    correction = strength * white / largest_white(denoised.dtype) * (target.astype(np.float64) - original)
    colours = pixels[:, :, :count]
    if pixels.dtype.kind != "f":
        correction = np.rint(correction)
    corrected = np.clip(colours + correction, np.minimum(colours, 0), np.maximum(colours, white))
    output[:, :, :count] = corrected.astype(pixels.dtype)
    return output


def blend(batch: Array, output: Array, strength: float) -> Array:
    """batch + strength * (output - batch), uint8 (rounded) or float32, any shape; 0 gives `batch` bit for bit."""
    if strength == 1:
        return output
    mixture = batch + strength * (output.astype(np.float64) - batch)
    return (np.rint(mixture) if batch.dtype.kind == "u" else mixture).astype(batch.dtype)


def flatten_to_uint8(pixels: Pixels, channels: int, white: float | None = None) -> NDArray[np.uint8]:
    """[H,W,B] -> uint8 [H,W,channels], over white where it is transparent; colours become grey by ITU-R 601 luma."""
    output = np.empty((*pixels.shape[:2], channels), np.uint8)
    rows = max(1, _BAND_NUMBERS // (pixels.shape[1] * pixels.shape[2]))
    for top in range(0, len(pixels), rows):  # in bands of rows: only a band is ever held in more than 8 bits
        band = _over_white(to_8_bits(pixels[top : top + rows], white))
        output[top : top + rows] = _to_luma(band) if channels < band.shape[2] else band
    return output


def to_8_bits(pixels: Pixels, white: float | None = None) -> NDArray[np.uint8]:
    """[H,W,B]: `white` becomes 255, and alpha's largest value too, to the nearest; what is outside is black or white.

    uint8 stays as it is, unless another white is given.
    """
    if pixels.dtype == np.uint8 and white in (None, 255):
        return pixels
    full = largest_white(pixels.dtype)
    factors = np.full(pixels.shape[2], 255 / (full if white is None else white), np.float32)
    if pixels.shape[2] in (2, 4):
        factors[-1] = 255 / full
    scaled = np.multiply(pixels, factors, dtype=np.float32)
    eight: NDArray[np.uint8] = np.rint(np.nan_to_num(scaled, copy=False, nan=0).clip(0, 255)).astype(np.uint8)
    return eight


def to_16_bits(pixels: Pixels, white: float | None = None) -> NDArray[np.uint16]:
    """[H,W,B]: `white` becomes 65535, and alpha's largest value too, to the nearest; the outside is black or white."""
    full = largest_white(pixels.dtype)
    factors = np.full(pixels.shape[2], 65535 / (full if white is None else white))
    if pixels.shape[2] in (2, 4):
        factors[-1] = 65535 / full
    scaled = np.nan_to_num(pixels * factors, copy=False, nan=0)
    sixteen: NDArray[np.uint16] = np.rint(scaled.clip(0, 65535)).astype(np.uint16)
    return sixteen


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


def _merge_planes(planes: Pixels, count: int) -> Pixels:
    """[n,H,W,C] -> [H,W,count]: three grey planes are a colour picture, three colours of a grey one its mean."""
    if len(planes) == 3:
        return np.asarray(np.transpose(planes[..., 0], (1, 2, 0)))
    plane: Pixels = planes[0]
    if plane.shape[2] == count:
        return plane
    if not plane.strides[2]:  # repeated by to_model_input
        return plane[:, :, :1]
    total: NDArray[np.integer[Any]] = plane[:, :, 0].astype(np.uint16 if plane.dtype == np.uint8 else np.uint32)
    np.add(total, plane[:, :, 1], out=total)  # a sum over an axis of three numbers takes ten times as long
    np.add(total, plane[:, :, 2], out=total)
    np.add(total, 1, out=total)
    return np.asarray((total // 3).astype(plane.dtype))[..., None]
