"""What a request asks for beside its body: the query of its address, and how long it may take.

`?fit=contain&strength=0.5` -> Options      Request-Deadline: 2.5 -> seconds
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl

from service.errors import InvalidInput
from service.imaging.resize import Fit
from service.model.manifest import Operation

Explain = Literal["heatmap"]

DPI = 36, 1200
LEAST_RATE = 0.01  # manifests hold the held-out errors by the hundredth

FITS: tuple[Fit, ...] = get_args(Fit)


@dataclass(frozen=True)
class Options:
    """What a request may ask for: `fit` to the model's size; `strength` of denoising, 0 (nothing) to 1 (all); `dpi` of
    the pages of a PDF; to `explain` a reconstruction error by a heatmap; a verdict at a `false_alarm_rate`
    (Model.unusual_above)."""

    fit: Fit | None = None
    strength: float = 1.0
    dpi: int | None = None
    explain: Explain | None = None
    false_alarm_rate: float | None = None


DEFAULT = Options()
# parameters of one operation
_OF: dict[str, Operation] = {
    "strength": "denoise",
    "dpi": "denoise",
    "explain": "reconstruct",
    "false_alarm_rate": "reconstruct",
}


def read(query: bytes, operation: Operation) -> Options:
    """The query string, undecoded; InvalidInput (422) for what is unknown, out of range, or not this operation's."""
    if not query:
        return DEFAULT
    return chosen(parse_qsl(query.decode("latin-1"), keep_blank_values=True), operation, DEFAULT)


def chosen(parameters: Iterable[tuple[str, str]], operation: Operation, otherwise: Options) -> Options:
    """Names and values as text -> Options, `otherwise` where nothing is said; raises as `read` does."""
    found: dict[str, Any] = {}
    for parameter, value in parameters:
        if parameter not in _READ:
            mine = ["fit", *(name for name, only in _OF.items() if only == operation)]
            allowed = f"allowed are {', '.join(mine[:-1])} and {mine[-1]}" if len(mine) > 1 else "the only one is fit"
            raise InvalidInput(f"there is no parameter {parameter[:100]!r}; {allowed}")
        if _OF.get(parameter, operation) != operation:
            raise InvalidInput(f"{parameter} is for {_OF[parameter]}; {operation} has nothing to {_VERBS[parameter]}")
        found[parameter] = _READ[parameter](value)
    return replace(otherwise, **found)


def _fit(value: str) -> Fit:
    for known in FITS:
        if value == known:
            return known
    allowed = f"{', '.join(map(repr, FITS[:-1]))} or {FITS[-1]!r}"
    raise InvalidInput(f"fit is {value[:100]!r}; allowed are {allowed}")


def _explain(value: str) -> Explain:
    if value != "heatmap":
        raise InvalidInput(f"explain is {value[:100]!r}; the only one is 'heatmap'")
    return "heatmap"


def _strength(value: str) -> float:
    number = _number(value)
    if not 0 <= number <= 1:
        raise InvalidInput(f"strength is {value[:100]!r}; allowed are numbers from 0 to 1")
    return number


def _dpi(value: str) -> int:
    if not value.isdecimal() or not DPI[0] <= int(value[:9]) <= DPI[1]:
        raise InvalidInput(f"dpi is {value[:100]!r}; allowed are whole numbers from {DPI[0]} to {DPI[1]}")
    return int(value)


def _false_alarm_rate(value: str) -> float:
    number = _number(value)
    if not LEAST_RATE <= number <= 0.5:
        raise InvalidInput(f"false_alarm_rate is {value[:100]!r}; allowed are numbers from {LEAST_RATE} to 0.5")
    return number


def deadline(header: str | None, most: float) -> float | None:
    """Seconds that the caller gives the request, None without the header; InvalidInput (422) beyond 0 to `most`."""
    if header is None:
        return None
    seconds = _number(header)
    if not 0 < seconds <= most:
        raise InvalidInput(f"Request-Deadline is {header[:100]!r}; allowed are seconds above 0, up to {most:g}")
    return seconds


def _number(text: str) -> float:
    """NaN, which is in no range, for what is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


_READ: dict[str, Callable[[str], Any]] = {
    "fit": _fit,
    "strength": _strength,
    "dpi": _dpi,
    "explain": _explain,
    "false_alarm_rate": _false_alarm_rate,
}
_VERBS = {"strength": "weaken", "dpi": "draw", "explain": "explain", "false_alarm_rate": "judge"}
