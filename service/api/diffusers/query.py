"""Query of the remote protocol of diffusers: `shape`, `dtype`, factors, and the form of the answer.

?shape=1&shape=4&shape=64&shape=64&dtype=float16&scaling_factor=0.18215&output_type=pil -> parse_query -> Query

https://github.com/huggingface/diffusers, src/diffusers/utils/remote_utils.py
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from service.api.diffusers.tensors import DTYPES
from service.errors import InvalidInput
from service.model.manifest import LatentScaling, Operation
from service.model.runtime import Model

MAX_AXES = 8
MAX_SIZE = 1 << 31  # of an axis
MAX_FACTOR = 1e6

_OF_DECODE = ("output_type", "image_format", "partial_postprocess", "height", "width")
_NAMES = ("shape", "dtype", "scaling_factor", "shift_factor", "do_scaling")
OUTPUT_TYPES = ("pil", "pt")
IMAGE_FORMATS = ("png", "jpg")


@dataclass(frozen=True)
class Query:
    """What a request says about its tensor and its answer.

    Args:
        shape: of the tensor in the body; None: the body is a picture.
        dtype: of the tensor, and of the one that is answered.
        scaling: between the caller's latents and the model's; None: there is none.
        is_partial: pixels are answered as uint8 [N,H,W,C].
        height, width: of the picture, for packed latents.
    """

    shape: tuple[int, ...] | None = None
    dtype: str = "float32"
    scaling: LatentScaling | None = None
    output_type: str = "pil"
    image_format: str = "jpg"
    is_partial: bool = False
    height: int | None = None
    width: int | None = None


def parse_query(query: bytes, operation: Operation, model: Model) -> Query:
    """Raises InvalidInput (422): a parameter is unknown, or has a value that is not allowed."""
    values: dict[str, Any] = {}
    shape: list[int] = []
    allowed = _NAMES + _OF_DECODE * (operation == "decode")
    for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in allowed:
            raise InvalidInput(f"there is no parameter {name[:100]!r}; allowed are {', '.join(allowed)}")
        if name == "shape":
            shape.append(_parse_size(name, text))
        else:
            values[name] = _PARSERS[name](name, text)
    if len(shape) > MAX_AXES:
        raise InvalidInput(f"shape has {len(shape)} axes; at most {MAX_AXES} make sense here")
    if operation == "decode" and not shape:
        raise InvalidInput("shape is missing; give it for each axis of the tensor: shape=1&shape=4&shape=64&shape=64")
    if shape and "dtype" not in values:
        raise InvalidInput(f"dtype is missing; allowed are {', '.join(DTYPES)}")
    return Query(
        shape=tuple(shape) or None,
        dtype=values.get("dtype", "float32"),
        scaling=_choose_scaling(values, model),
        output_type=values.get("output_type", "pil"),
        image_format=values.get("image_format", "jpg"),
        is_partial=values.get("partial_postprocess", False),
        height=values.get("height"),
        width=values.get("width"),
    )


def _choose_scaling(values: dict[str, Any], model: Model) -> LatentScaling | None:
    """The factors that the request gives, or with `do_scaling` those of the package."""
    if "scaling_factor" in values or "shift_factor" in values:
        return LatentScaling(
            scaling_factor=values.get("scaling_factor", 1.0), shift_factor=values.get("shift_factor", 0.0)
        )
    if not values.get("do_scaling"):
        return None
    if model.manifest.latent_scaling is None:
        raise InvalidInput(f"{model.manifest.name} has no factors of its own; give scaling_factor, or do_scaling=False")
    return model.manifest.latent_scaling


def _parse_size(name: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 10 or not 0 < int(text) < MAX_SIZE:
        raise InvalidInput(f"{name} is {text[:100]!r}; allowed are whole numbers from 1")
    return int(text)


def _parse_number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    least = 1 / MAX_FACTOR if name == "scaling_factor" else -MAX_FACTOR
    if not least <= number <= MAX_FACTOR:
        raise InvalidInput(f"{name} is {text[:100]!r}; allowed are numbers from {least:g} to {MAX_FACTOR:g}")
    return number


def _parse_switch(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise InvalidInput(f"{name} is {text[:100]!r}; allowed are True and False")
    return text.lower() == "true"


def _make_choice(*allowed: str) -> Callable[[str, str], str]:
    def parse(name: str, text: str) -> str:
        if text not in allowed:
            hint = "; a video is not answered" if text == "mp4" else ""
            raise InvalidInput(f"{name} is {text[:100]!r}; allowed are {', '.join(allowed)}{hint}")
        return text

    return parse


_PARSERS: dict[str, Callable[[str, str], Any]] = {
    "dtype": _make_choice(*DTYPES),
    "scaling_factor": _parse_number,
    "shift_factor": _parse_number,
    "do_scaling": _parse_switch,
    "output_type": _make_choice(*OUTPUT_TYPES),
    "image_format": _make_choice(*IMAGE_FORMATS),
    "partial_postprocess": _parse_switch,
    "height": _parse_size,
    "width": _parse_size,
}
