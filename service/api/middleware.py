"""Around everything: who asks is checked; what happened is counted, logged, traced; answers get their headers.

request id, traceparent -> [CORS] -> key -> service.api.router -> answer + headers -> metrics, one log line, spans

One layer and not a stack of middlewares: each would wrap `send` and walk the headers again.
"""

import logging
import os
import re
from http import HTTPStatus
from itertools import count
from time import perf_counter
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import error_handlers
from service.api.auth import Keys
from service.api.router import HEALTH, METRICS, Front
from service.errors import ServiceError
from service.observability.metrics import Metrics
from service.observability.request_record import KEY, Seen
from service.observability.tracing import Tracing
from service.server.raw_response import lines
from service.settings import Settings

_DOCUMENTATION = ("/docs", "/static-offline-docs")
_PAGE = "/page/"  # and "/": files of the service itself, which say what they may load (service.web.routes)
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")

Headers = list[tuple[bytes, bytes]]
_ALWAYS: Headers = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
_NOTHING_RUNS = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_OF_ANSWERS: Headers = [*_ALWAYS, _NOTHING_RUNS, (b"cache-control", b"no-store")]
_LINES_OF_ANSWERS = lines(_OF_ANSWERS)
_OF_THE_REST: Headers = [*_ALWAYS, _NOTHING_RUNS]
_OF_THE_PAGE: Headers = _ALWAYS  # what it may load it says itself
_OF_DOCUMENTATION: Headers = [  # Swagger's page starts itself by a script in its HTML, and draws data: images
    *_ALWAYS,
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data:; frame-ancestors 'none'",
    ),
]
_EXPOSED = (
    "Inference-Header-Content-Length", "Model-Name", "Model-Version", "Reconstruction-Error",
    "Reconstruction-Error-Percentile", "Reconstruction-Unusual", "Retry-After", "X-Request-Id",
)  # fmt: skip
_TAKEN = (
    "Authorization", "Content-Type", "Inference-Header-Content-Length", "Request-Deadline", "X-API-Key",
    "X-Request-Id", "traceparent",
)  # fmt: skip

_log = logging.getLogger("service.access")


class Edge:
    """An ASGI application.

    Args:
        front: what it stands around; its `state` is this application's too.
        metrics: told of every request but health checks.
        keys: None: everybody may ask.
        tracing: None: no spans.
    """

    def __init__(
        self, front: Front, settings: Settings, metrics: Metrics, keys: Keys | None, tracing: Tracing | None
    ) -> None:
        self.front, self.behind = front, front.behind
        self.state = front.state
        self._prefix, self._number = os.urandom(10).hex().encode(), count()
        self._metrics, self._keys, self._tracing = metrics, keys, tracing
        self._logs, self._errors = settings.log_requests != "off", settings.log_requests == "errors"
        self._open = HEALTH
        if settings.metrics_without_key:
            self._open |= {METRICS}
        self._open_documentation = settings.docs_without_key
        self._app: ASGIApp = self._observe
        self._whole = not settings.cors_origins  # CORS adds its headers to messages
        if settings.cors_origins:
            self._app = CORSMiddleware(
                self._observe,
                allow_origins=settings.cors_origins,
                allow_methods=("GET", "POST"),
                allow_headers=_TAKEN,
                expose_headers=_EXPOSED,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._app(scope, receive, send)
        else:
            await self.behind(scope, receive, send)

    async def _observe(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        headers: dict[bytes, bytes] = dict(scope["headers"])
        scope[KEY] = seen = Seen()
        given = headers.get(b"x-request-id")
        own = (
            given
            if given is not None and _REQUEST_ID.fullmatch(given)
            else b"%s%012x" % (self._prefix, next(self._number))
        )
        seen.request_id = own.decode("ascii")
        if self._whole:
            seen.more = b"x-request-id: %b\r\n%b" % (own, _LINES_OF_ANSWERS)
        parent = headers.get(b"traceparent")
        if parent is not None and _TRACEPARENT.fullmatch(parent):
            seen.traceparent = parent.decode("latin-1")

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status = message["status"]
                more = _OF_ANSWERS if seen.operation else _more(path)
                message["headers"] = [*message["headers"], (b"x-request-id", own), *more]
            else:
                seen.bytes_out += len(message.get("body", b""))
            await send(message)

        try:
            if self._keys is not None and not self._is_open(path):
                try:
                    seen.key = await self._keys.admit(headers)
                except ServiceError as error:
                    scope["app"] = self
                    request = Request(scope, receive)
                    await (await error_handlers.answer(request, error))(scope, receive, answer)
                    return
            await self.front(scope, receive, answer)
        finally:
            if path not in HEALTH and seen.status:  # 0: the server is stopping, nobody was answered
                self._over(scope, seen, headers)

    def _is_open(self, path: str) -> bool:
        """Whether it is had without a key."""
        if path in self._open or path == "/" or path.startswith(_PAGE):
            return True
        return self._open_documentation and (path == "/openapi.json" or path.startswith(_DOCUMENTATION))

    def _over(self, scope: Scope, seen: Seen, headers: dict[bytes, bytes]) -> None:
        ended = perf_counter()
        seconds = ended - seen.started
        self._metrics.request(seen, seconds)
        if self._logs and (seen.status >= HTTPStatus.BAD_REQUEST or not (self._errors or scope["path"] == METRICS)):
            self._line(scope, seen, seconds)
        if self._tracing is not None:
            self._tracing.request(seen, scope["method"], headers, ended)

    def _line(self, scope: Scope, seen: Seen, seconds: float) -> None:
        """Never what was sent, nor the key or the query: names, numbers, the path."""
        if not _log.isEnabledFor(logging.INFO):
            return
        method, path, milliseconds = scope["method"], scope["path"][:500], round(seconds * 1000, 3)
        fields: dict[str, Any] = {
            "method": method,
            "path": path,
            "model": seen.model,
            "version": seen.version,
            "operation": seen.operation,
            "status": seen.status,
            "milliseconds": milliseconds,
            "bytes_in": seen.bytes_in,
            "bytes_out": seen.bytes_out,
            "request_id": seen.request_id,
        }
        if seen.trace_id:
            fields["trace_id"] = seen.trace_id
        if seen.key:
            fields["key"] = seen.key
        if seen.reason:
            fields["reason"] = seen.reason
        words = (method, path, seen.status, milliseconds, seen.request_id)
        # handle and not info: who called is of no interest, and to find it out takes longer than all the rest
        record = _log.makeRecord(_log.name, logging.INFO, "", 0, "%s %r %d %.3f ms %s", words, None)
        record.fields = fields
        _log.handle(record)


def _more(path: str) -> Headers:
    if path == "/" or path.startswith(_PAGE):
        return _OF_THE_PAGE
    return _OF_DOCUMENTATION if path.startswith(_DOCUMENTATION) else _OF_THE_REST
