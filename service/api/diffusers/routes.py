"""Routes of the remote protocol of diffusers, for OpenAPI: POST /diffusers/<model>/encode, /diffusers/<model>/decode.

service.api.router passes the requests themselves to service.api.operations.
"""

from typing import Any

from fastapi import FastAPI

from service.api import openapi
from service.api.diffusers.format import TENSOR
from service.api.diffusers.query import PARAMETERS
from service.api.router import document_operation
from service.codecs.formats import JPEG, OCTET_STREAM, PNG
from service.model.manifest import Operation

_TEXT = {"schema": {"type": "string"}}
_SUMMARIES: dict[Operation, str] = {
    "encode": "diffusers.utils.remote_utils.remote_encode: a picture or a tensor to latents",
    "decode": "diffusers.utils.remote_utils.remote_decode: latents to a picture or a tensor",
}


def add_diffusers_routes(app: FastAPI) -> None:
    for operation in _SUMMARIES:
        _document_operation(app, operation)


def _document_operation(app: FastAPI, operation: Operation) -> None:
    document_operation(
        app,
        "/diffusers",
        operation,
        f"diffusers_{operation}",
        lambda has_version: _parameters(operation, has_version=has_version),
        {"requestBody": _describe_body(operation)},
        tags=["diffusers"],
        summary=_SUMMARIES[operation],
        response_model=None,
        responses=_responses(operation),
    )


def _describe_body(operation: Operation) -> dict[str, Any]:
    """One media type, as service.api.openapi describes files: others are not read by generators of clients."""
    picture = ", or without `shape` a picture as a file" if operation == "encode" else ""
    description = f"the bytes of a tensor, little-endian ({TENSOR}){picture}"
    return {"required": True, "description": description, "content": {OCTET_STREAM: openapi.BINARY}}


def _parameters(operation: Operation, *, has_version: bool) -> list[dict[str, Any]]:
    path = openapi.parameters(operation, has_version=has_version)
    return [
        *(parameter for parameter in path if parameter["in"] != "query"),
        *(
            {"name": name, "in": "query", "schema": parameter.schema, "description": parameter.description}
            for name, parameter in PARAMETERS.items()
            if parameter.applies_to(operation)
        ),
    ]


def _responses(operation: Operation) -> dict[int | str, dict[str, Any]]:
    media_types = (OCTET_STREAM, *((PNG, JPEG) if operation == "decode" else ()))
    content = dict.fromkeys(media_types, openapi.BINARY)
    headers = dict.fromkeys(("shape", "dtype", "Model-Name", "Model-Version"), _TEXT)
    problems = {status: facts for status, facts in openapi.responses(operation).items() if status not in (200, 406)}
    return {200: {"description": "the result", "content": content, "headers": headers}, **problems}
