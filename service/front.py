"""In front of FastAPI: operations are answered here, everything else is passed on.

POST /v1/models/<name>[/versions/<version>]/<operation> -> answer -> bytes        all else -> the stack behind

FastAPI knows these addresses too, for OpenAPI; small requests are spared its layers. Errors become the same problem
documents.
"""

import re
from collections.abc import Awaitable, Callable
from typing import get_args

from fastapi import FastAPI, Request, Response
from starlette.types import Receive, Scope, Send

from service import problems
from service.manifest import Operation
from service.seen import of

OPERATIONS: tuple[Operation, ...] = get_args(Operation)

_ADDRESS = re.compile(rf"/v1/models/([^/]+)(?:/versions/([^/]+))?/({'|'.join(OPERATIONS)})")


class Front:
    """An ASGI application.

    Args:
        behind: takes what is no operation; its `state` is this application's too.
        answer: (request, name, version or None, operation) -> response; may raise anything.
    """

    def __init__(
        self, behind: FastAPI, answer: Callable[[Request, str, str | None, Operation], Awaitable[Response]]
    ) -> None:
        self.behind, self._answer = behind, answer
        self.state = behind.state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = None
        if scope["type"] == "http" and scope["method"] == "POST":
            found = _ADDRESS.fullmatch(scope["path"])
        if found is None:
            await self.behind(scope, receive, send)
            return
        scope["app"] = self
        request = Request(scope, receive)
        name, version, operation = found.groups()
        of(scope).operation = operation
        try:
            response = await self._answer(request, name, version, operation)  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001  (every error becomes an answer)
            response = await problems.answer(request, error)
            problems.forget(error)
        await response(scope, receive, send)
