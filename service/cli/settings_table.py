"""Table of all settings: names, value in force and its origin, default, range, meaning.

Settings, origins -> SettingRow for each setting -> text in columns | JSON
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args, get_origin

import orjson
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo

from service.settings import PREFIX, Settings

Value = bool | int | float | str | list[str] | None


@dataclass(frozen=True)
class SettingRow:
    """One setting. `origin`: default, the file's path, environment, or command line."""

    name: str
    variable: str
    value: Value
    origin: str
    default: Value
    range: str
    description: str


def setting_rows(settings: Settings, origins: Mapping[str, str]) -> list[SettingRow]:
    """A row for each setting, in the order of Settings; `origins` as service.settings.find_origins returns them."""
    return [
        SettingRow(
            name,
            f"{PREFIX}{name.upper()}",
            _plain_value(getattr(settings, name)),
            origins.get(name, "default"),
            _plain_value(field.get_default(call_default_factory=True)),
            _format_range(field),
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def format_text(settings: list[SettingRow]) -> str:
    """Lines of aligned columns, a heading first."""
    rows = [("environment", "settings file", "in force", "from", "default", "range", "meaning")]
    rows += [
        (
            row.variable,
            row.name,
            _format_value(row.value),
            row.origin,
            _format_value(row.default),
            row.range,
            row.description,
        )
        for row in settings
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def format_json(settings: list[SettingRow]) -> str:
    """One array, an object for each setting."""
    return orjson.dumps([asdict(row) for row in settings], option=orjson.OPT_INDENT_2).decode()


def _plain_value(value: Any) -> Value:
    if isinstance(value, tuple | list | set | frozenset):
        return [str(item) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _format_value(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(value) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value) or '""'


def _format_range(field: FieldInfo) -> str:
    """`1 to 256`, `above 0, up to 3600`, `auto | cpu`, `true | false`, or the kind of text."""
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    if choices:
        return " | ".join(map(str, choices))
    if field.annotation is bool:
        return "true | false"
    low = next((str(m.ge) for m in field.metadata if isinstance(m, Ge)), None)
    low_exclusive = next((f"above {m.gt}" for m in field.metadata if isinstance(m, Gt)), None)
    high = next((str(m.le) for m in field.metadata if isinstance(m, Le)), None)
    high_exclusive = next((f"below {m.lt}" for m in field.metadata if isinstance(m, Lt)), None)
    if low is not None and high is not None:
        return f"{low} to {high}"
    parts = [f"{low} or more" if low else low_exclusive, f"up to {high}" if high else high_exclusive]
    bounds = ", ".join(part for part in parts if part)
    if bounds:
        return bounds
    min_length = next((m.min_length for m in field.metadata if isinstance(m, MinLen)), 0)
    kind = getattr(field.annotation, "__name__", str(field.annotation))
    return {"Path": "a path", "str": "text"}.get(kind, kind) + (", not empty" if min_length else "")
