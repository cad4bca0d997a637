"""Rejections: problem documents for requests that no route sees.

ServiceError -> bytes of a whole response (nothing of the request is usable) | ASGI application (its turn comes later)
"""

from collections.abc import Collection, Iterable

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.errors import PROBLEM_MEDIA_TYPE, ServiceError, problem
from service.server.raw_response import header_lines


def rejection_bytes(error: ServiceError, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A response of HTTP/1.1 that closes its connection."""
    body = _problem_body(error, "")
    return b"".join(
        (STATUS_LINE[error.status], header_lines([*default_headers, *_problem_headers(error, body)]), b"\r\n", body)
    )


def rejecting_application(
    error: ServiceError, application: ASGIApp | None = None, always_answered: Collection[str] = ()
) -> ASGIApp:
    """An application that answers every request with `error`, but leaves `always_answered` paths to `application`."""

    async def reject(scope: Scope, receive: Receive, send: Send) -> None:
        if application is not None and scope["path"] in always_answered:
            await application(scope, receive, send)
            return
        body = _problem_body(error, scope["path"])
        await send({"type": "http.response.start", "status": error.status, "headers": _problem_headers(error, body)})
        await send({"type": "http.response.body", "body": body})

    return reject


async def answer_options(_scope: Scope, _receive: Receive, send: Send) -> None:
    """An application: the answer to `OPTIONS *`, which asks about the server and not about a resource."""
    headers = [(b"allow", b"GET, HEAD, POST"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _problem_headers(error: ServiceError, body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        *((name.lower().encode(), value.encode()) for name, value in error.headers.items()),
    ]


def _problem_body(error: ServiceError, instance: str) -> bytes:
    return orjson.dumps(problem(instance, error.status, error.title, error.detail))
