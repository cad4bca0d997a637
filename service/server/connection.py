"""HTTP connections with limits: deadlines for what a client sends and receives, maximum header size, open connections.

bytes -> Connection (a uvicorn protocol) -> application        ConnectionMonitor: all connections of one server

uvicorn waits without limit for a request to be complete, and for a response to be received. Here a client has:
- `headers_deadline` from the connection, or from the first byte, to the end of the headers. Headers fit one packet, so
  a well-behaved client needs one round trip.
- For the body no total time, since a large upload may take long, but a rate: every `body_deadline` seconds must bring
  `body_rate` bytes a second, or the end of the body. An average since the start would let a client that has sent much
  stall for long. The same rate holds for receiving the response.
- `max_connections`. When all are in use, the connection that has been idle for longest is closed for the new one. If
  none is idle, new connections are answered 503, except for the paths that are always answered.

All connections are checked every CHECK_INTERVAL seconds; a request that arrives in one piece costs some assignments
and no timer. A complete response is sent by one call (service.server.raw_response), not by two ASGI messages.
"""

import asyncio
import logging
import math
from asyncio import AbstractEventLoop
from collections.abc import Collection, Sequence
from typing import Any

import httptools
import orjson
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from service.errors import (
    PROBLEM_MEDIA_TYPE,
    HeadersTooLarge,
    MalformedRequest,
    ServiceError,
    TooManyConnections,
    TooSlow,
    problem,
)
from service.server.connection_limits import ConnectionLimits, unsent_bytes
from service.server.raw_response import RAW_RESPONSE, header_lines

CHECK_INTERVAL = 0.25  # seconds
LINGER = 0.5  # seconds that an idle connection stays open at shutdown: a request may be on its way
_MAX_COPY_BYTES = 1 << 14  # bytes of a body: copying it behind its headers is faster than a second write
_NO_DEADLINE = math.inf
_BEFORE_REQUEST, _HEADERS, _BODY, _COMPLETE = range(4)  # read state: which part of a request is being received
_log = logging.getLogger("service.protocol")


class ConnectionMonitor:
    """All connections of one server, on one event loop; pass `create_connection` as uvicorn.Config(http=...)."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.is_draining = False  # each response closes its connection
        self.idle: dict[Connection, None] = {}  # no request in progress; the longest idle first
        self._is_check_scheduled = False
        self._defaults: tuple[Sequence[tuple[bytes, bytes]], bytes] = ((), b"")

    def create_connection(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> "Connection":
        """Called by uvicorn for each client."""
        return Connection(self, config, server_state, app_state, _loop)

    def schedule_check(self, connections: set[Any], loop: AbstractEventLoop) -> None:
        """Check the deadlines of `connections` from now on, until none is open."""
        if not self._is_check_scheduled:
            self._is_check_scheduled = True
            loop.call_later(CHECK_INTERVAL, self._check_deadlines, connections, loop)

    def default_lines(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """The headers that uvicorn adds (Date, Server) as lines; uvicorn makes a new list once a second."""
        if headers is not self._defaults[0]:
            self._defaults = headers, header_lines(headers)
        return self._defaults[1]

    def _check_deadlines(self, connections: set[Any], loop: AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(connections):
            if connection.read_deadline <= now:
                connection.on_read_timeout(now)
            if connection.write_deadline <= now:
                connection.on_write_timeout(now)
        self._is_check_scheduled = False
        if connections:
            self.schedule_check(connections, loop)


class Connection(HttpToolsProtocol):
    """The connection of one client. `read_deadline`, `write_deadline`: seconds on the loop's clock."""

    def __init__(
        self,
        monitor: ConnectionMonitor,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.monitor = monitor
        self.read_deadline = self.write_deadline = _NO_DEADLINE
        self._read_state = _BEFORE_REQUEST
        self._header_bytes = self._body_bytes = 0
        self._unsent_mark: float = 0

    @property
    def is_busy(self) -> bool:
        """Whether a request is being received or answered."""
        return self.cycle is not None and not self.cycle.response_complete

    # --- callbacks of uvicorn's protocol -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.read_deadline = self.loop.time() + self.monitor.limits.headers_deadline
        self.monitor.schedule_check(self.connections, self.loop)
        if len(self.connections) > self.monitor.limits.max_connections:
            self._evict_idle()
        self.monitor.idle[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.monitor.idle.pop(self, None)
        super().connection_lost(exc)
        if self.cycle is not None:  # its scope refers to us: a cycle, which only the cyclic collector would free
            self.cycle.scope.pop("extensions", None)

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, but bytes that are not HTTP are answered with a problem document, and logged at level debug."""
        if self._read_state == _BODY:
            self._body_bytes += len(data)
        else:
            self._header_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # the request is answered as plain HTTP; nothing after it can be read
            if self.cycle is not None:
                self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            _log.debug("the bytes are not HTTP: %s", error)
            self._reject(MalformedRequest("what came is not a request of HTTP/1.1"))
            return
        if self._read_state == _COMPLETE:
            cycle = self.cycle
            if cycle is None or cycle.response_complete:  # blank lines, or the rest of a body that was rejected
                self._read_state = _BEFORE_REQUEST
                self.read_deadline = self.loop.time() + self.monitor.limits.headers_deadline
            return
        limits = self.monitor.limits
        if self._header_bytes > limits.max_header_bytes:
            self._reject(_headers_too_large(limits))
        elif self.read_deadline == _NO_DEADLINE:
            seconds = limits.body_deadline if self._read_state == _BODY else limits.headers_deadline
            self.read_deadline = self.loop.time() + seconds

    def on_message_begin(self) -> None:
        self._read_state = _HEADERS
        self.read_deadline = _NO_DEADLINE
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.monitor.idle.pop(self, None)
        if self._header_bytes > self.monitor.limits.max_header_bytes:
            self._check_header_size()
        self._header_bytes = self._body_bytes = 0
        super().on_headers_complete()
        self._read_state = _BODY
        self.read_deadline = _NO_DEADLINE
        self.scope["extensions"] = {RAW_RESPONSE: {"send": self._send_at_once}}
        if self.monitor.is_draining:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        self._read_state = _COMPLETE
        self.read_deadline = _NO_DEADLINE
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, but a connection that is kept alive has a read deadline instead of a timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        if self._read_state == _COMPLETE:
            self.read_deadline = self.loop.time() + self.timeout_keep_alive
        if not self.is_busy:
            self.monitor.idle[self] = None

    def pause_writing(self) -> None:
        """The transport's buffer is full: from now on the client must receive at the minimum rate."""
        super().pause_writing()
        if self.write_deadline == _NO_DEADLINE:
            self.write_deadline = self.loop.time() + self.monitor.limits.body_deadline
            self._unsent_mark = self._unsent_bytes()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unsent_mark = math.inf  # the client has received most of it

    def shutdown(self) -> None:
        """The server stops: a request in progress is answered; an idle connection stays open for LINGER seconds."""
        self.monitor.is_draining = True
        if self.is_busy:
            super().shutdown()
        else:
            self.read_deadline = min(self.read_deadline, self.loop.time() + LINGER)

    def _send_at_once(self, scope: Scope, status: int, head: bytes, body: bytes) -> bool:
        """Write the response to the request of `scope`; False, and nothing is written, if it must be sent by messages.

        Args:
            head: header lines, Content-Length among them; each ends with CR LF.
        """
        cycle = self.cycle
        if cycle is None or cycle.scope is not scope:  # a later request of the pipeline is the current one
            return False
        if cycle.response_started or cycle.disconnected or self.flow.write_paused:
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        prefix = (STATUS_LINE[status], self.monitor.default_lines(cycle.default_headers), head, end)
        if len(body) <= _MAX_COPY_BYTES:
            self.transport.write(b"".join((*prefix, body)))
        else:
            self.transport.write(b"".join(prefix))
            self.transport.write(body)
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    # --- timeouts ----------------------------------------------------------------------------------------

    def on_read_timeout(self, now: float) -> None:
        """`read_deadline` has passed."""
        limits = self.monitor.limits
        self.read_deadline = _NO_DEADLINE
        if self._read_state == _BODY and (self.flow.read_paused or self._body_bytes >= limits.window):
            self._body_bytes = 0  # it keeps the rate, or the application is not reading
            self.read_deadline = now + limits.body_deadline
        elif self._read_state == _BODY:
            self._reject(
                TooSlow(
                    f"the body came too slowly: {self._body_bytes} bytes in {limits.body_deadline:g} seconds; "
                    f"at least {limits.body_rate} bytes a second are required"
                )
            )
        elif self._read_state == _HEADERS and self.is_busy:
            self.read_deadline = now + CHECK_INTERVAL  # the previous request is answered first
        elif self._read_state == _HEADERS:
            self._reject(TooSlow(f"the headers were not whole after {limits.headers_deadline:g} seconds"))
        else:
            self.transport.close()

    def on_write_timeout(self, now: float) -> None:
        """`write_deadline` has passed."""
        size = self._unsent_bytes()
        if not self.transport.get_write_buffer_size():  # the system sends the rest
            self.write_deadline = _NO_DEADLINE
        elif self._unsent_mark - size >= self.monitor.limits.window:
            self._unsent_mark = size
            self.write_deadline = now + self.monitor.limits.body_deadline
        else:
            _log.debug("a response was not received: %d bytes are unsent", size)
            self.write_deadline = _NO_DEADLINE
            self.transport.abort()

    def _unsent_bytes(self) -> int:
        """Bytes of responses that the client has not received."""
        return self.transport.get_write_buffer_size() + unsent_bytes(self.transport.get_extra_info("socket"))

    # --- rejections --------------------------------------------------------------------------------------

    def _evict_idle(self) -> None:
        """Make room for this connection: close the longest idle one, or else answer only what is always answered."""
        if self.monitor.idle:
            oldest = next(iter(self.monitor.idle))
            del self.monitor.idle[oldest]
            if oldest.transport.get_write_buffer_size():  # a response that it does not receive could stay for long
                oldest.transport.abort()
            else:
                oldest.transport.close()
        else:
            limit = self.monitor.limits.max_connections
            self.app = _rejecting_application(
                TooManyConnections(f"{limit} connections have requests in progress, which is the limit; try again"),
                self.app,
                self.monitor.limits.always_answered,
            )

    def _check_header_size(self) -> None:
        """Many bytes arrived up to the end of the headers: reject the request if the headers alone are too large."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.monitor.limits.max_header_bytes:
            self.app = _rejecting_application(_headers_too_large(self.monitor.limits))

    def _reject(self, error: ServiceError) -> None:
        """Answer with `error`, if a response to this request can still begin, and close the connection."""
        self.read_deadline = _NO_DEADLINE
        cycle = self.cycle
        if self._read_state == _BODY:
            can_answer = self.is_busy and not cycle.response_started and not self.pipeline
        else:
            can_answer = not self.is_busy
        if can_answer and not self.transport.is_closing():
            _log.debug("rejected: %s", error.detail)
            body = _problem_body(error, "")
            headers = [*self.server_state.default_headers, *_problem_headers(error, body)]
            message = [STATUS_LINE[error.status], *(b"%s: %s\r\n" % pair for pair in headers), b"\r\n", body]
            self.transport.write(b"".join(message))
        if self.is_busy:  # the application learns that its client has disconnected
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()


def _headers_too_large(limits: ConnectionLimits) -> ServiceError:
    return HeadersTooLarge(
        f"the request's address and headers are larger than {limits.max_header_bytes} bytes, which is the limit"
    )


def _problem_headers(error: ServiceError, body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        *((name.lower().encode(), value.encode()) for name, value in error.headers.items()),
    ]


def _problem_body(error: ServiceError, instance: str) -> bytes:
    return orjson.dumps(problem(instance, error.status, error.title, error.detail))


def _rejecting_application(
    error: ServiceError, application: ASGIApp | None = None, always_answered: Collection[str] = ()
) -> ASGIApp:
    """An application that answers every request with `error`, but leaves `always_answered` paths to `application`."""

    async def reject(scope: Scope, receive: Receive, send: Send) -> None:
        if application is not None and scope["path"] in always_answered:
            await application(scope, receive, send)
            return
        body = _problem_body(error, scope["path"])
        await send({"type": "http.response.start", "status": error.status, "headers": _problem_headers(error, body)})
        await send({"type": "http.response.body", "body": body})

    return reject
