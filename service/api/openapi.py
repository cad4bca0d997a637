"""What OpenAPI says of the operations: media types in and out, with examples that work as they stand."""

import base64
from typing import Any

import numpy as np
from fastapi import FastAPI

from service.api.query import DEADLINE_HEADER, PARAMETERS
from service.api.router import HEALTH, METRICS
from service.api.schemas import Line
from service.codecs import images, pdf
from service.codecs.formats import (
    JSON,
    MULTIPART_FORM,
    NDJSON,
    NPY,
    PDF,
    PNG,
    READABLE_MEDIA_TYPES,
    WRITABLE_MEDIA_TYPES,
)
from service.errors import PROBLEM_MEDIA_TYPE
from service.imaging.picture import Picture
from service.model.manifest import Operation
from service.settings import Settings

SUMMARIES: dict[Operation, str] = {
    "encode": "Samples to latents",
    "decode": "Latents to samples",
    "reconstruct": "Samples to latents and back, with the reconstruction error and its percentile",
    "denoise": "Corrupted samples to clean ones",
}
EXAMPLE_MODEL: dict[Operation, str] = {
    "encode": "cats-stacked",
    "decode": "cats-stacked",
    "reconstruct": "cats-convolutional",
    "denoise": "cats-denoising",
}
_PROBLEM = "#/components/schemas/Problem"
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def drawing() -> str:
    """A small drawing, base64 PNG, 28x28: the face of a cat in nine strokes."""
    pixels = np.zeros((28, 28), np.uint8)
    pixels[8:24, 5] = pixels[8:24, 22] = pixels[23, 5:23] = pixels[9, 9:19] = 255
    for step in range(5):
        pixels[8 - step, 5 + step // 2] = pixels[4 + step, 7 + step // 2] = 255
        pixels[8 - step, 22 - step // 2] = pixels[4 + step, 20 - step // 2] = 255
    pixels[14, 9:11] = pixels[14, 17:19] = pixels[18, 13:15] = 255
    return base64.b64encode(images.encode(Picture(pixels[:, :, None]), PNG)).decode()


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
            if parameter.operation in (None, operation)
        ),
        {
            "name": DEADLINE_HEADER,
            "in": "header",
            "schema": {"type": "number", "exclusiveMinimum": 0},
            "description": deadline,
        },
    ]


def request_body(operation: Operation) -> dict[str, Any]:
    """OpenAPI's requestBody of an operation."""
    numbers = {"type": "array", "items": {}}
    if operation == "decode":
        schema: dict[str, Any] = {
            "type": "object",
            "required": ["latents"],
            "properties": {
                "latents": {**numbers, "description": "[N,...] or one latent; the body that encode answered fits"},
                "model": {"type": "string"},
                "version": {"type": "integer"},
                "operation": {"type": "string", "enum": ["encode"]},
            },
            "additionalProperties": False,
        }
        latent = [round(float(v), 3) for v in np.sin(np.arange(32))]
        content: dict[str, Any] = {JSON: {"schema": schema, "example": {"latents": [latent]}}}
    else:
        text = {"type": "string", "description": "a base64 image, or a data: URL"}
        inputs = {"oneOf": [text, {"type": "array", "items": text}, numbers]}
        schema = {
            "type": "object",
            "required": ["inputs"],
            "properties": {"inputs": inputs},
            "additionalProperties": False,
        }
        form = {
            "type": "object",
            "required": ["image"],
            "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
        }
        content = {
            JSON: {"schema": schema, "example": {"inputs": [drawing()]}},
            MULTIPART_FORM: {"schema": form},
            **dict.fromkeys((*READABLE_MEDIA_TYPES, PDF) if _with_pdf(operation) else READABLE_MEDIA_TYPES, _BINARY),
        }
    content[NPY] = _BINARY
    return {"required": True, "content": content}


def responses(operation: Operation) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's responses of an operation: the forms of a 200, and what is refused how."""
    forms: dict[str, Any] = (
        {NPY: _BINARY} if operation == "encode" else dict.fromkeys((*WRITABLE_MEDIA_TYPES, NPY), _BINARY)
    )
    if _with_pdf(operation):
        forms[PDF] = _BINARY
    if operation == "encode":
        line = Line.model_json_schema(ref_template="#/components/schemas/{model}")
        forms[NDJSON] = {"schema": {name: value for name, value in line.items() if name != "$defs"}}
    headers = {
        "Model-Name": {"schema": {"type": "string"}},
        "Model-Version": {"schema": {"type": "integer"}},
    }
    if operation == "reconstruct":
        headers["Reconstruction-Error"] = {"schema": {"type": "string"}}
        headers["Reconstruction-Error-Percentile"] = {"schema": {"type": "string"}}
        headers["Reconstruction-Unusual"] = {"schema": {"type": "string"}}
    reasons = {
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
    refused: dict[int | str, dict[str, Any]] = {
        status: {
            "description": reason,
            "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": _PROBLEM}}},
        }
        for status, reason in reasons.items()
    }
    return {200: {"description": "the result", "content": forms, "headers": headers}, **refused}


def _with_pdf(operation: Operation) -> bool:
    return operation == "denoise" and pdf.IS_INSTALLED


def install(app: FastAPI) -> None:
    """FastAPI documents a refusal's model as application/json; ours are problem documents everywhere."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        document = made()
        for path in document["paths"].values():
            for operation in path.values():
                for response in operation["responses"].values():
                    content = response.get("content", {})
                    if content.get("application/json", {}).get("schema", {}).get("$ref") == _PROBLEM:
                        content[PROBLEM_MEDIA_TYPE] = content.pop("application/json")
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def secure(app: FastAPI, settings: Settings) -> None:
    """Let the document say which addresses want a key, how it is sent and what comes without it."""
    plain = app.openapi
    without_key = HEALTH | ({METRICS} if settings.metrics_without_key else set())
    problem = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": _PROBLEM}}}
    of_v2 = {"application/json": {"schema": {"$ref": "#/components/schemas/ProtocolError"}}}

    def refused(content: dict[str, Any]) -> dict[str, Any]:
        return {
            "401": {"description": "no key, or one that is not known", "content": content},
            "429": {"description": "full, or the key was used too often; see Retry-After", "content": content},
        }

    def secured() -> dict[str, Any]:
        document = plain()
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        document["security"] = [{"bearer": []}, {"header": []}]
        for path, methods in document["paths"].items():
            for operation in methods.values():
                if path in without_key:
                    operation["security"] = []
                else:
                    operation["responses"].update(refused(of_v2 if path.startswith("/v2") else problem))
        return document

    app.openapi = secured  # type: ignore[method-assign]
