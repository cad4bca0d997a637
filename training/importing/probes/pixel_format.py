"""Pixel format of a foreign graph: how uint8 pixels become its tensor, and its output pixels again.

uint8 [N,H,W,C] -> / 255, - mean, / deviation -> RGB or BGR -> NCHW or NHWC -> [noise map] -> the graph's dtype

In numpy here, as a reference; training.importing.wrapping writes the same arithmetic into the graph.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.errors import ImportRefused

Array = NDArray[Any]
FLOAT = np.dtype(np.float32)
Layout = Literal["NCHW", "NHWC"]


@dataclass(frozen=True)
class Range:
    """Values of a graph's pixels: (p - mean) / deviation of p in 0..1, one number or one of each of R, G, B."""

    name: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


RANGES: dict[str, Range] = {
    "0..1": Range("0..1", (0.0,), (1.0,)),
    "-1..1": Range("-1..1", (0.5,), (0.5,)),
    "0..255": Range("0..255", (0.0,), (1 / 255,)),
    # mean and deviation of ImageNet's training images, as torchvision.transforms.Normalize is usually given them
    "imagenet": Range("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def parse_range(text: str) -> Range:
    """A name of RANGES, or MEAN/DEVIATION of pixels in 0..1, each one number or three with commas (`0.5/0.25`)."""
    if text in RANGES:
        return RANGES[text]
    try:
        mean, deviation = (tuple(float(number) for number in part.split(",")) for part in text.split("/"))
    except ValueError:
        mean = deviation = ()
    is_usable = len(mean) in (1, 3) and len(deviation) in (1, 3) and min(deviation, default=0) > 0
    if not is_usable or not np.isfinite((*mean, *deviation)).all():
        raise ImportRefused(
            f"{text} is no range; give {', '.join(RANGES)}, or MEAN/DEVIATION of pixels in 0..1, such as "
            "0.485,0.456,0.406/0.229,0.224,0.225"
        )
    return Range(text, mean, deviation)


@dataclass(frozen=True)
class PixelFormat:
    """How a graph holds pictures.

    Args:
        channels: of the picture, 1 or 3.
        noise_channels: further channels of the input, which all hold `noise_level`.
        dtype: of the graph's tensor.
    """

    layout: Layout
    channels: int
    range: Range
    is_bgr: bool = False
    noise_channels: int = 0
    noise_level: float = 0.0
    dtype: np.dtype[Any] = FLOAT

    def with_range(self, value_range: Range) -> "PixelFormat":
        return replace(self, range=value_range)

    @property
    def factors(self) -> tuple[Array, Array]:
        """`tensor = pixels * scale + shift` for uint8 pixels, each float64 [1] or [3], in the picture's order."""
        mean, deviation = np.array(self.range.mean), np.array(self.range.deviation)
        if self.channels == 1:  # of three numbers, their mean
            mean, deviation = mean.mean(keepdims=True), deviation.mean(keepdims=True)
        return 1 / (255 * deviation), -mean / deviation

    def to_tensor(self, pixels: Array) -> Array:
        """uint8 (or float, 0..255) [N,H,W,C] -> as the graph takes it."""
        scale, shift = self.factors
        tensor = pixels * scale + shift
        if self.is_bgr:
            tensor = tensor[..., ::-1]
        if self.noise_channels:
            noise = np.full((*tensor.shape[:3], self.noise_channels), self.noise_level)
            tensor = np.concatenate([tensor, noise], axis=3)
        if self.layout == "NCHW":
            tensor = tensor.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(np.rint(tensor) if self.dtype.kind in "iu" else tensor, self.dtype)

    def to_pixels(self, tensor: Array) -> NDArray[np.float64]:
        """The graph's output -> [N,H,W,C] of 0..255, neither clipped nor rounded."""
        scale, shift = self.factors
        pixels = tensor.astype(np.float64)
        if self.layout == "NCHW":
            pixels = pixels.transpose(0, 2, 3, 1)
        pixels = pixels[..., : self.channels]
        if self.is_bgr:
            pixels = pixels[..., ::-1]
        return np.asarray((pixels - shift) / scale)

    def to_differences(self, tensor: Array) -> NDArray[np.float64]:
        """The graph's output, differences of pixels -> [N,H,W,C] in grey levels."""
        scale, shift = self.factors
        return np.asarray(self.to_pixels(tensor) + shift / scale)

    def describe(self) -> str:
        colours = "grey" if self.channels == 1 else "BGR" if self.is_bgr else "RGB"
        noise = f", {self.noise_channels} more channel of {self.noise_level:g}" if self.noise_channels else ""
        return f"{self.dtype} {self.layout} {colours} in {self.range.name}{noise}"


def to_bytes(pixels: Array) -> NDArray[np.uint8]:
    """[...] of 0..255 -> uint8: rounded, then clipped; NaN is 0."""
    return np.nan_to_num(np.rint(pixels), nan=0).clip(0, 255).astype(np.uint8)
