"""The protocol of connections, against applications that tell what reached them; also tests/abuse/test_protocol.py."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from service.server.connection import PIECE_BYTES, Connection
from service.server.connection_limits import ConnectionLimits
from service.server.connection_monitor import ConnectionMonitor

LIMITS = ConnectionLimits(5, 5, 1, 32 * 1024, 1 << 20, 100)
GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


@dataclass
class Recorder:
    """An application that answers with the body; a path in `endless` is answered when its client has left."""

    endless: frozenset[str] = frozenset()
    scopes: list[Scope] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.append(scope["path"])
                return
            if scope["path"] == "/slow":
                await asyncio.sleep(0.3)
            body += message["body"]
            if not message["more_body"] and scope["path"] not in self.endless:
                break
        self.bodies.append(body)
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    @property
    def paths(self) -> list[str]:
        return [scope["path"] for scope in self.scopes]


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    connections: set[Any]

    async def ask(self, data: bytes) -> bytes:
        """All that comes within a fifth of a second, or until the connection is closed."""
        self.writer.write(data)
        received = b""
        try:
            async with asyncio.timeout(0.2):
                while piece := await self.reader.read(1 << 16):
                    received += piece
        except TimeoutError:
            pass
        return received


@asynccontextmanager
async def connected(application: Recorder, limits: ConnectionLimits = LIMITS) -> AsyncIterator[Client]:
    config = uvicorn.Config(application, lifespan="off", log_config=None, proxy_headers=False)
    config.load()
    state = ServerState()
    make = partial(Connection, ConnectionMonitor(limits), config, state, {})
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield Client(reader, writer, state.connections)
    finally:
        writer.transport.abort()
        server.close()
        await asyncio.sleep(0.01)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(3):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "behind",
    [
        b"",
        GET % 2,
        GET % 2 * 100,
        GET % 2 * 10_000,
        b"GET /2 HT",
        POST + b"Content-Length: 5000\r\n\r\nabc",
        b"nonsense\r\n\r\n",
    ],
    ids=["nothing", "a request", "requests of one piece", "requests of many", "half a head", "half a body", "nonsense"],
)
def test_a_hang_up_is_seen_whatever_is_queued_behind(behind: bytes) -> None:
    async def test() -> None:
        application = Recorder(endless=frozenset({"/1"}))
        async with connected(application) as client:
            client.writer.write(GET % 1 + behind)
            await until(lambda: application.paths)
            await asyncio.sleep(0.1)
            client.writer.transport.abort() if len(behind) % 2 else client.writer.close()
            await until(lambda: application.gone)
        assert application.gone == application.paths == ["/1"]  # what was queued has not begun

    run(test)


def test_a_hang_up_is_seen_behind_a_body_that_nobody_reads() -> None:
    async def test() -> None:
        started = asyncio.Event()
        gone: list[str] = []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            started.set()
            await asyncio.sleep(1)  # the body's first 64 KiB are there; reading has stopped
            message = await receive()
            while message["type"] != "http.disconnect":
                message = await receive()
            gone.append(scope["path"])

        async with connected(application) as client:  # type: ignore[arg-type]
            client.writer.write(POST + b"Content-Length: 3000000\r\n\r\n" + bytes(2_000_000))
            await started.wait()
            await asyncio.sleep(0.1)
            client.writer.transport.abort()
            await until(lambda: not client.connections)
            await until(lambda: gone)

    run(test)


def test_pipelined_requests_are_answered_in_turn() -> None:
    async def test() -> None:
        application = Recorder()
        async with connected(application) as client:
            bodies = [b"%d" % number * (number % 7 * 100) for number in range(300)]
            sent = b"".join(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies)
            answer = b""
            while answer.count(b"HTTP/1.1 200 OK") < len(bodies):
                more = await client.ask(b"" if answer else sent)
                assert more
                answer += more
        assert application.bodies == bodies

    run(test)


def test_more_than_may_wait_behind_a_request_is_refused_after_it() -> None:
    async def test() -> None:
        application = Recorder()
        async with connected(application) as client:
            client.writer.write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: application.paths)
            client.writer.write((POST + b"Content-Length: 9000\r\n\r\n" + b"a" * 9000) * 40)
            async with asyncio.timeout(5):
                answer = await client.reader.read()
        assert answer.count(b"HTTP/1.1 200 OK") == 1
        assert answer.count(b"HTTP/1.1 413 ") == 1
        assert b"while an earlier request was in progress" in answer
        assert application.paths == ["/slow"]

    run(test)


def test_few_of_the_pipelined_requests_are_parsed_ahead() -> None:
    async def test() -> None:
        application = Recorder(endless=frozenset({"/1"}))
        async with connected(application) as client:
            client.writer.write(GET % 1 + GET % 2 * 20_000)
            await until(lambda: application.paths)
            await asyncio.sleep(0.2)
            (connection,) = client.connections
            assert len(connection.pipeline) < PIECE_BYTES / len(GET % 2)
            assert not connection._waiting_data  # too much: dropped
            client.writer.transport.abort()
            await until(lambda: application.gone)

    run(test)


@pytest.mark.parametrize(
    "upgrade",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n",
        b"Upgrade: TLS/1.0, h2c\r\nConnection: upgrade\r\n",
        b"Upgrade: h2c\r\n",
        b"Connection: Upgrade\r\n",
    ],
)
@pytest.mark.parametrize("size", [0, 3, 5000, 300_000])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_upgrade_is_ignored_and_the_body_is_whole(upgrade: bytes, size: int, is_chunked: bool) -> None:
    async def test() -> None:
        application = Recorder()
        body = bytes(range(256)) * (size // 256) + b"a" * (size % 256)
        async with connected(application) as client:
            if is_chunked:
                framed = b"Transfer-Encoding: chunked\r\n\r\n" + (b"%x\r\n%b\r\n" % (size, body) if size else b"")
                framed += b"0\r\nA: trailer\r\n\r\n"
            else:
                framed = b"Content-Length: %d\r\n\r\n%b" % (size, body)
            answer = b""
            request = POST + upgrade + b"X-Other: kept\r\n" + framed
            client.writer.write(request + request)  # the connection stays usable
            while answer.count(b"HTTP/1.1 200 OK") < 2 or len(answer) < 2 * size:
                more = await client.ask(b"")
                assert more, answer[:100]
                answer += more
        assert application.bodies == [body, body]
        for scope in application.scopes:
            headers = dict(scope["headers"])
            assert headers[b"x-other"] == b"kept"
            assert b"a" not in headers
            assert headers.get(b"connection") in (None, b"keep-alive", b"Upgrade")

    run(test)


def test_trailers_are_dropped() -> None:
    async def test() -> None:
        application = Recorder()
        async with connected(application) as client:
            trailers = b"X-API-Key: secret\r\nHost: b\r\nUpgrade: h2c\r\nExpect: 100-continue\r\n"
            request = POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n" + trailers + b"\r\n"
            answer = await client.ask(request + GET % 2)
        assert answer.count(b"HTTP/1.1 200 OK") == 2
        assert application.bodies == [b"ab", b""]
        assert application.scopes[0]["headers"] == [(b"host", b"a"), (b"transfer-encoding", b"chunked")]

    run(test)


def test_what_is_not_http_behind_a_request_is_answered_after_it() -> None:
    async def test() -> None:
        application = Recorder()
        async with connected(application) as client:
            answer = await client.ask(POST + b"Content-Length: 2\r\n\r\nabcdef\r\n\r\n")  # the length is too small
            assert client.reader.at_eof()
        first, _, second = answer.partition(b"\r\n\r\nab")
        assert first.startswith(b"HTTP/1.1 200 OK")
        assert second.startswith(b"HTTP/1.1 400 ")
        assert b"not a request of HTTP/1.1" in second

    run(test)


def test_the_body_of_a_queued_request_that_is_not_http_is_answered_in_its_turn() -> None:
    async def test() -> None:
        application = Recorder()
        async with connected(application) as client:
            answer = await client.ask(GET % 1 + GET % 2 + POST + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n")
            assert client.reader.at_eof()
        assert answer.count(b"HTTP/1.1 200 OK") == 2
        assert answer.count(b"HTTP/1.1 400 ") == 1
        assert application.paths == ["/1", "/2"]

    run(test)


def test_a_million_tiny_chunks_are_a_body_like_any_other() -> None:
    async def test() -> None:
        application = Recorder()
        async with connected(application) as client:
            request = POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1_000_000 + b"0\r\n\r\n"
            client.writer.write(request)
            async with asyncio.timeout(20):
                head = await client.reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 ")
                await client.reader.readexactly(1_000_000)
        assert application.bodies == [b"x" * 1_000_000]

    run(test)


@pytest.mark.parametrize("size", [1000, 40_000])
def test_trailers_within_the_limit_are_taken_in_any_pieces(size: int) -> None:
    async def test() -> None:
        application = Recorder()
        async with connected(application) as client:
            client.writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\na: ")
            for _ in range(size // 500):
                if client.connections:
                    client.writer.write(b"a" * 500)
                await asyncio.sleep(0.005)
            answer = await client.ask(b"\r\n\r\n" if size < LIMITS.max_header_bytes else b"")
        assert answer.startswith(b"HTTP/1.1 200 OK" if size < LIMITS.max_header_bytes else b"HTTP/1.1 431 ")

    run(test)


def test_header_lines_have_a_limit_of_their_own() -> None:
    async def test() -> None:
        application = Recorder()
        async with connected(application) as client:
            allowed = await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:b\r\n" * 255 + b"\r\n")
            refused = await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:b\r\n" * 256 + b"\r\n")
        assert allowed.startswith(b"HTTP/1.1 200 ")
        assert refused.startswith(b"HTTP/1.1 431 ")
        assert b"more than 256 lines" in refused

    run(test)
