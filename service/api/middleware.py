"""Middleware: request ids, API keys, security headers, metrics, access log, traces.

request id, traceparent -> [CORS] -> API key -> service.api.router -> response + headers -> metrics, log line, spans

One middleware and not a stack of them: each would wrap `send` and search the headers again.
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
from service.api.auth import ApiKeys
from service.api.router import HEALTH, METRICS, OperationRouter
from service.api.services import Services
from service.errors import ServiceError
from service.observability.request_record import RECORD_KEY, RequestRecord
from service.observability.tracing import Tracing
from service.server.raw_response import header_lines

_DOCUMENTATION = ("/docs", "/static-offline-docs")
_PAGE = "/page/"  # and "/": service.web.routes
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")

Headers = list[tuple[bytes, bytes]]
_COMMON: Headers = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
_LOADS_NOTHING = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_INFERENCE_HEADERS: Headers = [*_COMMON, _LOADS_NOTHING, (b"cache-control", b"no-store")]
_INFERENCE_LINES = header_lines(_INFERENCE_HEADERS)
_DEFAULT_HEADERS: Headers = [*_COMMON, _LOADS_NOTHING]
_PAGE_HEADERS: Headers = _COMMON  # its policy is in service.web.routes
_DOCUMENTATION_HEADERS: Headers = [  # Swagger's page has an inline script and inline styles, and images in data: URLs
    *_COMMON,
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data:; frame-ancestors 'none'",
    ),
]
_CORS_RESPONSE_HEADERS = (
    "Inference-Header-Content-Length", "Explained-Variance", "Model-Name", "Model-Version", "Reconstruction-Error",
    "Reconstruction-Error-Percentile", "Reconstruction-Unusual", "Reconstruction-Score",
    "Reconstruction-Score-Percentile", "Dropped-Metadata", "Retry-After", "X-Request-Id",
)  # fmt: skip
_CORS_REQUEST_HEADERS = (
    "Authorization", "Content-Type", "Inference-Header-Content-Length", "Request-Deadline", "X-API-Key",
    "X-Request-Id", "traceparent",
)  # fmt: skip

_log = logging.getLogger("service.access")


class RequestMiddleware:
    """An ASGI application.

    Args:
        router: handles the requests.
        services: its `settings`; its `metrics` count every request but health checks.
        keys: None: no request needs a key.
        tracing: None: no spans.
    """

    def __init__(
        self,
        router: OperationRouter,
        services: Services,
        keys: ApiKeys | None,
        tracing: Tracing | None,
    ) -> None:
        self.router, self.fallback = router, router.fallback
        self.services, settings = services, services.settings
        self._id_prefix, self._counter = os.urandom(10).hex().encode(), count()
        self._metrics, self._keys, self._tracing = services.metrics, keys, tracing
        self._logs_requests, self._logs_errors_only = settings.log_requests != "off", settings.log_requests == "errors"
        self._public_paths = HEALTH
        if settings.metrics_without_key:
            self._public_paths |= {METRICS}
        self._has_public_docs = settings.docs_without_key
        self._app: ASGIApp = self._handle
        self._sends_at_once = not settings.cors_origins  # Starlette's CORS middleware adds its headers to messages
        if settings.cors_origins:
            self._app = CORSMiddleware(
                self._handle,
                allow_origins=settings.cors_origins,
                allow_methods=("GET", "POST"),
                allow_headers=_CORS_REQUEST_HEADERS,
                expose_headers=_CORS_RESPONSE_HEADERS,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._app(scope, receive, send)
        else:
            await self.fallback(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        headers: dict[bytes, bytes] = dict(scope["headers"])
        scope[RECORD_KEY] = record = RequestRecord()
        request_id = headers.get(b"x-request-id")
        if request_id is None or not _REQUEST_ID.fullmatch(request_id):
            request_id = b"%s%012x" % (self._id_prefix, next(self._counter))
        record.request_id = request_id.decode("ascii")
        if self._sends_at_once:
            record.extra_headers = b"x-request-id: %b\r\n%b" % (request_id, _INFERENCE_LINES)
        traceparent = headers.get(b"traceparent")
        if traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
            record.traceparent = traceparent.decode("latin-1")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                extra = _INFERENCE_HEADERS if record.operation else _security_headers(path)
                message["headers"] = [*message["headers"], (b"x-request-id", request_id), *extra]
                if record.status == HTTPStatus.TEMPORARY_REDIRECT:
                    message["headers"] = _without_host(message["headers"])
            else:
                record.bytes_out += len(message.get("body", b""))
            await send(message)

        try:
            if self._keys is not None and not self._is_public(path):
                try:
                    record.key = await self._keys.authenticate(headers)
                except ServiceError as error:
                    request = Request(scope, receive)
                    response = await error_handlers.error_response(request, error)
                    await response(scope, receive, send_with_headers)
                    return
            await self.router(scope, receive, send_with_headers)
        finally:
            if path not in HEALTH and record.status:  # 0: the server is stopping and sent no response
                self._observe(scope, record, headers)

    def _is_public(self, path: str) -> bool:
        """Whether the path needs no key."""
        if path in self._public_paths or path == "/" or path.startswith(_PAGE):
            return True
        return self._has_public_docs and (path == "/openapi.json" or path.startswith(_DOCUMENTATION))

    def _observe(self, scope: Scope, record: RequestRecord, headers: dict[bytes, bytes]) -> None:
        end = perf_counter()
        seconds = end - record.start_time
        self._metrics.record_request(record, seconds)
        is_error = record.status >= HTTPStatus.BAD_REQUEST
        if self._logs_requests and (is_error or not (self._logs_errors_only or scope["path"] == METRICS)):
            self._write_log(scope, record, seconds)
        if self._tracing is not None:
            self._tracing.record_request(record, scope["method"], headers, end)

    def _write_log(self, scope: Scope, record: RequestRecord, seconds: float) -> None:
        """Names, numbers and the path; never the body, the key or the query."""
        if not _log.isEnabledFor(logging.INFO):
            return
        method, path, milliseconds = scope["method"], scope["path"][:500], round(seconds * 1000, 3)
        fields: dict[str, Any] = {
            "method": method,
            "path": path,
            "model": record.model,
            "version": record.version,
            "operation": record.operation,
            "status": record.status,
            "milliseconds": milliseconds,
            "bytes_in": record.bytes_in,
            "bytes_out": record.bytes_out,
            "request_id": record.request_id,
        }
        if record.trace_id:
            fields["trace_id"] = record.trace_id
        if record.key:
            fields["key"] = record.key
        if record.reason:
            fields["reason"] = record.reason
        arguments = (method, path, record.status, milliseconds, record.request_id)
        # handle() instead of info(): finding the caller's file and line costs more than all the rest
        log_record = _log.makeRecord(_log.name, logging.INFO, "", 0, "%s %r %d %.3f ms %s", arguments, None)
        log_record.fields = fields
        _log.handle(log_record)


def _without_host(headers: Headers) -> Headers:
    """Redirects of Starlette repeat the Host header, which is whatever a client or a proxy sent: the path is enough."""
    return [(k, b"/" + v.split(b"/", 3)[3].lstrip(b"/") if k == b"location" and b"://" in v else v) for k, v in headers]


def _security_headers(path: str) -> Headers:
    """The security headers of a path that is no inference request."""
    if path == "/" or path.startswith(_PAGE):
        return _PAGE_HEADERS
    return _DOCUMENTATION_HEADERS if path.startswith(_DOCUMENTATION) else _DEFAULT_HEADERS
