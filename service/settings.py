"""Every knob of the service: default, unit, range; checked at start, and an unknown one is an error.

the command line, else environment AUTOENCODER_*, else the settings file -> load -> Settings
"""

import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.providers import Precision, Provider, usable_cores

PREFIX = "AUTOENCODER_"
FILE = Path("autoencoder-service.toml")  # read if it is there; AUTOENCODER_SETTINGS names another
MIB = 2**20
MEGAPIXEL = 1_000_000


class SettingsError(Exception):
    """A setting is unknown or wrong; the message is one line that names the variable and what is allowed."""


class Settings(BaseSettings):
    """The knobs. Environment variables are the names in capitals after AUTOENCODER_."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    models: Path = Field(Path("models"), description="folder that holds the packages")
    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes any free one")
    page: bool = Field(default=True, description="whether the web page is served at /")
    provider: Provider = Field("auto", description="execution provider to ask for")
    require_provider: bool = Field(
        default=False, description="refuse to start when the provider asked for does not really run"
    )
    precision: Precision = Field(
        "auto",
        description="on the CPU, int8: quantised graphs where packages have them; auto: if it is faster with them",
    )
    workers: int = Field(
        default_factory=usable_cores, ge=1, le=256, description="model runs side by side, one thread each"
    )
    tile: int = Field(
        512, ge=64, le=4096, description="pixels along a side of the tiles that images of any size are cut into"
    )
    max_body_bytes: int = Field(256 * MIB, ge=1024, le=4096 * MIB, description="bytes of one request's body")
    max_inside_bytes: int = Field(
        1024 * MIB, ge=1024, le=1024 * 1024 * MIB, description="bytes of all bodies inside; at least max_body_bytes"
    )
    max_pixels: int = Field(
        120 * MEGAPIXEL, ge=1, le=10_000 * MEGAPIXEL, description="pixels of one image, or of one page of a TIFF"
    )
    max_batch: int = Field(4096, ge=1, le=1_000_000, description="samples, or pages, in one request")
    max_requests: int = Field(64, ge=1, le=100_000, description="requests inside; the next is answered 429")
    deadline: float = Field(30, gt=0, le=86_400, description="seconds that a request may take")
    deadline_per_megapixel: float = Field(
        2, ge=0, le=3600, description="seconds more for each million of pixels or numbers that it holds"
    )
    max_deadline: float = Field(600, gt=0, le=86_400, description="seconds that a request may ask for by its header")
    max_inside_pixels: int = Field(
        250 * MEGAPIXEL,
        ge=1,
        le=100_000 * MEGAPIXEL,
        description="pixels (or numbers) of all requests inside; at least max_pixels",
    )

    @field_validator("models")
    @classmethod
    def _models_is_a_folder(cls, models: Path) -> Path:
        if not models.is_dir():
            raise ValueError("must be a folder that exists")
        return models

    @model_validator(mode="after")
    def _the_largest_fits_inside(self) -> Self:
        if self.max_inside_pixels < self.max_pixels:
            raise ValueError(
                f"{PREFIX}MAX_INSIDE_PIXELS={self.max_inside_pixels} is less than "
                f"{PREFIX}MAX_PIXELS={self.max_pixels}: must be at least that, or the largest image never fits"
            )
        if self.max_inside_bytes < self.max_body_bytes:
            raise ValueError(
                f"{PREFIX}MAX_INSIDE_BYTES={self.max_inside_bytes} is less than "
                f"{PREFIX}MAX_BODY_BYTES={self.max_body_bytes}: must be at least that, or the largest body never fits"
            )
        return self


def load(**given: Any) -> Settings:
    """Settings from what the command line gave (None: not given), the environment, the settings file, defaults.

    Raises:
        SettingsError: an unknown AUTOENCODER_* variable or name in the file, or a value out of range.
    """
    known = {f"{PREFIX}{name.upper()}" for name in (*Settings.model_fields, "settings", "key")}  # key: of a client
    for variable in os.environ:
        if variable.upper().startswith(PREFIX) and variable.upper() not in known:
            raise SettingsError(f"{variable} is not a setting; {_hint(variable.upper(), known)}")
    there = {variable.upper() for variable in os.environ}
    from_file = {name: value for name, value in read_file().items() if f"{PREFIX}{name.upper()}" not in there}
    try:
        return Settings(**{**from_file, **{name: value for name, value in given.items() if value is not None}})
    except ValidationError as invalid:
        raise SettingsError(_sentence(invalid)) from invalid


def file() -> Path:
    """The settings file: what AUTOENCODER_SETTINGS names, else FILE in the working folder."""
    return Path(os.environ.get(f"{PREFIX}SETTINGS", FILE))


def read_file() -> dict[str, Any]:
    """What the settings file says, {} if there is none; SettingsError if it cannot be read or holds an unknown name."""
    path = file()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if path == FILE:
            return {}
        raise SettingsError(f"{PREFIX}SETTINGS={path} does not exist") from None
    except (OSError, ValueError) as broken:  # UnicodeDecodeError and TOMLDecodeError are ValueErrors
        raise SettingsError(f"the settings file {path} cannot be read: {broken}") from broken
    for name in values:
        if name not in Settings.model_fields:
            raise SettingsError(f"{path}: {name} is not a setting; {_hint(name, set(Settings.model_fields))}")
    return values


def write_file(changes: Mapping[str, int]) -> Path:
    """Change the settings file, everything else that it says kept; SettingsError if it cannot be written."""
    path, values = file(), {**read_file(), **changes}
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]  # such values are TOML as well
    part = path.with_name(path.name + ".part")
    try:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise SettingsError(f"the settings file {path} cannot be written: {error.strerror or error}") from error
    return path


def _hint(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"


def _sentence(invalid: ValidationError) -> str:
    first = invalid.errors()[0]
    reason = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return reason
    name = str(first["loc"][0])
    about = Settings.model_fields[name].description
    return f"{PREFIX}{name.upper()}={first['input']} is refused ({about}): {reason[0].lower()}{reason[1:]}"
