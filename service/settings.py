"""Every knob of the service: default, unit, range; checked at start, and an unknown one is an error.

the command line, else environment AUTOENCODER_*, else the settings file -> load -> Settings
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.model.providers import Precision, Provider, count_usable_cores

PREFIX = "AUTOENCODER_"
FILE = Path("autoencoder-service.toml")  # read if it is there; AUTOENCODER_SETTINGS names another
MIB = 2**20
MEGAPIXEL = 1_000_000
LogFormat = Literal["auto", "json", "text"]
_TYPES: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text", dict: "a table"}


class SettingsError(Exception):
    """A setting is unknown or wrong; the message is one line that names the variable and what is allowed."""


class Settings(BaseSettings):
    """The knobs. Environment variables are the names in capitals after AUTOENCODER_."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    models: Path = Field(Path("models"), description="folder that holds the packages")
    watch: float = Field(
        2, ge=0, le=3600, description="seconds between looks for packages that came, changed or went; 0: never"
    )
    verify_memory: int = Field(
        2048 * MIB, ge=64 * MIB, le=1024 * 1024 * MIB, description="bytes that a package may take while it is verified"
    )
    verify_seconds: float = Field(60, ge=1, le=3600, description="seconds that a package may take while it is verified")
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
        default_factory=count_usable_cores, ge=1, le=256, description="model runs side by side, one thread each"
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
    max_side: int = Field(65_535, ge=1, le=1_000_000, description="pixels along one side of an image")
    max_batch: int = Field(4096, ge=1, le=1_000_000, description="samples, or pages, in one request")
    pdf_dpi: int = Field(300, ge=36, le=1200, description="dots per inch that a PDF's pages are drawn at")
    pdf_pages: int = Field(500, ge=1, le=100_000, description="pages of one PDF")
    pdf_seconds: float = Field(20, ge=0.1, le=3600, description="seconds that a page of a PDF may take to be drawn")
    pdf_memory: int = Field(
        1024 * MIB, ge=64 * MIB, le=1024 * 1024 * MIB, description="bytes that the process that draws a PDF may take"
    )
    max_requests: int = Field(64, ge=1, le=100_000, description="requests inside; the next is answered 429")
    deadline: float = Field(30, gt=0, le=86_400, description="seconds that a request may take once its body is whole")
    deadline_per_megapixel: float = Field(
        2, ge=0, le=3600, description="seconds more for each million of pixels or numbers that it holds"
    )
    max_deadline: float = Field(600, gt=0, le=86_400, description="seconds that a request may ask for by its header")
    headers_deadline: float = Field(
        10, ge=0.1, le=600, description="seconds from connection or first byte to the end of a request's headers"
    )
    body_deadline: float = Field(
        20, ge=0.1, le=3600, description="seconds in which a body, or the taking of an answer, must make headway"
    )
    body_rate: int = Field(
        1024, ge=1, le=1024 * MIB, description="bytes a second that are headway, on average over body_deadline"
    )
    keep_alive: int = Field(75, ge=1, le=3600, description="seconds that a connection stays open between requests")
    max_header_bytes: int = Field(32 * 1024, ge=1024, le=MIB, description="bytes of a request's address and headers")
    max_connections: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="open connections; above it idle ones make room, else 503, but health is answered",
    )
    drain: float = Field(
        5, ge=0, le=3600, description="seconds from SIGTERM, when /readyz turns, until no connection is accepted"
    )
    max_inside_pixels: int = Field(
        250 * MEGAPIXEL,
        ge=1,
        le=100_000 * MEGAPIXEL,
        description="pixels (or numbers) of all requests inside; at least max_pixels",
    )

    metrics: bool = Field(default=True, description="answer /metrics")
    docs: bool = Field(default=True, description="answer /docs and /openapi.json")
    log_format: LogFormat = Field("auto", description="auto: text if stderr is a terminal, else json")
    log_requests: Literal["on", "off", "errors"] = Field(
        "errors", description="one line for each request, or only for those with status 400 and above"
    )
    tracing: bool = Field(default=False, description="OpenTelemetry spans, to where OTEL_* variables say")
    keys: Path | None = Field(None, description="file of API keys; without one everybody may ask")
    metrics_without_key: bool = Field(default=False, description="/metrics wants no key where operations do")
    docs_without_key: bool = Field(default=False, description="/docs and /openapi.json want no key")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="origins whose pages may ask from a browser, with commas between; * is all"
    )

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _origins_have_commas_between(cls, origins: Any) -> Any:
        if isinstance(origins, str):
            return tuple(origin.strip() for origin in origins.split(",") if origin.strip())
        return origins

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/\s*]+", origin):
                raise ValueError(f"{origin[:100]!r} is no origin, as https://example.org:8443 is")
        return origins

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
    from_file = read_file()
    told = origins(**given)
    values = {name: from_file[name] for name, origin in told.items() if origin == str(file())}
    try:
        return Settings(**{**values, **{name: value for name, value in given.items() if value is not None}})
    except ValidationError as invalid:
        raise SettingsError(_sentence(invalid, told)) from invalid


def origins(**given: Any) -> dict[str, str]:
    """Where each setting that is no default comes from: "command line", "environment", or the file's path."""
    there = {variable.upper() for variable in os.environ}
    told = dict.fromkeys(read_file(), str(file()))
    told |= {name: "environment" for name in Settings.model_fields if f"{PREFIX}{name.upper()}" in there}
    return told | {name: "command line" for name, value in given.items() if value is not None}


def file() -> Path:
    """The settings file: what AUTOENCODER_SETTINGS names, else FILE in the working folder."""
    return Path(os.environ.get(f"{PREFIX}SETTINGS", FILE))


def read_file() -> dict[str, Any]:
    """What the settings file says, {} if there is none.

    Raises:
        SettingsError: it cannot be read, holds an unknown name, or a value of another type than the setting's.
    """
    path = file()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if path == FILE:
            return {}
        raise SettingsError(f"{PREFIX}SETTINGS={path} does not exist") from None
    except (OSError, ValueError) as broken:  # UnicodeDecodeError and TOMLDecodeError are ValueErrors
        raise SettingsError(f"the settings file {path} cannot be read: {broken}") from broken
    for name, value in values.items():
        if name not in Settings.model_fields:
            raise SettingsError(f"{path}: {name} is not a setting; {_hint(name, set(Settings.model_fields))}")
        _check_type(path, name, value)
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


def _check_type(path: Path, name: str, value: object) -> None:
    """TOML has types, so "80" is no number and true is not 1; text in the environment has to be taken for either."""
    wanted = _TYPES.get(Settings.model_fields[name].annotation or str, "text")
    found = _TYPES.get(type(value), f"a {type(value).__name__}")
    if found != wanted and (wanted, found) != ("a number", "a whole number") and not isinstance(value, list):
        raise SettingsError(
            f"{path}: {name} = {json.dumps(value, default=str)} is refused: it is {found}, not {wanted}"
        )


def _sentence(invalid: ValidationError, told: Mapping[str, str]) -> str:
    first = invalid.errors()[0]
    reason = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return reason
    name = str(first["loc"][0])
    about = Settings.model_fields[name].description
    origin = told.get(name, "environment")
    spelled = {"environment": f"{PREFIX}{name.upper()}={first['input']}", "command line": f"--{name} {first['input']}"}
    where = spelled.get(origin, f"{origin}: {name} = {first['input']}")
    return f"{where} is refused ({about}): {reason[0].lower()}{reason[1:]}"
