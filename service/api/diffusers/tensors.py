"""Tensors of the remote protocol of diffusers: raw bytes, little-endian, row-major.

bytes, shape, dtype -> read -> float32        uint8 [N,H,W,C] <-> float [N,C,H,W] in -1..1        packed -> [N,C,h,w]
"""

import math
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from service.codecs.buffers import join_in_slices
from service.errors import InvalidInput, MalformedBody

Array = NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
}
MARGIN = 0.02  # beyond -1..1: bfloat16 has steps of 1/128 there


def read(body: bytes, shape: tuple[int, ...], dtype: str) -> NDArray[np.float32]:
    """The tensor; raises MalformedBody (400) if the body has another length."""
    size = math.prod(shape) * DTYPES[dtype].itemsize
    if len(body) != size:
        raise MalformedBody(f"shape {list(shape)} of {dtype} is {size} bytes; {len(body)} came")
    return np.frombuffer(body, DTYPES[dtype]).reshape(shape).astype(np.float32)


def write(array: Array, dtype: str) -> bytes:
    """The array's bytes in `dtype`, or as they are if it is uint8."""
    if array.dtype != np.uint8:
        with np.errstate(over="ignore"):  # beyond float16 they are infinite, as in torch
            array = array.astype(DTYPES[dtype], copy=False)
    return join_in_slices((np.ascontiguousarray(array).reshape(-1).view(np.uint8).data,))


def to_pixels(tensor: NDArray[np.float32]) -> NDArray[np.uint8]:
    """[N,C,H,W] in -1..1 -> uint8 [N,H,W,C]; raises InvalidInput (422) for other numbers."""
    if tensor.ndim != 4:
        raise InvalidInput(f"shape is {list(tensor.shape)}; pictures are [N,C,H,W]")
    farthest = float(np.abs(tensor).max(initial=0))
    if not farthest <= 1 + MARGIN:
        raise InvalidInput(
            f"the tensor holds {farthest:.4g}; its pixels must be from -1 to 1, as VaeImageProcessor.preprocess makes "
            "them"
        )
    pixels = np.rint((tensor.transpose(0, 2, 3, 1) + 1) * 127.5).clip(0, 255)
    return np.ascontiguousarray(pixels, np.uint8)


def from_pixels(pixels: NDArray[np.uint8], low: float) -> NDArray[np.float32]:
    """uint8 [N,H,W,C] -> [N,C,H,W] in low..1."""
    scaled = pixels.transpose(0, 3, 1, 2).astype(np.float32) * np.float32((1 - low) / 255)
    return np.asarray(scaled + np.float32(low))


def unpack(latents: Array, height: int, width: int, stride: int) -> Array:
    """Latents as Flux's transformer has them, [N,h/2*w/2,4C], rows of 2x2 squares -> [N,C,h,w].

    Args:
        height, width: of the picture, in pixels.
        stride: pixels along a side of one latent.
    Raises:
        InvalidInput: the number of squares is another (422).
    """
    rows, columns = height // (2 * stride), width // (2 * stride)
    count, squares, numbers = latents.shape
    if squares != rows * columns or numbers % 4:
        raise InvalidInput(
            f"shape is {list(latents.shape)}; packed latents of {width}x{height} are [N,{rows * columns},4C]"
        )
    split = latents.reshape(count, rows, columns, numbers // 4, 2, 2)
    return np.ascontiguousarray(split.transpose(0, 3, 1, 4, 2, 5).reshape(count, numbers // 4, 2 * rows, 2 * columns))
