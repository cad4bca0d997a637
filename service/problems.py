"""Errors as application/problem+json (RFC 9457), or as the Open Inference Protocol has them, in one place."""

import logging
from http import HTTPStatus

import orjson
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.errors import ServiceError

MEDIA_TYPE = "application/problem+json"
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


def problem(request: Request, status: int, title: str, detail: str, **facts: object) -> Response:
    """RFC 9457; under /v2 the Open Inference Protocol's error object, with the same sentence and status."""
    if request.scope["path"].startswith("/v2"):
        return Response(orjson.dumps({"error": detail}), status, media_type="application/json")
    body = {
        "type": "urn:autoencoder:" + title.lower().replace(" ", "-"),
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        **facts,
    }
    return Response(orjson.dumps(body), status, media_type=MEDIA_TYPE)


async def _service_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ServiceError):
        raise error
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("%s: %s", request.url.path, error.detail, exc_info=error.__cause__)
    response = problem(request, error.status, error.title, error.detail, **error.facts)
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
    response = problem(request, error.status_code, phrase, detail)
    response.headers.update(error.headers or {})
    return response


async def _gone(request: Request, _: Exception) -> Response:
    _log.debug("%s: the client left before its body was whole", request.url.path)
    return Response(status_code=400)


async def _bug(request: Request, _: Exception) -> Response:
    return problem(request, 500, "Service error", "this is a bug of the service; its log holds the trace")
