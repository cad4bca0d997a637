"""Rejections, as far as they need no process; the rest is tests/abuse/test_connections.py."""

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from service.errors import TooManyConnections
from service.server.rejections import rejecting_application


def test_above_the_limit_of_connections_only_some_paths_are_answered() -> None:
    application = Starlette(routes=[Route("/livez", lambda _: PlainTextResponse("alive")), Route("/", lambda _: None)])
    error = TooManyConnections("2 connections have requests in progress, which is the limit; try again")
    client = TestClient(rejecting_application(error, application, {"/livez"}))
    assert client.get("/livez").text == "alive"
    answer = client.get("/v1/models")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
    assert answer.json() == {
        "type": "urn:autoencoder:too-many-connections",
        "title": "Too many connections",
        "status": 503,
        "detail": error.detail,
        "instance": "/v1/models",
    }
