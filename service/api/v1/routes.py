"""Routes of /v1's operations, for OpenAPI and for addresses that are not operations.

service.api.router passes the requests themselves to service.api.operations.
"""

from fastapi import FastAPI, Response

from service.api import openapi
from service.api.router import document_operation
from service.api.schemas import Answer, Neighbours
from service.errors import UnknownOperation
from service.inference.operations import OPERATIONS
from service.model.manifest import Operation


def add_operation_routes(app: FastAPI) -> None:
    """The operations, for OpenAPI."""
    for operation in OPERATIONS:
        _document_operation(app, operation)
    _document_neighbours(app)


def add_unknown_operation_routes(app: FastAPI) -> None:
    """Addresses like those of operations: UnknownOperation (404)."""

    @app.post("/v1/models/{name}/{operation}", include_in_schema=False)
    @app.post("/v1/models/{name}/versions/{version}/{operation}", include_in_schema=False)
    async def unknown(operation: str) -> Response:
        raise UnknownOperation(
            f"there is no operation {operation[:100]!r}; there are {', '.join(OPERATIONS)}", operations=list(OPERATIONS)
        )


def _document_operation(app: FastAPI, operation: Operation) -> None:
    document_operation(
        app,
        "/v1/models",
        operation,
        operation,
        lambda has_version: openapi.parameters(operation, has_version=has_version),
        openapi.request_body(operation),
        tags=["operations"],
        summary=OPERATIONS[operation].summary,
        description=f"Try it with `{OPERATIONS[operation].example_model}`.",
        response_model=Answer,
        responses=openapi.responses(operation),
    )


def _document_neighbours(app: FastAPI) -> None:
    document_operation(
        app,
        "/v1/models",
        "neighbours",
        "neighbours",
        lambda has_version: openapi.neighbours_parameters(has_version=has_version),
        openapi.request_body("encode"),
        tags=["operations"],
        summary="The nearest samples of the package's index, by their latents",
        description="Try it with `cats-convolutional`. The index is built by `autoencoder-service index`.",
        response_model=Neighbours,
        responses=openapi.neighbours_responses(),
    )
