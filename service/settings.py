"""Settings: default, unit, range of each; checked at start, and an unknown setting is an error.

command line, else environment AUTOENCODER_*, else settings file, else defaults -> load -> Settings
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

from service.imaging.picture import MAX_PIXELS
from service.model.files.plain_files import READ_SECONDS, call_within, read_regular, write_whole
from service.model.providers import Precision, Provider, count_usable_cores

PREFIX = "AUTOENCODER_"
OTHER_VARIABLES = ("key", "data", "cache")  # without PREFIX: of the client and of training, on the same machine
DEFAULT_FILE = Path("autoencoder-service.toml")  # read if it exists; AUTOENCODER_SETTINGS names another
MAX_FILE_BYTES = 1 << 20  # of the settings file
MIB = 2**20
MEGAPIXEL = 1_000_000
LogFormat = Literal["auto", "json", "text"]
_TYPE_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    dict: "a table",
}


class SettingsError(Exception):
    """A setting is unknown or wrong; the message is one line that names the variable and the allowed values."""


class Settings(BaseSettings):
    """All settings. The environment variable of a setting is AUTOENCODER_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    models: Path = Field(Path("models"), description="folder that holds the packages")
    watch: float = Field(
        2,
        ge=0,
        le=3600,
        description="seconds between polls of the models folder for new, changed and removed packages; 0: never",
    )
    verify_memory: int = Field(
        2048 * MIB,
        ge=64 * MIB,
        le=1024 * 1024 * MIB,
        description="bytes of memory that a package may take while it is verified",
    )
    verify_seconds: float = Field(60, ge=1, le=3600, description="seconds that a package may take while it is verified")
    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes any free one")
    page: bool = Field(default=True, description="whether the web page is served at /")
    provider: Provider = Field("auto", description="execution provider to request")
    require_provider: bool = Field(default=False, description="refuse to start if the requested provider does not run")
    precision: Precision = Field(
        "auto",
        description="of denoisers on the CPU, int8: quantised graphs where packages have them; bf16: with OpenVINO; "
        "auto: the fastest that the CPU supports",
    )
    workers: int = Field(
        default_factory=count_usable_cores, ge=1, le=256, description="model runs at the same time, one thread each"
    )
    tile: int = Field(
        512, ge=64, le=4096, description="pixels along a side of the tiles that images of any size are cut into"
    )
    max_body_bytes: int = Field(256 * MIB, ge=1024, le=4096 * MIB, description="bytes of one request's body")
    max_inside_bytes: int = Field(
        1024 * MIB,
        ge=1024,
        le=1024 * 1024 * MIB,
        description="bytes of the bodies of all requests in progress; at least max_body_bytes",
    )
    max_pixels: int = Field(
        MAX_PIXELS, ge=1, le=10_000 * MEGAPIXEL, description="pixels of one image, or of one page of a TIFF"
    )
    max_side: int = Field(65_535, ge=1, le=1_000_000, description="pixels along one side of an image")
    max_batch: int = Field(4096, ge=1, le=1_000_000, description="samples, or pages, in one request")
    pdf_dpi: int = Field(300, ge=36, le=1200, description="dots per inch at which the pages of a PDF are rendered")
    pdf_pages: int = Field(500, ge=1, le=100_000, description="pages of one PDF")
    pdf_seconds: float = Field(20, ge=0.1, le=3600, description="seconds that rendering a page of a PDF may take")
    pdf_memory: int = Field(
        1024 * MIB,
        ge=64 * MIB,
        le=1024 * 1024 * MIB,
        description="bytes of memory that the process that renders a PDF may take",
    )
    max_requests: int = Field(64, ge=1, le=100_000, description="requests in progress; the next is answered 429")
    deadline: float = Field(
        30, gt=0, le=86_400, description="seconds that a request may take once its body is received"
    )
    deadline_per_megapixel: float = Field(
        2, ge=0, le=3600, description="further seconds for each million pixels or numbers of a request"
    )
    max_deadline: float = Field(
        600, gt=0, le=86_400, description="seconds that a request may set with the header Request-Deadline"
    )
    headers_deadline: float = Field(
        10, ge=0.1, le=600, description="seconds from connection or first byte to the end of a request's headers"
    )
    body_deadline: float = Field(
        20,
        ge=0.1,
        le=3600,
        description="seconds over which the rate of receiving a body or sending a response is measured",
    )
    body_rate: int = Field(
        1024,
        ge=1,
        le=1024 * MIB,
        description="bytes a second that a client must send or receive, on average over body_deadline",
    )
    keep_alive: int = Field(75, ge=1, le=3600, description="seconds that a connection stays open between requests")
    max_header_bytes: int = Field(32 * 1024, ge=1024, le=MIB, description="bytes of a request's address and headers")
    max_connections: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="open connections; above it idle ones are closed, else 503 except for health and metrics",
    )
    drain: float = Field(
        5, ge=0, le=3600, description="seconds from SIGTERM, when /readyz becomes 503, until no connection is accepted"
    )
    max_inside_pixels: int = Field(
        250 * MEGAPIXEL,
        ge=1,
        le=100_000 * MEGAPIXEL,
        description="pixels or numbers of all requests in progress; at least max_pixels",
    )

    max_run_bytes: int = Field(
        2048 * MIB,
        ge=MIB,
        le=1024 * 1024 * MIB,
        description="bytes of working memory that runs of models on whole images may take together, "
        "as measured when those were imported",
    )

    metrics: bool = Field(default=True, description="answer /metrics")
    docs: bool = Field(default=True, description="answer /docs and /openapi.json")
    log_format: LogFormat = Field("auto", description="auto: text if stderr is a terminal, else json")
    log_requests: Literal["on", "off", "errors"] = Field(
        "errors",
        description="a line for each request (on), none (off), or one for each with status 400 and above (errors)",
    )
    tracing: bool = Field(default=False, description="OpenTelemetry spans, sent as the OTEL_* variables configure")
    keys: Path | None = Field(None, description="file of API keys; without one no key is required")
    metrics_without_key: bool = Field(default=False, description="/metrics requires no key, even if operations do")
    docs_without_key: bool = Field(
        default=False, description="/docs and /openapi.json require no key, even if operations do"
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="origins, separated by commas, whose pages may send requests from a browser; * is all"
    )

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, origins: Any) -> Any:
        if isinstance(origins, str):
            return tuple(origin.strip() for origin in origins.split(",") if origin.strip())
        return origins

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/\s*]+", origin):
                raise ValueError(f"{origin[:100]!r} is no origin, as https://example.org:8443 is")
        return origins

    @field_validator("models")
    @classmethod
    def _check_models_folder(cls, models: Path) -> Path:
        try:
            is_folder = call_within(READ_SECONDS, models.is_dir, models)
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror or error}") from error
        if not is_folder:
            raise ValueError("must be a folder that exists")
        return models

    @model_validator(mode="after")
    def _check_totals(self) -> Self:
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


def load(**arguments: Any) -> Settings:
    """Settings from command-line arguments (None: not given), the environment, the settings file, defaults.

    Raises:
        SettingsError: an unknown AUTOENCODER_* variable or name in the file, or a value out of range.
    """
    variables = {f"{PREFIX}{name.upper()}" for name in (*Settings.model_fields, "settings", *OTHER_VARIABLES)}
    for variable in os.environ:
        if variable.upper().startswith(PREFIX) and variable.upper() not in variables:
            raise SettingsError(f"{variable} is not a setting; {_suggest(variable.upper(), variables)}")
    file_values = read_file()
    origins = find_origins(**arguments)
    values = {name: file_values[name] for name, origin in origins.items() if origin == str(find_file())}
    try:
        return Settings(**{**values, **{name: value for name, value in arguments.items() if value is not None}})
    except ValidationError as error:
        raise SettingsError(_describe_error(error, origins)) from error


def find_origins(**arguments: Any) -> dict[str, str]:
    """Where each setting that is no default comes from: "command line", "environment", or the file's path."""
    variables = {variable.upper() for variable in os.environ}
    origins = dict.fromkeys(read_file(), str(find_file()))
    origins |= {name: "environment" for name in Settings.model_fields if f"{PREFIX}{name.upper()}" in variables}
    return origins | {name: "command line" for name, value in arguments.items() if value is not None}


def find_file() -> Path:
    """The settings file: the one that AUTOENCODER_SETTINGS names, else DEFAULT_FILE in the working folder."""
    return Path(os.environ.get(f"{PREFIX}SETTINGS", DEFAULT_FILE))


def read_file() -> dict[str, Any]:
    """The values in the settings file, {} if there is none.

    Raises:
        SettingsError: it cannot be read, holds an unknown name, or a value of another type than the setting's.
    """
    path = find_file()
    try:
        data = call_within(READ_SECONDS, lambda: read_regular(path, MAX_FILE_BYTES), path)
        values = tomllib.loads(data.decode())
    except FileNotFoundError:
        if path == DEFAULT_FILE:
            return {}
        raise SettingsError(f"{PREFIX}SETTINGS={path} does not exist") from None
    except OSError as error:
        raise SettingsError(f"the settings file {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # UnicodeDecodeError and TOMLDecodeError are ValueErrors
        raise SettingsError(f"the settings file {path} cannot be read: {error}") from error
    for name, value in values.items():
        if name not in Settings.model_fields:
            raise SettingsError(f"{path}: {name} is not a setting; {_suggest(name, set(Settings.model_fields))}")
        _check_type(path, name, value)
    return values


def write_file(changes: Mapping[str, int]) -> Path:
    """Change values in the settings file and keep all others; raises SettingsError if it cannot be written."""
    path, values = find_file(), {**read_file(), **changes}
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]  # such values are TOML as well
    try:
        write_whole(path, ("\n".join(lines) + "\n").encode())
    except OSError as error:
        raise SettingsError(f"the settings file {path} cannot be written: {error.strerror or error}") from error
    return path


def _suggest(name: str, names: set[str]) -> str:
    matches = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {matches[0]}?" if matches else f"known are {', '.join(sorted(names))}"


def _check_type(path: Path, name: str, value: object) -> None:
    """TOML has types: "80" is no number and true is not 1. Text in the environment is converted instead."""
    expected = _TYPE_NAMES.get(Settings.model_fields[name].annotation or str, "text")
    actual = _TYPE_NAMES.get(type(value), f"a {type(value).__name__}")
    if actual != expected and (expected, actual) != ("a number", "a whole number") and not isinstance(value, list):
        raise SettingsError(
            f"{path}: {name} = {json.dumps(value, default=str)} is refused: it is {actual}, not {expected}"
        )


def _describe_error(error: ValidationError, origins: Mapping[str, str]) -> str:
    first_error = error.errors()[0]
    reason = first_error["msg"].removeprefix("Value error, ")
    if not first_error["loc"]:
        return reason
    name = str(first_error["loc"][0])
    description = Settings.model_fields[name].description
    origin = origins.get(name, "environment")
    assignments = {
        "environment": f"{PREFIX}{name.upper()}={first_error['input']}",
        "command line": f"--{name} {first_error['input']}",
    }
    assignment = assignments.get(origin, f"{origin}: {name} = {first_error['input']}")
    return f"{assignment} is refused ({description}): {reason[0].lower()}{reason[1:]}"
