"""Pictures: bytes <-> uint8 arrays [H, W, C]. Header first, then pixels.

bytes -> inspect (format, size, frames; nothing decoded) -> decode (orientation, depth, alpha, channels) -> array
array -> fit (to a fixed size) ... array -> encode -> bytes

Only five decoders are ever tried: most of Pillow's security fixes are in formats that nobody sends here.
"""

import io
import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from service.errors import InvalidInput, NotAcceptable, TooLarge, UnsupportedMediaType

Pixels = NDArray[np.uint8]
Fit = Literal["contain", "cover", "stretch"]

MEDIA_TYPES = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/tiff": "TIFF",
    "image/bmp": "BMP",
}
ENCODED: dict[str, tuple[str, dict[str, int], int]] = {  # media type: format, options, longest side
    "image/png": ("PNG", {"compress_level": 3}, 2**31 - 1),
    "image/jpeg": ("JPEG", {"quality": 90}, 65500),
    "image/webp": ("WEBP", {"quality": 90}, 16383),
}
_FORMATS = tuple(MEDIA_TYPES.values())
_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}
_WIDE = {"I": "32-bit whole", "F": "floating-point"}
_ORIENTATION = 0x0112  # EXIF tag

# Sizes are checked below against a setting, with a sentence; Pillow's own limit would only warn beside it.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns about damaged metadata, on stderr, about pictures that it reads well; nobody here can act on it.
warnings.filterwarnings("ignore", module=r"PIL\.")


def inspect(data: bytes, max_pixels: int, which: str) -> int:
    """Number of pixels, from the header alone.

    Args:
        data: the picture's bytes.
        max_pixels: the limit of one picture.
        which: how the sender would call it, "image" or "image 3", for the refusal.
    Raises:
        UnsupportedMediaType: not one of the five formats.
        TooLarge: more than `max_pixels`.
        InvalidInput: several frames or pages, 32-bit pixels, a broken header.
    """
    with _open(data, which) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise TooLarge(
                f"{which} is {width}x{height} ({_mega(width * height)} Mpixel); "
                f"the limit is {_mega(max_pixels)} Mpixel",
                limit=max_pixels,
            )
        if getattr(image, "is_animated", False) and image.format != "MPO":  # a phone's extra frames are its own
            raise InvalidInput(f"{which} has several frames or pages; send one picture")
        if image.mode in _WIDE:
            raise InvalidInput(
                f"{which} has {_WIDE[image.mode]} pixels, whose black and white are not known; "
                "send 8 or 16 bits per channel"
            )
        return width * height


def decode(data: bytes, channels: int, which: str) -> Pixels:
    """An inspected picture -> uint8 [H, W, C], upright, over white where it is transparent.

    16-bit grey keeps its range: 65535 becomes 255. Colours become grey by ITU-R 601 luma. Colour profiles are
    not applied.

    Args:
        channels: 1 (grey) or 3 (RGB).
    Raises:
        InvalidInput: the pixels cannot be read; the sentence names `which`.
    """
    try:
        with _open(data, which) as opened:
            opened.load()
            image = _upright(opened)
            if image.mode.startswith("I;16"):  # convert() would clip everything above 255 to white
                grey = (np.asarray(image).astype(np.uint32) + 128) // 257
                image = Image.fromarray(grey.astype(np.uint8))
            elif image.mode in _ALPHA or "transparency" in image.info:
                layer = image.convert("RGBA")
                image = Image.new("RGBA", layer.size, "white")
                image.alpha_composite(layer)
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except (InvalidInput, UnsupportedMediaType, MemoryError):
        raise
    except Exception as broken:  # Pillow's decoders raise whatever broken bytes lead them to
        raise InvalidInput(f"{which} cannot be read: it is damaged or cut off") from broken
    return pixels.reshape(*pixels.shape[:2], channels)


def fit(image: Pixels, height: int, width: int, how: Fit) -> Pixels:
    """uint8 [H, W, C] -> uint8 [height, width, C], by Lanczos resampling.

    contain: all of it, centred on the colour of its own border (the median, per channel);
    cover: fills the frame, what sticks out on two sides is cut; stretch: each axis on its own.
    """
    if image.shape[:2] == (height, width):
        return image
    picture = _picture(image)
    if how == "stretch":
        return _pixels(picture.resize((width, height), Image.Resampling.LANCZOS))
    scale_y, scale_x = height / picture.height, width / picture.width
    if how == "cover":
        scale = max(scale_y, scale_x)
        cut_x, cut_y = (picture.width - width / scale) / 2, (picture.height - height / scale) / 2
        box = (max(0.0, cut_x), max(0.0, cut_y), picture.width - max(0.0, cut_x), picture.height - max(0.0, cut_y))
        return _pixels(picture.resize((width, height), Image.Resampling.LANCZOS, box=box))
    scale = min(scale_y, scale_x)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    inner = _pixels(picture.resize(size, Image.Resampling.LANCZOS))
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])  # [perimeter, C]
    frame = np.empty((height, width, image.shape[2]), np.uint8)
    frame[:] = np.median(border, axis=0).astype(np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    frame[top : top + size[1], left : left + size[0]] = inner
    return frame


def encode(image: Pixels, media_type: str) -> bytes:
    """uint8 [H, W, C] -> PNG, JPEG or WebP bytes; NotAcceptable (406) if the format cannot hold the size."""
    form, options, longest = ENCODED[media_type]
    if max(image.shape[:2]) > longest:
        raise NotAcceptable(
            f"the answer is {image.shape[1]}x{image.shape[0]}, {form} holds at most {longest} pixels a side; "
            "ask for image/png"
        )
    buffer = io.BytesIO()
    _picture(image).save(buffer, form, **options)
    return buffer.getvalue()


def _open(data: bytes, which: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as unknown:
        if media_type(data) is not None:
            raise InvalidInput(f"{which} cannot be read: its header is damaged") from unknown
        raise UnsupportedMediaType(
            f"{which} is not a picture in PNG, JPEG, WebP, TIFF or BMP", accepted=list(MEDIA_TYPES)
        ) from unknown
    except MemoryError:
        raise
    except Exception as broken:  # Pillow's parsers raise whatever broken bytes lead them to
        raise InvalidInput(f"{which} cannot be read: its header is damaged") from broken


def media_type(data: bytes) -> str | None:
    """The picture's media type by its first bytes, None if they are of no format that is read here."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "image/tiff"
    return "image/bmp" if data.startswith(b"BM") else None


def _upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says; a damaged EXIF block says nothing."""
    try:
        turned = image.getexif().get(_ORIENTATION, 1) != 1
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, EOFError):
        return image
    return ImageOps.exif_transpose(image) if turned else image


def _picture(image: Pixels) -> Image.Image:
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _pixels(picture: Image.Image) -> Pixels:
    pixels = np.asarray(picture)
    return pixels.reshape(*pixels.shape[:2], -1)


def _mega(pixels: int) -> str:
    return f"{pixels / 1e6:.4g}"
