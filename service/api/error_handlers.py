"""Error handlers: every exception becomes problem+json (RFC 9457), or the error object of the Open Inference Protocol.

exception -> error_response -> status, problem document        /v2: {"error": the same sentence}
"""

import logging
from http import HTTPStatus

import orjson
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.errors import PROBLEM_MEDIA_TYPE, ServiceError, problem
from service.observability.request_record import request_record

INTERNAL_ERROR = (500, "Service error", "this is a bug of the service; its log holds the trace")
_log = logging.getLogger("service.problems")


def add_error_handlers(app: FastAPI) -> None:
    """Handlers for the errors of the service, of FastAPI, of Starlette, and for bugs."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _client_disconnected)
    app.add_exception_handler(Exception, _internal_error)


async def error_response(request: Request, error: Exception) -> Response:
    """The response of any error; bugs are logged with their traceback."""
    for error_type, handler in (
        (ServiceError, _service_error), (ClientDisconnect, _client_disconnected), (HTTPException, _http_error)
    ):  # fmt: skip
        if isinstance(error, error_type):
            return await handler(request, error)
    _log.error("%s failed: this is a bug", request.url.path, exc_info=error)
    return await _internal_error(request, error)


def drop_traceback(error: BaseException) -> None:
    """Remove the tracebacks of an error and of its causes, so that the frames and their data can be freed.

    An error raised through a future is part of a reference cycle: error -> traceback -> frame -> future -> error. Only
    the cyclic garbage collector frees it, which hardly ever runs here (service.cli.main). Until then the rejected body
    stays in memory: up to 256 MB per request.
    """
    visited: set[int] = set()
    stack: list[BaseException | None] = [error]
    while stack:
        exception = stack.pop()
        if exception is not None and id(exception) not in visited:
            visited.add(id(exception))
            exception.__traceback__ = None
            stack += [exception.__cause__, exception.__context__]


def problem_response(request: Request, status: int, title: str, detail: str, **facts: object) -> Response:
    """RFC 9457; under /v2 the Open Inference Protocol's error object, with the same sentence and status."""
    request_record(request.scope).reason = title.lower().replace(" ", "_").replace("-", "_")
    if request.scope["path"].startswith("/v2"):
        return Response(orjson.dumps({"error": detail}), status, media_type="application/json")
    body = orjson.dumps(problem(request.url.path, status, title, detail, **facts))
    return Response(body, status, media_type=PROBLEM_MEDIA_TYPE)


async def _service_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ServiceError):
        raise error
    if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:  # 503 and 504 are expected: probes and deadlines cause them
        _log.error("%s: %s", request.url.path, error.detail, exc_info=error.__cause__)
    response = problem_response(request, error.status, error.title, error.detail, **error.facts)
    response.headers.update(error.headers)
    return response


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    phrase = HTTPStatus(error.status_code).phrase
    details = {
        404: f"there is nothing at {request.url.path}; the models are at /v1/models, the documentation at /docs",
        405: f"{request.method} is not allowed here; allowed is {(error.headers or {}).get('Allow', 'another method')}",
    }
    detail = details.get(error.status_code, str(error.detail))
    response = problem_response(request, error.status_code, phrase, detail)
    response.headers.update(error.headers or {})
    if response.headers.get("allow") == "GET":
        response.headers["allow"] = "GET, HEAD"  # service.api.router
    return response


async def _client_disconnected(request: Request, _: Exception) -> Response:
    _log.debug("%s: the client disconnected before the end of its body", request.url.path)
    request_record(request.scope).reason = "client_gone"
    return Response(status_code=400)


async def _internal_error(request: Request, _: Exception) -> Response:
    return problem_response(request, *INTERNAL_ERROR)
