"""Answers in one piece (service.server.raw_response): the same on the wire as by ASGI's messages, in pipelines too."""

import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from benchmarks.abuse.bodies import npy
from benchmarks.abuse.serving import HOST, Serving
from service.app import create_app
from service.settings import Settings

ENCODE = "/v1/models/small/encode"
BODY = npy(np.zeros((1, 28, 28, 1), np.uint8))
HEAD = (
    b"POST /v1/models/small/encode HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-npy\r\n"
    b"Content-Length: %d\r\n%s\r\n"
)
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def exchanged(served: Serving, sent: bytes) -> bytes:
    """All that the service says until it closes."""
    with socket.create_connection((HOST, served.port), timeout=10) as connection:
        connection.sendall(sent)
        received = b""
        while data := connection.recv(65536):
            received += data
    return received


def taken_apart(answer: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    return status, dict(line.split(b": ", 1) for line in lines), body


@pytest.mark.parametrize("body", [BODY, b"no .npy", npy(np.zeros((40, 28, 28, 1), np.uint8))])
def test_one_piece_says_what_messages_say(served: Serving, models: Path, body: bytes) -> None:
    status, headers, content = taken_apart(exchanged(served, HEAD % (len(body), b"Connection: close\r\n") + body))
    with TestClient(create_app(Settings(models=models), trusted=True)) as client:  # no such extension there
        expected = client.post(ENCODE, content=body, headers={"Content-Type": "application/x-npy"})
    assert status == b"HTTP/1.1 %d %s" % (expected.status_code, expected.reason_phrase.encode())
    assert content == expected.content
    assert headers.pop(b"connection") == b"close"
    assert {b"date", b"server"} <= headers.keys()
    assert re.fullmatch(rb"[0-9a-f]{32}", headers.pop(b"x-request-id"))
    for name, value in expected.headers.items():
        if name != "x-request-id":
            assert headers[name.encode()] == value.encode()


def test_a_pipeline_is_answered_in_its_order(served: Serving) -> None:
    asked = b"".join(HEAD % (len(BODY), b"X-Request-Id: %d\r\n" % number) + BODY for number in range(3))
    answer = exchanged(served, asked + GET)
    assert re.findall(rb"x-request-id: (\d)\r\n", answer) == [b"0", b"1", b"2"]
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 4
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2]) == {"status": "alive"}


def test_a_connection_serves_many_one_after_the_other(served: Serving) -> None:
    with socket.create_connection((HOST, served.port), timeout=10) as connection:
        for _ in range(3):
            connection.sendall(HEAD % (len(BODY), b"") + BODY)
            status, headers, content = taken_apart(connection.recv(65536))
            assert status == b"HTTP/1.1 200 OK"
            assert b"connection" not in headers
            assert len(content) == int(headers[b"content-length"])
