"""Errors as application/problem+json (RFC 9457), or as the Open Inference Protocol has them, in one place."""

import logging
from http import HTTPStatus

import orjson
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.errors import PROBLEM_MEDIA_TYPE, ServiceError, problem
from service.observability.request_record import of

BUG = (500, "Service error", "this is a bug of the service; its log holds the trace")
_log = logging.getLogger("service.problems")


def install(app: FastAPI) -> None:
    """Every error that leaves `app` is a problem document: ours, FastAPI's, Starlette's, and bugs."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _bug)


async def answer(request: Request, error: Exception) -> Response:
    """The problem document of any error; bugs are logged with their trace."""
    for kind, handler in ((ServiceError, _service_error), (ClientDisconnect, _gone), (HTTPException, _http)):
        if isinstance(error, kind):
            return await handler(request, error)
    _log.error("%s failed: this is a bug", request.url.path, exc_info=error)
    return await _bug(request, error)


def forget(error: BaseException) -> None:
    """Cut an answered error off from the frames that it came through, and what they hold.

    An error that went through a future is in a circle: error -> trace -> frame -> future -> error. Only the cyclic
    collector ends those, which hardly ever runs here (service.cli.main), and until then the body that was refused
    stays: 256 MB a request.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            waiting += [one.__cause__, one.__context__]


def problem_response(request: Request, status: int, title: str, detail: str, **facts: object) -> Response:
    """RFC 9457; under /v2 the Open Inference Protocol's error object, with the same sentence and status."""
    of(request.scope).reason = title.lower().replace(" ", "_").replace("-", "_")
    if request.scope["path"].startswith("/v2"):
        return Response(orjson.dumps({"error": detail}), status, media_type="application/json")
    body = orjson.dumps(problem(request.url.path, status, title, detail, **facts))
    return Response(body, status, media_type=PROBLEM_MEDIA_TYPE)


async def _service_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ServiceError):
        raise error
    if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:  # 503 and 504 are nobody's fault, and polled and asked for
        _log.error("%s: %s", request.url.path, error.detail, exc_info=error.__cause__)
    response = problem_response(request, error.status, error.title, error.detail, **error.facts)
    response.headers.update(error.headers)
    return response


async def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    phrase = HTTPStatus(error.status_code).phrase
    sentences = {
        404: f"there is nothing at {request.url.path}; the models are at /v1/models, the documentation at /docs",
        405: f"{request.method} is not allowed here; allowed is {(error.headers or {}).get('Allow', 'another method')}",
    }
    detail = sentences.get(error.status_code, str(error.detail))
    response = problem_response(request, error.status_code, phrase, detail)
    response.headers.update(error.headers or {})
    return response


async def _gone(request: Request, _: Exception) -> Response:
    _log.debug("%s: the client left before its body was whole", request.url.path)
    of(request.scope).reason = "client_gone"
    return Response(status_code=400)


async def _bug(request: Request, _: Exception) -> Response:
    return problem_response(request, *BUG)
