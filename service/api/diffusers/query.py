"""Query of the remote protocol of diffusers: `shape`, `dtype`, factors, and the form of the answer.

?shape=1&shape=4&shape=64&shape=64&dtype=float16&scaling_factor=0.18215&output_type=pil -> parse_query -> Query

https://github.com/huggingface/diffusers, src/diffusers/utils/remote_utils.py
"""

import math
from collections.abc import Callable, Mapping
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
    allowed = [name for name, parameter in PARAMETERS.items() if parameter.applies_to(operation)]
    for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in allowed:
            raise InvalidInput(f"there is no parameter {name[:100]!r}; allowed are {', '.join(allowed)}")
        if name == "shape":
            shape.append(PARAMETERS[name].parse(name, text))
        else:
            values[name] = PARAMETERS[name].parse(name, text)
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


@dataclass(frozen=True)
class Parameter:
    """One parameter of the query.

    Args:
        parse: (name, text) -> value; raises InvalidInput (422).
        schema, description: for OpenAPI.
        of_decode: whether only `decode` takes it.
    """

    parse: Callable[[str, str], Any]
    schema: Mapping[str, Any]
    description: str
    of_decode: bool = False

    def applies_to(self, operation: Operation) -> bool:
        return operation == "decode" or not self.of_decode


def _define_choice(description: str, *allowed: str, of_decode: bool = False) -> Parameter:
    return Parameter(_make_choice(*allowed), {"type": "string", "enum": list(allowed)}, description, of_decode)


def _define_size(description: str) -> Parameter:
    return Parameter(_parse_size, {"type": "integer"}, description, of_decode=True)


_SHAPE = {"type": "array", "items": {"type": "integer"}}
_SWITCH = {"type": "boolean"}
_FACTOR = {"type": "number"}
PARAMETERS: dict[str, Parameter] = {
    "shape": Parameter(_parse_size, _SHAPE, "of the tensor in the body, once for each axis"),
    "dtype": _define_choice("of the tensor in the body, and of the one that is answered", *DTYPES),
    "scaling_factor": Parameter(
        _parse_number, _FACTOR, "latents are (those of the model - shift_factor) * scaling_factor"
    ),
    "shift_factor": Parameter(_parse_number, _FACTOR, "as scaling_factor"),
    "do_scaling": Parameter(_parse_switch, _SWITCH, "take both factors from the package"),
    "output_type": _define_choice("a picture, or a tensor [N,C,H,W] in -1..1", "pil", "pt", of_decode=True),
    "image_format": _define_choice("of the picture", "png", "jpg", of_decode=True),
    "partial_postprocess": Parameter(_parse_switch, _SWITCH, "with pt: uint8 [N,H,W,C] is answered", of_decode=True),
    "height": _define_size("of the picture, for packed latents [N,L,C]"),
    "width": _define_size("as height"),
}
