"""Image samples: a picture file becomes the image that a model takes, in serving and in training alike.

bytes -> read_pictures -> Picture, one a page -> make_image -> uint8 [H,W,C] -> fit_image -> uint8 [height,width,C]

Training imports this module and no other reader, so a model learns from exactly the pixels that it is served with,
and a file that the service refuses is refused in training with the same sentence.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.codecs import images
from service.codecs.formats import READABLE_SUFFIXES, detect_image_format
from service.errors import ServiceError
from service.imaging.picture import MAX_PIXELS, Picture, flatten_to_uint8, to_model_input
from service.imaging.resize import Fit, resize

__all__ = ["Picture", "ServiceError", "fit_image", "is_picture", "make_image", "make_page", "read_pictures"]

SIGNATURE_BYTES = 64  # of a file, by which its format is known
SUFFIXES = READABLE_SUFFIXES
Pixels = NDArray[np.uint8]
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601


def is_picture(first_bytes: bytes) -> bool:
    """Whether a file that begins so is in a format that is read."""
    image_format = detect_image_format(first_bytes)
    return image_format is not None and image_format.is_readable


def read_pictures(data: bytes, label: str, max_pages: int = 1) -> list[Picture]:
    """The pages of an image file, as the service reads them with its default settings.

    Raises:
        ServiceError: the service's own sentence; it names the file by `label`.
    """
    return images.decode(data, images.inspect(data, MAX_PIXELS, label, max_pages), label)


def make_image(picture: Picture, channels: int) -> Pixels:
    """The picture as a model of one size and so many channels takes it, uint8 [H,W,channels], over white."""
    return flatten_to_uint8(picture.pixels, channels, picture.white)


def make_page(picture: Picture, channels: int, dtype: str = "uint8") -> NDArray[Any]:
    """The picture as a denoiser of any size takes it, `dtype` ("uint8" or "uint16") [H,W,channels], without alpha.

    Of a colour picture a grey model takes each channel on its own; here it is their luma, one image.
    """
    planes = to_model_input(picture.pixels, channels, picture.white, dtype)
    if len(planes) == 1:
        return np.ascontiguousarray(planes[0])
    if dtype == "uint16":
        return np.rint(np.tensordot(LUMA, planes, 1)).astype(np.uint16)
    return flatten_to_uint8(picture.pixels[:, :, :3], channels, picture.white)


def fit_image(image: Pixels, height: int, width: int, fit: Fit) -> Pixels:
    """uint8 [H,W,C] -> uint8 [height,width,C]; as it is, if it has that size."""
    return resize(image, height, width, fit)
