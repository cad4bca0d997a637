"""Query parameters, defined by one table, and the header Request-Deadline.

?fit=contain&strength=0.5 -> parse_query -> Options        Request-Deadline: 2.5 -> parse_deadline -> seconds

Parsing, errors, OpenAPI, the parameters of /v2 and the command line's options are derived from the table. A parameter
is added by one entry, and by the field of the same name in service.inference.options.Options.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, get_args
from urllib.parse import parse_qsl

from service.errors import InvalidInput
from service.imaging.bit_depth import Bits
from service.imaging.heatmap import COLOUR_SCALE
from service.imaging.resize import Fit
from service.inference.options import DEFAULT, Explain, Figures, Latents, Options, Report
from service.model.manifest import Operation

DEADLINE_HEADER = "Request-Deadline"


@dataclass(frozen=True)
class Parameter:
    """One query parameter.

    Args:
        name: in the query, and of the field of Options.
        schema: JSON Schema of the value: an enum of strings, or a number or integer from minimum to maximum.
        description: for OpenAPI.
        operation: the only one that takes it, or the only ones; None: all take it.
        verb: what the other operations have nothing to do with, for the error.
        in_v2_body: whether it can be a parameter of a /v2 request's body too.
        v2_error: why /v2 rejects it, None if it does not.
    """

    name: str
    schema: Mapping[str, Any]
    description: str
    operation: Operation | tuple[Operation, ...] | None = None
    verb: str = ""
    in_v2_body: bool = False
    v2_error: str | None = None

    def applies_to(self, operation: Operation) -> bool:
        return self.operation is None or operation in self.operations

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Those that take it."""
        if self.operation is None:
            return get_args(Operation)
        return self.operation if isinstance(self.operation, tuple) else (self.operation,)

    def parse(self, text: str) -> Any:
        """The value, of the schema's type; raises InvalidInput (422) outside the schema."""
        value = _PARSERS[self.schema["type"]](text)
        if "enum" in self.schema:
            is_allowed = value in self.schema["enum"]
        else:
            is_allowed = self.schema["minimum"] <= value <= self.schema["maximum"]
        if not is_allowed:
            raise InvalidInput(f"{self.name} is {text[:100]!r}; {self._allowed_values()}")
        return value

    def _allowed_values(self) -> str:
        if "enum" not in self.schema:
            numbers = "whole numbers" if self.schema["type"] == "integer" else "numbers"
            return f"allowed are {numbers} from {self.schema['minimum']} to {self.schema['maximum']}"
        *values, last = map(repr, self.schema["enum"])
        return f"allowed are {', '.join(values)} or {last}" if values else f"the only one is {last}"


def _parse_number(text: str) -> float:
    """NaN, which is in no range, for text that is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _parse_integer(text: str) -> float:
    return int(text) if text.isdecimal() and len(text) < 10 else math.nan


_PARSERS: dict[str, Callable[[str], Any]] = {"string": str, "number": _parse_number, "integer": _parse_integer}

PARAMETERS: dict[str, Parameter] = {
    parameter.name: parameter
    for parameter in (
        Parameter(
            "fit",
            {"type": "string", "enum": list(get_args(Fit))},
            "resize an image to the size the model takes; without it as in training, if the package says how",
            in_v2_body=True,
        ),
        Parameter(
            "strength",
            {"type": "number", "minimum": 0, "maximum": 2, "default": 1},
            "how much of the correction is applied: 0 nothing, 1 all of it; above 1 the result is denoised again, "
            "in twice the time, and 2 applies all of the second correction too",
            operation="denoise",
            verb="weaken",
            in_v2_body=True,
        ),
        Parameter(
            "dpi",
            {"type": "integer", "minimum": 36, "maximum": 1200},
            "dots per inch that a PDF's pages are drawn at, instead of the service's own",
            operation="denoise",
            verb="draw",
        ),
        Parameter(
            "white",
            {"type": "number", "minimum": 1e-9, "maximum": 4294967295},
            "the value of white in a picture's pixels, instead of the one that is found in them: 4095 of 12 bits in a "
            "16-bit file, 1 of floats",
            v2_error="tensors of /v2 are pixels of 8 bits",
        ),
        Parameter(
            "bits",
            {"type": "integer", "enum": list(get_args(Bits))},
            "bits of a channel in the result: 1 is black and white, 4 is 16 grey levels, 8 "
            "keeps all greys; without it as many as the request has",
            operation="denoise",
            verb="reduce",
            v2_error="tensors of /v2 are pixels of 8 bits",
        ),
        Parameter(
            "figures",
            {"type": "string", "enum": list(get_args(Figures))},
            "of models of pages: keep, which they do anyway, leaves photographs, white on black and what was never on "
            "paper as they are, clean cleans them with the page",
            operation="denoise",
            verb="keep",
            in_v2_body=True,
        ),
        Parameter(
            "false_alarm_rate",
            {"type": "number", "minimum": 0.01, "maximum": 0.5},  # manifests hold the held-out errors by the hundredth
            "add a verdict for each sample, `unusual` (JSON) or Reconstruction-Unusual (header): "
            "of samples like those that the model was tested on, that share is called unusual, by the score "
            "that is named beside it",
            operation="reconstruct",
            verb="judge",
            v2_error="/v2 answers percentiles",
        ),
        Parameter(
            "latents",
            {"type": "string", "enum": list(get_args(Latents))},
            "answer latents as a diffusion model takes them, or take such: (latents - shift_factor) * scaling_factor, "
            "by the factors of the package",
            operation=("encode", "decode"),
            verb="scale",
            in_v2_body=True,
        ),
        Parameter(
            "top",
            {"type": "integer", "minimum": 1, "maximum": 65536},
            "of each latent [D] only so many numbers, those of largest magnitude, the largest first: `indices` and "
            "`values` (JSON), or [N,2,k], which decode takes",
            operation="encode",
            verb="choose",
            v2_error="the outputs of /v2 are the model's",
        ),
        Parameter(
            "report",
            {"type": "string", "enum": list(get_args(Report))},
            "of an answer in NDJSON, further lines for each file: progress, how far the work is, twice a second; "
            "pages, that and each page as it is ready, before and after, as pictures to look at",
            operation="denoise",
            verb="report",
            v2_error="/v2 answers no lines",
        ),
        Parameter(
            "explain",
            {"type": "string", "enum": list(get_args(Explain))},
            "answer where the input differs from what the model knows: the squared difference of "
            "each pixel or number (.npy, JSON `heatmaps`; their mean is the reconstruction error), or a picture of "
            f"its root, {COLOUR_SCALE}",
            operation="reconstruct",
            verb="explain",
            v2_error="the outputs of /v2 are the model's",
        ),
        Parameter(
            "count",
            {"type": "integer", "minimum": 1, "maximum": 1_000_000, "default": 1},
            "how many samples are drawn, up to the service's limit of a batch",
            operation="sample",
            verb="draw",
            v2_error="/v2 does not sample",
        ),
        Parameter(
            "seed",
            {"type": "integer", "minimum": 0, "maximum": 999_999_999},
            "the same seed draws the same samples, of which a larger count has more; without it the service chooses "
            "one, which the answer names",
            operation="sample",
            verb="draw",
            v2_error="/v2 does not sample",
        ),
    )
}
V2_BODY_PARAMETERS = tuple(parameter.name for parameter in PARAMETERS.values() if parameter.in_v2_body)


def parse_query(query: bytes, operation: Operation) -> Options:
    """Options from a query string, still percent-encoded.

    Raises:
        InvalidInput: a parameter is unknown, of another operation, or has a value that is not allowed (422).
    """
    if not query:
        return DEFAULT
    return parse_parameters(parse_qsl(query.decode("latin-1"), keep_blank_values=True), operation, DEFAULT)


def parse_parameters(pairs: Iterable[tuple[str, str]], operation: Operation, defaults: Options) -> Options:
    """`defaults`, changed by (name, value as text); raises as `parse_query` does."""
    values: dict[str, Any] = {}
    for name, text in pairs:
        parameter = PARAMETERS.get(name)
        if parameter is None:
            *names, last = [field.name for field in fields(Options) if PARAMETERS[field.name].applies_to(operation)]
            choice = f"allowed are {', '.join(names)} and {last}" if names else f"the only one is {last}"
            raise InvalidInput(f"there is no parameter {name[:100]!r}; {choice}")
        if not parameter.applies_to(operation):
            takers = " and ".join(parameter.operations)
            raise InvalidInput(f"{name} is for {takers}; {operation} has nothing to {parameter.verb}")
        values[name] = parameter.parse(text)
    return replace(defaults, **values)


def reject_v1_parameters(options: Options) -> None:
    """Raises InvalidInput (422) if options have a value that /v2 has no output for."""
    if options is DEFAULT:
        return
    for name, value in vars(options).items():
        parameter = PARAMETERS[name]
        if value is not None and parameter.v2_error is not None:
            operation = "denoise" if parameter.operation is None else parameter.operations[0]
            raise InvalidInput(f"{name} is for /v1/models/{{name}}/{operation}; {parameter.v2_error}")


def parse_deadline(header: str | None, maximum: float) -> float | None:
    """Seconds of the header Request-Deadline, None without it; raises InvalidInput (422) outside 0 to `maximum`."""
    if header is None:
        return None
    seconds = _parse_number(header)
    if not 0 < seconds <= maximum:
        raise InvalidInput(f"{DEADLINE_HEADER} is {header[:100]!r}; allowed are seconds above 0, up to {maximum:g}")
    return seconds
