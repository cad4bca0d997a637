"""Trial: heads that clients and proxies send: protocol upgrades, Host, redirects, HEAD.

raw requests, each on a connection of its own -> status, headers, body -> what RFC 9110 and RFC 9112 say

An offer to upgrade may be ignored, and the body is then a body as any other (RFC 9110, 7.8). A request of HTTP/1.1
without one valid Host is 400 (RFC 9112, 3.2). A redirect must not lead where the Host header says, and HEAD is answered
as GET, without the body (RFC 9110, 9.3.2).
"""

import http.client
import socket
import time
from collections.abc import Sequence

from benchmarks.abuse.crowds import Request
from benchmarks.abuse.report import Outcome
from benchmarks.abuse.serving import HOST, Serving

OK, BAD_REQUEST, TIMEOUT = 200, 400, 30
UPGRADES = (  # header lines; what curl --http2, Java's HttpClient, browsers and old proxies send
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    "Upgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\nConnection: Upgrade, HTTP2-Settings\r\n",
    "Connection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAA\r\nUpgrade: websocket\r\n",
    "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
)
HOSTS = {"": BAD_REQUEST, "Host: a\r\nHost: b\r\n": BAD_REQUEST, "Host: a b\r\n": BAD_REQUEST, "Host: a:8000\r\n": OK}
PATHS = ("/livez", "/readyz", "/v1/models", "/v2", "/v2/health/live", "/openapi.json", "/metrics", "/")


def try_heads(running: Serving, request: Request) -> Outcome:
    """Args: request: of an operation; it is answered with 200."""
    start, broken = time.perf_counter(), list[str]()
    plain = _ask(running, _head(request, "Host: a\r\n"), request.body)
    if plain.status != OK:
        broken.append(f"without an upgrade: {plain.status}")
    for lines in UPGRADES:
        for framing in ("length", "chunked"):
            answer = _ask(running, _head(request, f"Host: a\r\n{lines}", framing), _frame(request.body, framing))
            if (answer.status, answer.body) != (plain.status, plain.body):
                broken.append(f"{lines.split()[-1]}, {framing}: {answer.status}")
    for lines, expected in HOSTS.items():
        status = _ask(running, f"GET /livez HTTP/1.1\r\n{lines}Connection: close\r\n\r\n", b"").status
        if status != expected:
            broken.append(f"{lines!r}: {status}")
    for path in ("/v1/models/", "//evil.example/"):
        answer = _ask(running, f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", b"")
        if "evil" in answer.location.removeprefix(path) or "://" in answer.location:
            broken.append(f"{path} leads to {answer.location}")
    broken += _compare_heads(running, PATHS)
    count = 1 + 2 * len(UPGRADES) + len(HOSTS) + 2 + 2 * len(PATHS)
    found = f"{len(UPGRADES)} kinds of upgrade, {len(HOSTS)} of Host, redirects, HEAD of {len(PATHS)} paths"
    return Outcome("upgrades, Host, redirects, HEAD", str(count), found, time.perf_counter() - start, None, broken)


def _compare_heads(running: Serving, paths: Sequence[str]) -> list[str]:
    broken = []
    for path in paths:
        get, head = (
            _ask(running, f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"", method)
            for method in ("GET", "HEAD")
        )
        if get.status != OK or head.status != OK or head.body:
            broken.append(f"{path}: GET {get.status}, HEAD {head.status} with {len(head.body)} bytes")
    return broken


class _Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.location = response.status, response.headers.get("Location", "")
        self.body = response.read()


def _head(request: Request, lines: str, framing: str = "length") -> str:
    size = "Transfer-Encoding: chunked" if framing == "chunked" else f"Content-Length: {len(request.body)}"
    return f"POST {request.path} HTTP/1.1\r\n{lines}Content-Type: {request.content_type}\r\n{size}\r\n\r\n"


def _frame(body: bytes, framing: str) -> bytes:
    if framing == "length":
        return body
    middle = len(body) // 2
    parts = (body[:middle], body[middle:], b"")
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


def _ask(running: Serving, head: str, body: bytes, method: str = "POST") -> _Answer:
    with socket.create_connection((HOST, running.port), timeout=TIMEOUT) as connection:
        connection.sendall(head.encode("latin-1") + body)
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        return _Answer(response)
