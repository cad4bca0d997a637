"""Router: inference requests bypass FastAPI's router, all others are passed on.

POST /v1/models/<name>[/versions/<version>]/<operation> -> handle_v1 -> response      others -> fallback (FastAPI)
POST /v1/models/<name>[/versions/<version>]/neighbours  -> handle_neighbours
POST /v2/models/<name>[/versions/<version>]/infer       -> handle_v2 -> response
POST /diffusers/<name>[/versions/<version>]/<operation> -> handle_diffusers -> response

FastAPI has these routes only for OpenAPI and for status 405. Its layers cost more than a small request's inference.
Errors become the same problem documents. HEAD is answered wherever GET is, with the same headers.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message, Receive, Scope, Send

from service.api import error_handlers
from service.inference.operations import OPERATIONS
from service.model.manifest import Operation
from service.observability.request_record import request_record
from service.server.raw_response import send_at_once

HEALTH = frozenset({"/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})
METRICS = "/metrics"

_V1_PATH = re.compile(rf"/v1/models/([^/]+)(?:/versions/([^/]+))?/({'|'.join(OPERATIONS)})")
_V2_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
_NEIGHBOURS_PATH = re.compile(r"/v1/models/([^/]+)(?:/versions/([^/]+))?/neighbours")
_DIFFUSERS_PATH = re.compile(r"/diffusers/([^/]+)(?:/versions/([^/]+))?/(encode|decode)")
_FIXED_OPERATIONS = {_V2_PATH: "infer", _NEIGHBOURS_PATH: "neighbours"}


class DocumentationRoute(APIRoute):
    """A POST route that exists for OpenAPI and for status 405; OperationRouter handles its requests."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "POST"})


async def schema_only() -> None:  # of a DocumentationRoute; a docstring would be shown by OpenAPI
    raise AssertionError("This is a bug: OperationRouter handles inference requests")


def document_operation(
    app: FastAPI,
    prefix: str,
    action: str,
    identifier: str,
    parameters: Callable[[bool], list[dict[str, Any]]],
    request_body: Mapping[str, Any],
    **facts: Any,
) -> None:
    """Document <prefix>/<name>/<action>, and the same of one version, for OpenAPI.

    Args:
        identifier: the operation's, without a version.
        parameters: of the two addresses, by whether there is a version.
        request_body: {"requestBody": ...}.
        facts: further arguments of the route, equal for both.
    """
    for has_version, model, suffix in ((False, "{name}", ""), (True, "{name}/versions/{version}", "_version")):
        app.router.routes.append(
            DocumentationRoute(
                f"{prefix}/{model}/{action}",
                schema_only,
                methods=["POST"],
                operation_id=f"{identifier}{suffix}",
                openapi_extra={"parameters": parameters(has_version), **request_body},
                **facts,
            )
        )


class OperationRouter:
    """An ASGI application.

    Args:
        fallback: handles all other requests.
        handle_v1: (request, name, version or None, operation) -> response; may raise anything.
        handle_v2: (request, name, version or None) -> response; may raise anything.
        handle_diffusers: as handle_v1.
        handle_neighbours: as handle_v2.
    """

    def __init__(
        self,
        fallback: FastAPI,
        handle_v1: Callable[[Request, str, str | None, Operation], Awaitable[Response]],
        handle_v2: Callable[[Request, str, str | None], Awaitable[Response]],
        handle_diffusers: Callable[[Request, str, str | None, Operation], Awaitable[Response]],
        handle_neighbours: Callable[[Request, str, str | None], Awaitable[Response]],
    ) -> None:
        self.fallback, self._handle_v1, self._handle_v2 = fallback, handle_v1, handle_v2
        self._handle_diffusers, self._handle_neighbours = handle_diffusers, handle_neighbours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match = None
        handle: Callable[..., Awaitable[Response]] = self._handle_v1
        if scope["type"] == "http" and scope["method"] == "POST":
            match = _V1_PATH.fullmatch(scope["path"])
            if match is None:
                match, handle = _V2_PATH.fullmatch(scope["path"]), self._handle_v2
            if match is None:
                match, handle = _DIFFUSERS_PATH.fullmatch(scope["path"]), self._handle_diffusers
            if match is None:
                match, handle = _NEIGHBOURS_PATH.fullmatch(scope["path"]), self._handle_neighbours
        if match is None:
            if scope["type"] == "http" and scope["method"] == "HEAD":
                scope, send = {**scope, "method": "GET"}, _without_body(send)
            await self.fallback(scope, receive, send)
            return
        request = Request(scope, receive)
        record = request_record(scope)
        record.operation = _FIXED_OPERATIONS.get(match.re) or match[3]  # until the model is known
        try:
            response = await handle(request, *match.groups())
        except Exception as error:  # noqa: BLE001  (every error becomes a response)
            response = await error_handlers.error_response(request, error)
            error_handlers.drop_traceback(error)
        size = send_at_once(scope, response, record.extra_headers) if record.extra_headers else None
        if size is None:
            await response(scope, receive, send)
        else:
            record.status, record.bytes_out = response.status_code, size


def _without_body(send: Send) -> Send:
    async def send_without_body(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return send_without_body
