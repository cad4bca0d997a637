"""Connections within bounds: deadlines for what a client sends and takes, a limit on headers and on open connections.
And answers in one piece: what is whole when it begins goes out by one call (`WHOLE`), not by two messages.

bytes -> Connection (uvicorn's own protocol, watched) -> application        Watch: all connections of a server

uvicorn waits for ever for a request to be whole, and for an answer to be taken. Here a client has:
- `headers_deadline` from connection or first byte to the end of the headers: they fit one packet, so honest ones need
  a round trip;
- for the body no total, since a large honest upload takes its time, but a pace: every `body_deadline` seconds must
  bring `body_rate` bytes a second, or its end. An average since the start would let who has sent much stall for long.
  The same pace holds for taking the answer.
- `max_connections`: when all are taken, the one that has had no request in hand for longest makes room, so a newcomer
  gets in. If all have one, newcomers are answered 503, but for health and metrics.

One look at all connections every TICK seconds finds who is late; a request that comes in one piece costs some
assignments and no timer.
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
from service.server.raw_response import WHOLE, lines

TICK = 0.25  # seconds
LINGER = 0.5  # seconds that a connection without a request stays open at the end: one may be on its way
_COPIED = 1 << 14  # bytes of a body: to copy it behind its headers takes less than a second write
_NEVER = math.inf
_WHOLE, _HEADERS, _BODY, _BEGIN = range(4)  # what is awaited of a request: nothing, end of headers, of body; its begin
_log = logging.getLogger("service.protocol")


class Watch:
    """All connections of one server; pass `connection` as uvicorn.Config(http=...). Belongs to one event loop."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.leaving = False  # every answer is its connection's last
        self.waiting: dict[Connection, None] = {}  # without a request in hand, who has waited longest first
        self._ticks = False
        self._defaults: tuple[Sequence[tuple[bytes, bytes]], bytes] = ((), b"")

    def connection(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> "Connection":
        """What uvicorn calls for each client."""
        return Connection(self, config, server_state, app_state, _loop)

    def ticking(self, connections: set[Any], loop: AbstractEventLoop) -> None:
        """Look at `connections` from now on, until none is left."""
        if not self._ticks:
            self._ticks = True
            loop.call_later(TICK, self._tick, connections, loop)

    def default_lines(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """uvicorn's own headers (Date, Server) as lines; it makes a new list once a second."""
        if headers is not self._defaults[0]:
            self._defaults = headers, lines(headers)
        return self._defaults[1]

    def _tick(self, connections: set[Any], loop: AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(connections):
            if connection.due <= now:
                connection.late(now)
            if connection.sending_due <= now:
                connection.late_sending(now)
        self._ticks = False
        if connections:
            self.ticking(connections, loop)


class Connection(HttpToolsProtocol):
    """One client. `due` and `sending_due` are when it is late, on the loop's clock."""

    def __init__(
        self,
        watch: Watch,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.watch = watch
        self.due = self.sending_due = _NEVER
        self._awaited = _BEGIN
        self._header_bytes = self._body_bytes = 0
        self._unsent: float = 0

    @property
    def busy(self) -> bool:
        """A request of it is being received or answered."""
        return self.cycle is not None and not self.cycle.response_complete

    # --- what uvicorn's protocol is told -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.due = self.loop.time() + self.watch.limits.headers_deadline
        self.watch.ticking(self.connections, self.loop)
        if len(self.connections) > self.watch.limits.max_connections:
            self._make_room()
        self.watch.waiting[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.waiting.pop(self, None)
        super().connection_lost(exc)
        if self.cycle is not None:  # its scope holds us: a circle, which only the cyclic collector would end
            self.cycle.scope.pop("extensions", None)

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, but that what is no HTTP is answered as a problem and logged for debugging only."""
        if self._awaited == _BODY:
            self._body_bytes += len(data)
        else:
            self._header_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # the request is answered as plain HTTP; nothing after it can be read
            if self.cycle is not None:
                self.cycle.keep_alive = False
        except httptools.HttpParserError as broken:
            _log.debug("what came is not HTTP: %s", broken)
            self._refuse(MalformedRequest("what came is not a request of HTTP/1.1"))
            return
        if self._awaited == _WHOLE:
            cycle = self.cycle
            if cycle is None or cycle.response_complete:  # blank lines, or the rest of a body that was refused
                self._awaited = _BEGIN
                self.due = self.loop.time() + self.watch.limits.headers_deadline
            return
        limits = self.watch.limits
        if self._header_bytes > limits.max_header_bytes:
            self._refuse(_too_large(limits))
        elif self.due == _NEVER:
            wait = limits.body_deadline if self._awaited == _BODY else limits.headers_deadline
            self.due = self.loop.time() + wait

    def on_message_begin(self) -> None:
        self._awaited = _HEADERS
        self.due = _NEVER
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.watch.waiting.pop(self, None)
        if self._header_bytes > self.watch.limits.max_header_bytes:
            self._weigh_headers()
        self._header_bytes = self._body_bytes = 0
        super().on_headers_complete()
        self._awaited = _BODY
        self.due = _NEVER
        self.scope["extensions"] = {WHOLE: {"write": self._whole}}
        if self.watch.leaving:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        self._awaited = _WHOLE
        self.due = _NEVER
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, but that a connection kept alive has a time to be late, and no timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        if self._awaited == _WHOLE:
            self.due = self.loop.time() + self.timeout_keep_alive
        if not self.busy:
            self.watch.waiting[self] = None

    def pause_writing(self) -> None:
        """More is unsent than the transport likes to keep: from now on the client must take it at the pace."""
        super().pause_writing()
        if self.sending_due == _NEVER:
            self.sending_due = self.loop.time() + self.watch.limits.body_deadline
            self._unsent = self._unsent_bytes()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unsent = _NEVER  # it took most of it

    def shutdown(self) -> None:
        """The server leaves: what is in hand is answered; else a moment for a request that is on its way."""
        self.watch.leaving = True
        if self.busy:
            super().shutdown()
        else:
            self.due = min(self.due, self.loop.time() + LINGER)

    def _whole(self, scope: Scope, status: int, head: bytes, body: bytes) -> bool:
        """Write the answer to the request of `scope` at once; False, and nothing is done, if it must go by messages.

        Args:
            head: lines of headers, Content-Length among them; each ends with CR LF.
        """
        cycle = self.cycle
        if cycle is None or cycle.scope is not scope:  # others came behind it in the pipeline
            return False
        if cycle.response_started or cycle.disconnected or self.flow.write_paused:
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        whole = (STATUS_LINE[status], self.watch.default_lines(cycle.default_headers), head, end)
        if len(body) <= _COPIED:
            self.transport.write(b"".join((*whole, body)))
        else:
            self.transport.write(b"".join(whole))
            self.transport.write(body)
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    # --- who is late -------------------------------------------------------------------------------------

    def late(self, now: float) -> None:
        """`due` has passed."""
        limits = self.watch.limits
        self.due = _NEVER
        if self._awaited == _BODY and (self.flow.read_paused or self._body_bytes >= limits.window):
            self._body_bytes = 0  # it keeps the pace, or it is we who do not read
            self.due = now + limits.body_deadline
        elif self._awaited == _BODY:
            self._refuse(
                TooSlow(
                    f"the body came too slowly: {self._body_bytes} bytes in {limits.body_deadline:g} seconds; "
                    f"at least {limits.body_rate} bytes a second are wanted"
                )
            )
        elif self._awaited == _HEADERS and self.busy:
            self.due = now + TICK  # the request before is being answered: this one's refusal has to wait
        elif self._awaited == _HEADERS:
            self._refuse(TooSlow(f"the headers were not whole after {limits.headers_deadline:g} seconds"))
        else:
            self.transport.close()

    def late_sending(self, now: float) -> None:
        """`sending_due` has passed."""
        size = self._unsent_bytes()
        if not self.transport.get_write_buffer_size():  # what is left the system sends
            self.sending_due = _NEVER
        elif self._unsent - size >= self.watch.limits.window:
            self._unsent = size
            self.sending_due = now + self.watch.limits.body_deadline
        else:
            _log.debug("an answer was not taken: %d bytes are left", size)
            self.sending_due = _NEVER
            self.transport.abort()

    def _unsent_bytes(self) -> int:
        """Bytes of answers that the client has not taken."""
        return self.transport.get_write_buffer_size() + unsent_bytes(self.transport.get_extra_info("socket"))

    # --- refusals ----------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """This one is above the limit: who has waited longest leaves, else it is for health alone."""
        if self.watch.waiting:
            oldest = next(iter(self.watch.waiting))
            del self.watch.waiting[oldest]
            if oldest.transport.get_write_buffer_size():  # an answer that it does not take could stay for long
                oldest.transport.abort()
            else:
                oldest.transport.close()
        else:
            limit = self.watch.limits.max_connections
            self.app = _refusing(
                TooManyConnections(f"{limit} connections have requests in hand, which is the limit; try again"),
                self.app,
                self.watch.limits.always_answered,
            )

    def _weigh_headers(self) -> None:
        """Much came with the end of the headers: were they themselves too large?"""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.watch.limits.max_header_bytes:
            self.app = _refusing(_too_large(self.watch.limits))

    def _refuse(self, error: ServiceError) -> None:
        """Answer, if an answer to this request can still begin, and close."""
        self.due = _NEVER
        cycle = self.cycle
        fits = not self.busy or (self._awaited == _BODY and not cycle.response_started and not self.pipeline)
        if self._awaited == _BODY and not self.busy:
            fits = False  # it has its answer
        if fits and not self.transport.is_closing():
            _log.debug("refused: %s", error.detail)
            body = _problem_body(error, "")
            headers = [*self.server_state.default_headers, *_headers(error, body)]
            lines = [STATUS_LINE[error.status], *(b"%s: %s\r\n" % pair for pair in headers), b"\r\n", body]
            self.transport.write(b"".join(lines))
        if self.busy:  # the application is told that its client has left
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()


def _too_large(limits: ConnectionLimits) -> ServiceError:
    return HeadersTooLarge(
        f"the request's address and headers are larger than {limits.max_header_bytes} bytes, which is the limit"
    )


def _headers(error: ServiceError, body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        *((name.lower().encode(), value.encode()) for name, value in error.headers.items()),
    ]


def _problem_body(error: ServiceError, instance: str) -> bytes:
    return orjson.dumps(problem(instance, error.status, error.title, error.detail))


def _refusing(
    error: ServiceError, application: ASGIApp | None = None, always_answered: Collection[str] = ()
) -> ASGIApp:
    """An application that answers every request with `error`, except paths of `always_answered`: `application` does."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        if application is not None and scope["path"] in always_answered:
            await application(scope, receive, send)
            return
        body = _problem_body(error, scope["path"])
        await send({"type": "http.response.start", "status": error.status, "headers": _headers(error, body)})
        await send({"type": "http.response.body", "body": body})

    return refuse
