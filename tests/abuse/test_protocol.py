"""HTTP/1.1 as RFC 9110 and RFC 9112 have it, and what has no limit there; against a real process."""

import contextlib
import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.abuse import bodies, conformance, floods, semantics
from benchmarks.abuse.crowds import Request
from benchmarks.abuse.serving import HOST, Client, Serving, serving
from tests.abuse.test_connections import connected, refused, rest

ENCODE = b"/v1/models/small/encode"


@pytest.fixture(scope="module")
def small(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """The service with bodies of half a MiB at most."""
    with serving({"max_body_bytes": 1 << 19}, models=models, logs=tmp_path_factory.mktemp("logs")) as running:
        with Client(running.port) as client:  # imports, buffers
            for _ in range(100):
                client.ask("GET", "/livez")
        yield running


@pytest.mark.parametrize("flood", floods.endless_floods(ENCODE), ids=lambda flood: flood.name)
def test_nothing_is_taken_without_end(small: Serving, flood: floods.Flood) -> None:
    outcome = floods.floods(small, [flood], connections=10, size=32 << 20, must_end=True)
    assert not [sentence for sentence in outcome.broken if "/livez" not in sentence], outcome.row()
    assert small.alive


@pytest.mark.parametrize("flood", floods.pipelined_floods(ENCODE), ids=lambda flood: flood.name)
def test_pipelined_requests_take_little_memory(small: Serving, flood: floods.Flood) -> None:
    outcome = floods.floods(small, [flood], connections=10, size=2 << 20, must_end=False)
    assert not [sentence for sentence in outcome.broken if "/livez" not in sentence], outcome.row()


def test_upgrades_hosts_redirects_and_head_are_as_the_rfcs_say(small: Serving) -> None:
    request = Request(ENCODE.decode(), bodies.npy(np.zeros((1, 28, 28, 1), np.uint8)), bodies.NPY)
    outcome = semantics.try_heads(small, request)
    assert outcome.broken == []


CHUNKED = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "start",
    [
        CHUNKED % ENCODE + b"00",
        CHUNKED % ENCODE + b"1;a",
        CHUNKED % ENCODE + b"1\r\n[",
        CHUNKED % ENCODE + b"0\r\nA: b",
    ],
    ids=["a length", "an extension", "a chunk", "a trailer"],
)
@pytest.mark.parametrize("drip", [b"", b"a"])
def test_the_parts_of_a_chunked_body_have_a_deadline(served: Serving, start: bytes, drip: bytes) -> None:
    started = time.monotonic()
    with connected(served, start) as connection:
        with contextlib.suppress(OSError):
            while drip and time.monotonic() - started < 5:
                time.sleep(0.2)
                connection.sendall(drip)
        answer = rest(connection)
    assert time.monotonic() - started < 5
    assert not answer or answer.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 400 "))
    assert answer or drip  # a reset may overtake it


@pytest.mark.parametrize("rest_of_body", [b"", b"[", b"5\r\n[", b"0\r\nA: b"])
def test_the_rest_of_a_body_that_is_answered_has_a_deadline(served: Serving, rest_of_body: bytes) -> None:
    started = time.monotonic()
    framing = b"Transfer-Encoding: chunked" if b"\r\n" in rest_of_body else b"Content-Length: 100000"
    with connected(served, b"POST /no HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n") as connection:
        answer = connection.recv(12)
        connection.sendall(rest_of_body)
        answer += rest(connection)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert time.monotonic() - started < 5


def test_a_connection_stays_usable_when_the_rest_of_an_answered_body_comes(served: Serving) -> None:
    head = b"POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n"
    with connected(served, head) as connection:
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 404 ")
        connection.sendall(bytes(300_000) + b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b"HTTP/1.1 200 OK" in rest(connection)


@pytest.mark.parametrize(
    ("hosts", "word"),
    [(b"", "no Host"), (b"Host: a\r\nHost: a\r\n", "more than one"), (b"Host: a b\r\n", "not the name"),
     (b"Host:\r\n", "not the name"), (b"Host: u@a\r\n", "not the name")],
)  # fmt: skip
def test_http_1_1_has_one_valid_host(served: Serving, hosts: bytes, word: str) -> None:
    with connected(served, b"GET /livez HTTP/1.1\r\n" + hosts + b"\r\n") as connection:
        refused(rest(connection), 400, word)


@pytest.mark.parametrize(
    "request_line", [b"GET /livez HTTP/1.0\r\n", b"GET http://other.example/livez HTTP/1.1\r\nHost: a\r\n"]
)
def test_http_1_0_and_the_absolute_form_are_served(served: Serving, request_line: bytes) -> None:
    with connected(served, request_line + b"Connection: close\r\n\r\n") as connection:
        assert rest(connection).startswith(b"HTTP/1.1 200 OK")


def test_options_of_the_server_are_answered(served: Serving) -> None:
    with connected(served, b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") as connection:
        assert rest(connection).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("path", ["/v1/models/", "/livez/", "/v1/models/small/?a=b"])
def test_a_redirect_does_not_repeat_the_host(served: Serving, path: str) -> None:
    connection = http.client.HTTPConnection(HOST, served.port)
    connection.request("GET", path, headers={"Host": "evil.example"})
    answer = connection.getresponse()
    assert answer.status == 307
    assert answer.getheader("Location") == path.replace("/?", "?").rstrip("/")
    connection.close()


@pytest.mark.parametrize(
    "path",
    ["/livez", "/readyz", "/v2/health/live", "/metrics", "/v1/models", "/v1/models/small", "/docs", "/openapi.json",
     "/", "/page/page.css", "/v2", "/v2/models/small", "/nowhere"],
)  # fmt: skip
def test_head_is_answered_wherever_get_is(served: Serving, path: str) -> None:
    answers = []
    for method in ("GET", "HEAD"):
        connection = http.client.HTTPConnection(HOST, served.port)
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        names = {name.lower() for name, _ in response.getheaders()}
        answers.append((response.status, names, response.getheader("Content-Type"), body))
        connection.close()
    (status, names, media_type, body), head = answers
    assert head == (status, names, media_type, b"")
    assert body


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("option", ["--http2", "--http1.1", "--http1.0"])
def test_curl_sends_a_body_whatever_it_wishes_to_speak(served: Serving, tmp_path: Path, option: str) -> None:
    picture = tmp_path / "cat.png"
    picture.write_bytes(bodies.seeds()["png"][1])
    url = f"http://{HOST}:{served.port}{ENCODE.decode()}"
    command = ["curl", "-sS", option, "-F", f"image=@{picture}", url]
    answer = subprocess.run(command, capture_output=True, check=True, timeout=20).stdout
    assert json.loads(answer)["latents"]


def test_what_is_taken_is_what_another_parser_takes() -> None:
    verdicts, broken = conformance.compare_with_h11(2000)
    assert not broken
    assert verdicts["same"] > 1500


def test_the_comparison_finds_a_request_that_is_smuggled() -> None:
    data = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    assert conformance.compare(data, conformance.Answer([("POST", "/a", b"abc")])) == "same"
    assert conformance.compare(data, conformance.Answer([("POST", "/a", b"")])) == "different"
    assert conformance.compare(data, conformance.Answer([("POST", "/a", b"abc"), ("GET", "/", b"")])) == "looser"
    assert conformance.compare(data, conformance.Answer()) == "stricter"
