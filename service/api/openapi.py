"""OpenAPI document: parameters, bodies and responses of the operations, problem documents, API keys.

OPERATIONS, PARAMETERS, media types -> routes (service.api.v1.routes) -> FastAPI -> customize_openapi -> /openapi.json

Examples are valid requests to the models that the documentation names.
"""

import base64
from typing import Any

import numpy as np
from fastapi import FastAPI

from service.api.query import DEADLINE_HEADER, PARAMETERS
from service.api.router import HEALTH, METRICS
from service.api.schemas import Line
from service.api.v1.ndjson import OPERATIONS_ON_FILES
from service.api.v1.neighbours import COUNT, MAX_COUNT
from service.codecs import images, pdf
from service.codecs.formats import (
    CSV,
    JSON,
    MULTIPART_FORM,
    NDJSON,
    NPY,
    OCTET_STREAM,
    PDF,
    PNG,
    READABLE_MEDIA_TYPES,
    TABLE_MEDIA_TYPES,
    WRITABLE_MEDIA_TYPES,
)
from service.errors import PROBLEM_MEDIA_TYPE
from service.imaging.picture import Picture
from service.inference.operations import OPERATIONS
from service.model.manifest import Operation
from service.settings import Settings

_PROBLEM = "#/components/schemas/Problem"
_PROBLEM_CONTENT = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": _PROBLEM}}}
_V2_ERROR_CONTENT = {JSON: {"schema": {"$ref": "#/components/schemas/ProtocolError"}}}
BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_TEXT = {"schema": {"type": "string"}}
_PROBLEMS = {
    400: "the body is not the JSON, .npy or form that it says it is",
    404: "no such model or version; the sentence names what there is",
    406: "none of the answer's forms is in Accept",
    408: "the body came too slowly",
    409: "the package has other operations, or the latents are of another version",
    413: "body, picture or batch over a limit",
    415: "media type not taken; `accepted` lists those that are",
    422: "understood, but shape, dtype, size or values cannot be used",
    431: "address and headers over their limit",
    503: "all connections have requests in hand; come again after Retry-After seconds",
    504: "not done within the deadline",
    429: "full; come again after Retry-After seconds",
}


def parameters(operation: Operation, *, has_version: bool) -> list[dict[str, Any]]:
    """OpenAPI's parameters of an operation's route: of the path, of the query, the header Request-Deadline."""
    path = {"name": "a model of /v1/models"} | ({"version": "one of its versions"} if has_version else {})
    deadline = "seconds that the request may take, instead of the service's own"
    return [
        *(
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": description}
            for name, description in path.items()
        ),
        *(
            {"name": name, "in": "query", "schema": parameter.schema, "description": parameter.description}
            for name, parameter in PARAMETERS.items()
            if parameter.applies_to(operation)
        ),
        {
            "name": DEADLINE_HEADER,
            "in": "header",
            "schema": {"type": "number", "exclusiveMinimum": 0},
            "description": deadline,
        },
        {
            "name": "Accept",
            "in": "header",
            "schema": {"type": "string"},
            "description": "the media type of the result, for clients that are generated from this document",
        },
    ]


def neighbours_parameters(*, has_version: bool) -> list[dict[str, Any]]:
    """Those of encode that decide how a picture is read, and `count`."""
    count = {"type": "integer", "minimum": 1, "maximum": MAX_COUNT, "default": COUNT}
    taken = [p for p in parameters("encode", has_version=has_version) if p["name"] not in ("top", "latents")]
    return [*taken, {"name": "count", "in": "query", "schema": count, "description": "neighbours of each sample"}]


def neighbours_responses() -> dict[int | str, dict[str, Any]]:
    """As those of encode; a 200 is JSON or CSV."""
    documented = responses("encode")
    return {**documented, 200: {**documented[200], "content": {CSV: BINARY}}}


def request_body(operation: Operation) -> dict[str, Any]:
    """OpenAPI's member requestBody of an operation; none if it takes no body."""
    if OPERATIONS[operation].is_drawn:
        return {}
    takes_latents = OPERATIONS[operation].takes_latents
    has_tables = operation in ("encode", "decode", "reconstruct")
    media_types = (
        *(() if takes_latents else READABLE_MEDIA_TYPES),
        *((PDF,) if _handles_pdf(operation) else ()),
        NPY,
        *(TABLE_MEDIA_TYPES if has_tables else ()),
    )
    content = _latents_content() if takes_latents else _samples_content()
    content[OCTET_STREAM] = BINARY
    description = (
        f"JSON, {'' if takes_latents else 'a form, '}or one file as it is: {', '.join(media_types)}. A file may be sent"
        f" as {OCTET_STREAM}, since its first bytes say what it is, or under its own media type."
        + (
            " A table is rows of numbers by the names of their columns, for latents [N,D] and models of vectors."
            if has_tables
            else ""
        )
    )
    return {"requestBody": {"required": True, "description": description, "content": content}}


def responses(operation: Operation) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's responses of an operation: the media types and headers of a 200, and all problems."""
    spec = OPERATIONS[operation]
    media_types = (NPY,) if spec.returns_latents else (*WRITABLE_MEDIA_TYPES, NPY)
    if operation in ("encode", "decode", "reconstruct"):
        media_types = (*media_types, *TABLE_MEDIA_TYPES)
    content: dict[str, Any] = dict.fromkeys((*media_types, OCTET_STREAM), BINARY)
    if _handles_pdf(operation):
        content[PDF] = BINARY
    if operation in OPERATIONS_ON_FILES:
        line = Line.model_json_schema(ref_template="#/components/schemas/{model}")
        content[NDJSON] = {"schema": {name: value for name, value in line.items() if name != "$defs"}}
    headers = {"Model-Name": _TEXT, "Model-Version": {"schema": {"type": "integer"}}}
    if spec.is_drawn:
        headers["Sample-Seed"] = {"schema": {"type": "integer"}}
    elif not spec.returns_latents:
        headers["Dropped-Metadata"] = _TEXT
    if spec.keeps_size:
        headers["Pixel-White"] = _TEXT
    if spec.returns_errors:
        names = (
            "Reconstruction-Error",
            "Reconstruction-Error-Percentile",
            "Reconstruction-Unusual",
            "Reconstruction-Score",
            "Reconstruction-Score-Percentile",
            "Explained-Variance",
        )
        headers |= dict.fromkeys(names, _TEXT)
    problems: dict[int | str, dict[str, Any]] = {
        status: {"description": description, "content": _PROBLEM_CONTENT} for status, description in _PROBLEMS.items()
    }
    return {200: {"description": "the result", "content": content, "headers": headers}, **problems}


def blend_responses() -> dict[int | str, dict[str, Any]]:
    """OpenAPI's responses of /v1/blend."""
    content = dict.fromkeys((OCTET_STREAM, *WRITABLE_MEDIA_TYPES), BINARY)
    problems: dict[int | str, dict[str, Any]] = {
        status: {"description": _PROBLEMS[status], "content": _PROBLEM_CONTENT}
        for status in (400, 408, 413, 415, 422, 429, 503, 504)
    }
    description = "the blend, in the format of `denoised`"
    return {200: {"description": description, "content": content, "headers": {"Dropped-Metadata": _TEXT}}, **problems}


def customize_openapi(app: FastAPI, settings: Settings) -> None:
    """Replace `app.openapi`: errors are problem documents, and with settings.keys the routes that need a key say so."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        _set_problem_media_type(document)
        _put_files_first(document)
        if settings.keys is not None:
            _add_security(document, settings)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _latents_content() -> dict[str, Any]:
    latents = {"type": "array", "items": {}, "description": "[N,...] or one latent; the body that encode answered fits"}
    schema = {
        "type": "object",
        "properties": {
            "latents": latents,
            "indices": {
                "type": "array",
                "items": {},
                "description": "with values, in place of latents",
            },
            "values": {"type": "array", "items": {}},
            "scaled": {"type": "boolean", "description": "as of encode?latents=scaled"},
            "model": {"type": "string"},
            "version": {"type": "integer"},
            "operation": {"type": "string", "enum": ["encode"]},
        },
        "additionalProperties": False,
    }
    example = [round(float(value), 3) for value in np.sin(np.arange(32))]
    return {JSON: {"schema": schema, "example": {"latents": [example]}}}


def _samples_content() -> dict[str, Any]:
    image = {"type": "string", "description": "a base64 image, or a data: URL"}
    numbers = {"type": "array", "items": {}}
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {"inputs": {"oneOf": [image, {"type": "array", "items": image}, numbers]}},
        "additionalProperties": False,
    }
    form = {
        "type": "object",
        "required": ["image"],
        "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
    }
    return {
        JSON: {"schema": schema, "example": {"inputs": [_example_image()]}},
        MULTIPART_FORM: {"schema": form},
    }


def _example_image() -> str:
    """A drawing of a cat's face in nine strokes: PNG, 28x28, base64."""
    pixels = np.zeros((28, 28), np.uint8)
    pixels[8:24, 5] = pixels[8:24, 22] = pixels[23, 5:23] = pixels[9, 9:19] = 255
    for step in range(5):
        pixels[8 - step, 5 + step // 2] = pixels[4 + step, 7 + step // 2] = 255
        pixels[8 - step, 22 - step // 2] = pixels[4 + step, 20 - step // 2] = 255
    pixels[14, 9:11] = pixels[14, 17:19] = pixels[18, 13:15] = 255
    return base64.b64encode(images.encode(Picture(pixels[:, :, None]), PNG)).decode()


def _handles_pdf(operation: Operation) -> bool:
    return OPERATIONS[operation].keeps_size and pdf.IS_INSTALLED


def _set_problem_media_type(document: dict[str, Any]) -> None:
    """FastAPI documents errors as application/json; those of /v1 are application/problem+json."""
    for path in document["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                content = response.get("content", {})
                if content.get(JSON, {}).get("schema", {}).get("$ref") == _PROBLEM:
                    content[PROBLEM_MEDIA_TYPE] = content.pop(JSON)


def _put_files_first(document: dict[str, Any]) -> None:
    """Generated clients parse the first media type that they know: a file of denoise and sample, else JSON."""
    for path, methods in document["paths"].items():
        name = path.rpartition("/")[2]
        spec = OPERATIONS.get(name) if path.startswith("/v1/") else None
        if spec is not None and (spec.keeps_size or spec.is_drawn):
            response = methods["post"]["responses"]["200"]
            response["content"] = {OCTET_STREAM: BINARY} | response["content"]


def _add_security(document: dict[str, Any], settings: Settings) -> None:
    """How a key is sent, which paths need none, and the errors of those that do."""
    public_paths = HEALTH | ({METRICS} if settings.metrics_without_key else set())
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    document["security"] = [{"bearer": []}, {"header": []}]
    for path, methods in document["paths"].items():
        content = _V2_ERROR_CONTENT if path.startswith("/v2") else _PROBLEM_CONTENT
        errors = {
            "401": {"description": "no key, or one that is not known", "content": content},
            "429": {"description": "full, or the key was used too often; see Retry-After", "content": content},
        }
        for operation in methods.values():
            if path in public_paths:
                operation["security"] = []
            else:
                operation["responses"].update(errors)
