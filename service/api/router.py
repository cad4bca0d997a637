"""In front of FastAPI: operations are answered here, everything else is passed on.

POST /v1/models/<name>[/versions/<version>]/<operation> -> answer -> bytes        all else -> the stack behind
POST /v2/models/<name>[/versions/<version>]/infer       -> infer  -> bytes

FastAPI knows these addresses too, for OpenAPI; small requests are spared its layers. Errors become the same problem
documents.
"""

import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import get_args

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from service.api import error_handlers
from service.model.manifest import Operation
from service.observability.request_record import of
from service.server.raw_response import write

HEALTH = frozenset({"/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})
METRICS = "/metrics"
OPERATIONS: tuple[Operation, ...] = get_args(Operation)

_ADDRESS = re.compile(rf"/v1/models/([^/]+)(?:/versions/([^/]+))?/({'|'.join(OPERATIONS)})")
_INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")


class Documented(APIRoute):
    """A route for OpenAPI and for 405: its POSTs are answered in front."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "POST"})


async def documented() -> None:
    raise AssertionError("This is a bug: operations are answered in front")


class Front:
    """An ASGI application.

    Args:
        behind: takes what is no operation; its `state` is this application's too.
        answer: (request, name, version or None, operation) -> response; may raise anything.
        infer: (request, name, version or None) -> response; the same.
    """

    def __init__(
        self,
        behind: FastAPI,
        answer: Callable[[Request, str, str | None, Operation], Awaitable[Response]],
        infer: Callable[[Request, str, str | None], Awaitable[Response]],
    ) -> None:
        self.behind, self._answer, self._infer = behind, answer, infer
        self.state = behind.state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = None
        answer: Callable[..., Awaitable[Response]] = self._answer
        if scope["type"] == "http" and scope["method"] == "POST":
            found = _ADDRESS.fullmatch(scope["path"])
            if found is None:
                found, answer = _INFER.fullmatch(scope["path"]), self._infer
        if found is None:
            await self.behind(scope, receive, send)
            return
        scope["app"] = self
        request = Request(scope, receive)
        seen = of(scope)
        seen.operation = found[3] if answer is self._answer else "infer"  # which one it is, the name will tell
        try:
            response = await answer(request, *found.groups())
        except Exception as error:  # noqa: BLE001  (every error becomes an answer)
            response = await error_handlers.answer(request, error)
            error_handlers.forget(error)
        written = write(scope, response, seen.more) if seen.more else None
        if written is None:
            await response(scope, receive, send)
        else:
            seen.status, seen.bytes_out = response.status_code, written
