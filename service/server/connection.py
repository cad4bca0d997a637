"""HTTP connections with limits: deadlines and sizes for all that a client sends, a deadline for what it receives.

bytes -> data_received -> pieces -> parser -> callbacks -> application        what comes behind a request waits unparsed

uvicorn waits without limit for a request to be complete, and for a response to be received. Here a client has:
- `headers_deadline` from the connection, or from the first byte, to the end of the headers. Headers fit one packet, so
  a well-behaved client needs one round trip.
- For the body no total time, since a large upload may take long, but a rate: every `body_deadline` seconds must bring
  `body_rate` bytes a second, or the end of the body. An average since the start would let a client that has sent much
  stall for long. The same rate holds for receiving the response.
- `max_header_bytes` for the address and the headers, in MAX_HEADER_LINES lines at most, and once more for what frames
  a chunked body: lengths, extensions and trailers, beyond FRAMING_PER_CHUNK for each chunk with data. Trailers are
  dropped. The parser gathers a long value anew with every packet, so bytes are counted before the parser gets more.
- `max_body_bytes` for the rest of a body whose request is answered already.
- `max_connections`. When all are in use, the connection that has been idle for longest is closed for the new one. If
  none is idle, new connections are answered 503, except for the paths that are always answered.

- MAX_WAITING_BYTES for what comes behind a request in progress. It waits as it came.

Bytes reach the parser in pieces of PIECE_BYTES, or of one body, no client's for longer than MAX_PARSE_SECONDS. A
connection is read while its request is in progress, which shows that a client hangs up; while a body waits for the
application, the system is asked.
A request that arrives in one piece costs some assignments and no timer. A complete response is sent by one call
(service.server.raw_response), not by two ASGI messages.
"""

import asyncio
import logging
import math
from asyncio import AbstractEventLoop
from time import perf_counter
from typing import Any
from urllib.parse import unquote

import httptools
from starlette.types import ASGIApp, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.errors import HeadersTooLarge, MalformedRequest, ServiceError, TooLarge, TooManyConnections, TooSlow
from service.server.connection_limits import MAX_HEADER_LINES, ConnectionLimits, unsent_bytes
from service.server.connection_monitor import NO_DEADLINE, ConnectionMonitor
from service.server.raw_response import RAW_RESPONSE
from service.server.rejections import answer_options, rejecting_application, rejection_bytes
from service.server.request_head import ANY_RESOURCE, SEVERAL_HOSTS, check_head, plain_head

LINGER = 0.5  # seconds that an idle connection stays open at shutdown: a request may be on its way
MAX_WAITING_BYTES = 1 << 18  # behind a request in progress
PIECE_BYTES = 1 << 12  # a piece holds at most 157 requests, which are parsed before the first is answered
MAX_PARSE_SECONDS = 0.001  # in a row for one client: a piece of the smallest chunks takes half a millisecond
_LARGE_READ = 1 << 16  # bytes
FRAMING_PER_CHUNK = 16  # bytes of a chunk's length and line ends beside its data; more counts as framing
_MAX_COPY_BYTES = 1 << 14  # bytes of a body: copying it behind its headers is faster than a second write
_BEFORE_REQUEST, _HEADERS, _BODY, _COMPLETE = range(4)  # read state; _COMPLETE: received and not answered
_EXAMINED_HEADERS = frozenset({b"expect", b"host", b"transfer-encoding", b"upgrade"})
_log = logging.getLogger("service.protocol")


class ReadFlow(FlowControl):
    """uvicorn's flow control, but while `is_blocked`, an application that receives does not resume reading."""

    is_blocked = False

    def resume_reading(self) -> None:
        if not self.is_blocked:
            super().resume_reading()


class Connection(HttpToolsProtocol):
    """The connection of one client; pass partial(Connection, monitor) as uvicorn.Config(http=...).

    `read_deadline`, `write_deadline`: seconds on the loop's clock.
    """

    flow: ReadFlow

    def __init__(
        self,
        monitor: ConnectionMonitor,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.monitor = monitor
        self.read_deadline = self.write_deadline = NO_DEADLINE
        self._read_state = _BEFORE_REQUEST
        self._header_bytes = self._body_bytes = self._framing_bytes = self._unwanted_bytes = self._length_received = 0
        self._length: int | None = None  # of the body, once it matters
        self._host: bytes | None = None
        self._has_upgrade = False
        self._transfer_codings: tuple[bytes, ...] = ()
        self._plain_head: bytes | None = None  # of a request with Upgrade: to be parsed in its place
        self._waiting_data = bytearray()  # not parsed yet
        self._is_waiting = False  # a request is in progress: what comes now has to wait
        self._last_error: ServiceError | None = None  # the answer to what came behind a request in progress
        self._active_cycle: RequestResponseCycle | None = None  # `cycle` is the newest: it may be in the pipeline
        self._unsent_mark: float = 0

    @property
    def is_busy(self) -> bool:
        """Whether a request is being received or answered."""
        return self.cycle is not None and not self.cycle.response_complete

    # --- what the client sends ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = ReadFlow(transport)
        self.read_deadline = self.loop.time() + self.monitor.limits.headers_deadline
        self.monitor.schedule_check(self.connections, self.loop)
        if len(self.connections) > self.monitor.limits.max_connections:
            self._evict_idle()
        self.monitor.idle[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.monitor.idle.pop(self, None)
        self._waiting_data.clear()
        super().connection_lost(exc)
        for cycle in (self._active_cycle, *[queued for queued, _ in self.pipeline]):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()
                cycle.scope.pop("extensions", None)  # refers to us: only the cyclic collector would free it
        self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, but in pieces, within limits, and for one request at a time."""
        size = len(data)
        if not self._is_waiting and not self._waiting_data:
            if size > PIECE_BYTES and self._read_state != _BODY:  # often a head and its body
                self._parse(data[:PIECE_BYTES])
                data = data[PIECE_BYTES:]
                if self.transport.is_closing():
                    return
            if not self._is_waiting and len(data) <= self._piece_size():
                self._parse(data)
            else:
                self._waiting_data += data
                self._parse_waiting_data()
        elif self._last_error is not None:  # nothing more will be answered; reading on shows when the client leaves
            self._drop(data)
        elif self._is_waiting and len(self._waiting_data) + size > MAX_WAITING_BYTES:
            self._reject(
                TooLarge(
                    f"more than {MAX_WAITING_BYTES} bytes came on this connection while an earlier request was in "
                    "progress; wait for its response, or use another connection"
                )
            )
        else:
            self._waiting_data += data
            self._parse_waiting_data()
        if size >= _LARGE_READ and not self.flow.is_blocked:
            self._continue_later()  # else the loop reads up to 32 times from this client before it turns to others

    def _parse_waiting_data(self) -> None:
        """Parse what was read, for at most MAX_PARSE_SECONDS in a row, up to the end of one request; then read on."""
        until = perf_counter() + MAX_PARSE_SECONDS
        while self._waiting_data and not self._is_waiting and not self.transport.is_closing():
            if perf_counter() > until:
                self._continue_later()
                return
            size = self._piece_size()
            piece = self._waiting_data[:size]
            del self._waiting_data[:size]
            self._parse(piece)
        if self.transport.is_closing():
            self._waiting_data.clear()
            return
        self.flow.is_blocked = False
        if not self.is_busy or len(self.cycle.body) <= HIGH_WATER_LIMIT:
            self.flow.resume_reading()

    def _piece_size(self) -> int:
        """Bytes that may be parsed at once: PIECE_BYTES, or all that are certainly of this request's body."""
        if self._read_state != _BODY:
            return PIECE_BYTES
        if self._length is None:
            self._length = int(dict(self.headers).get(b"content-length", 0))
        return max(PIECE_BYTES, self._length - self._length_received)

    def _continue_later(self) -> None:
        if not self.transport.is_closing():
            self.flow.is_blocked = True
            self.flow.pause_reading()
            self.loop.call_soon(self._parse_waiting_data)

    def _drop(self, data: bytes | bytearray) -> None:
        """Count bytes that no response needs."""
        self._unwanted_bytes += len(data)
        if self._unwanted_bytes > self.monitor.limits.max_body_bytes:
            self.transport.close()

    def _parse(self, data: bytes | bytearray) -> None:
        """Give a piece to the parser; bytes that are not HTTP are answered with a problem document."""
        limits = self.monitor.limits
        if self._read_state == _BODY:
            self._body_bytes += len(data)
            self._framing_bytes += len(data)
            if self.cycle.response_complete:
                self._drop(data)
                if self.transport.is_closing():
                    return
        else:
            self._header_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parse_without_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            _log.debug("the bytes are not HTTP: %s", error)
            self._reject(MalformedRequest("what came is not a request of HTTP/1.1"))
            return
        state = self._read_state
        if state == _COMPLETE:
            self._is_waiting = True
        elif self.pipeline or (state == _HEADERS and self.is_busy):
            self._is_waiting = True
            self.read_deadline = NO_DEADLINE
        elif state == _BODY:
            if self._framing_bytes > limits.max_header_bytes:
                self._reject(
                    HeadersTooLarge(
                        "the lengths, extensions and trailers of the chunked body are larger than "
                        f"{limits.max_header_bytes} bytes, which is the limit"
                    )
                )
            elif self.read_deadline == NO_DEADLINE:
                self.read_deadline = self.loop.time() + limits.body_deadline
        elif self._header_bytes > limits.max_header_bytes or (
            state == _HEADERS and len(self.headers) > MAX_HEADER_LINES
        ):
            self._reject(_headers_too_large(limits))
        elif self.read_deadline == NO_DEADLINE:
            self.read_deadline = self.loop.time() + limits.headers_deadline

    def _parse_without_upgrade(self, rest: bytes | bytearray) -> None:
        """The parser has stopped for another protocol: a new one gets the request without that wish."""
        head, self._plain_head = self._plain_head, None
        if head is None:  # CONNECT, which is rejected
            self._is_waiting = True
            return
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self._parse(head)
        if rest and not self.transport.is_closing():
            self._waiting_data[:0] = rest
            self._parse_waiting_data()

    # --- callbacks of the parser -------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._read_state = _HEADERS
        self.read_deadline = NO_DEADLINE
        self._host, self._has_upgrade, self._transfer_codings = None, False, ()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._read_state != _HEADERS:  # a trailer
            return
        name = name.lower()
        if name in _EXAMINED_HEADERS:
            if name == b"host":
                self._host = value if self._host is None else SEVERAL_HOSTS
            elif name == b"upgrade":
                self._has_upgrade = True
            elif name == b"transfer-encoding":
                self._transfer_codings += (value.lower(),)
            elif value.lower() == b"100-continue":
                self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """As uvicorn's, without its limit_concurrency and WebSockets, and with checks."""
        if self._has_upgrade and self.parser.should_upgrade():
            version = self.parser.get_http_version()
            self._plain_head = plain_head(self.parser.get_method(), self.url, version, self.headers)
            return
        self.monitor.idle.pop(self, None)
        version, application, scope = self.parser.get_http_version(), self.app, self.scope
        if self._header_bytes > self.monitor.limits.max_header_bytes or len(self.headers) > MAX_HEADER_LINES:
            application = self._check_header_size() or application
        self._header_bytes = self._body_bytes = self._framing_bytes = self._unwanted_bytes = self._length_received = 0
        self._length = None
        is_usual = self._host == self.monitor.valid_host and self.url.startswith(b"/") and b"#" not in self.url
        if not is_usual or version != "1.1" or self._transfer_codings:
            application = self._check_head(version) or application
        address = httptools.parse_url(self.url)
        path = address.path.decode("ascii")
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode("ascii") + address.path
        scope["query_string"] = address.query or b""
        scope["extensions"] = {RAW_RESPONSE: {"send": self._send_at_once}}
        previous = self.cycle
        self.cycle = cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version == "1.1" and self.parser.should_keep_alive() and not self.monitor.is_draining,
            on_response=self.on_response_complete,
        )
        self._read_state = _BODY
        self.read_deadline = NO_DEADLINE
        if previous is None or previous.response_complete:
            self._start_asgi_task(cycle, application)
        else:
            self.pipeline.appendleft((cycle, application))

    def on_body(self, body: bytes) -> None:
        self._length_received += len(body)
        framing_bytes = self._framing_bytes - len(body) - FRAMING_PER_CHUNK
        self._framing_bytes = framing_bytes if framing_bytes > 0 else 0
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._plain_head is not None:
            return
        cycle = self.cycle
        if cycle.response_complete:  # the rest of a body that was not wanted
            self._read_state = _BEFORE_REQUEST
            self.read_deadline = self.loop.time() + self.timeout_keep_alive
            return
        self._read_state = _COMPLETE
        self.read_deadline = NO_DEADLINE
        cycle.more_body = False
        cycle.message_event.set()

    def _check_header_size(self) -> ASGIApp | None:
        """Many bytes arrived up to the end of the headers: the application that rejects them if they are too large."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.monitor.limits.max_header_bytes or len(self.headers) > MAX_HEADER_LINES:
            return rejecting_application(_headers_too_large(self.monitor.limits))
        return None

    def _check_head(self, version: str) -> ASGIApp | None:
        """The head is not that of most requests: bring its target into origin form. None: it is for the application."""
        try:
            self.url = check_head(self.parser.get_method(), self.url, self._host, version, self._transfer_codings)
        except MalformedRequest as error:
            self.url = b"/"
            return rejecting_application(error)
        self.monitor.valid_host = self._host or self.monitor.valid_host
        if self.url == ANY_RESOURCE:
            self.url = b"/"
            return answer_options
        return None

    # --- the turns of requests ---------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._active_cycle = cycle
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_response_complete(self) -> None:
        """As uvicorn's, but a connection that is kept alive has a read deadline instead of a timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            if self.pipeline or self._read_state != _BODY:
                return
        self._is_waiting = False
        if self._last_error is not None and not self.is_busy:
            self._reject(self._last_error)
            return
        if self._read_state == _COMPLETE:
            self._read_state = _BEFORE_REQUEST
            self.read_deadline = self.loop.time() + self.timeout_keep_alive
        else:
            self._set_read_deadline()
        if self._waiting_data or self.flow.read_paused:
            self._parse_waiting_data()
        if self.cycle.response_complete:
            self.monitor.idle[self] = None

    def _set_read_deadline(self) -> None:
        """A response is complete and a message has begun: until when must the client send the rest?"""
        limits = self.monitor.limits
        if self._read_state == _HEADERS:
            self.read_deadline = self.loop.time() + limits.headers_deadline
        elif self.read_deadline == NO_DEADLINE:
            self.read_deadline = self.loop.time() + limits.body_deadline

    def pause_writing(self) -> None:
        """The transport's buffer is full: from now on the client must receive at the minimum rate."""
        super().pause_writing()
        if self.write_deadline == NO_DEADLINE:
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
        cycle = self._active_cycle
        if cycle is None or cycle.scope is not scope:
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
        self.read_deadline = NO_DEADLINE
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
        elif self._read_state == _HEADERS:
            self._reject(TooSlow(f"the headers were not whole after {limits.headers_deadline:g} seconds"))
        else:
            self.transport.close()

    def on_write_timeout(self, now: float) -> None:
        """`write_deadline` has passed."""
        size = self._unsent_bytes()
        if not self.transport.get_write_buffer_size():  # the system sends the rest
            self.write_deadline = NO_DEADLINE
        elif self._unsent_mark - size >= self.monitor.limits.window:
            self._unsent_mark = size
            self.write_deadline = now + self.monitor.limits.body_deadline
        else:
            _log.debug("a response was not received: %d bytes are unsent", size)
            self.write_deadline = NO_DEADLINE
            self.transport.abort()

    def _unsent_bytes(self) -> int:
        """Bytes of responses that the client has not received."""
        return self.transport.get_write_buffer_size() + unsent_bytes(self.transport.get_extra_info("socket"))

    def on_hang_up(self) -> None:
        """The client has closed the connection, or sends no more, though bytes of it are still unread."""
        self.transport.abort()

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
            self.app = rejecting_application(
                TooManyConnections(f"{limit} connections have requests in progress, which is the limit; try again"),
                self.app,
                self.monitor.limits.always_answered,
            )

    def _reject(self, error: ServiceError) -> None:
        """Answer with `error` when all earlier requests are answered, if a response can still begin; then close."""
        self.read_deadline = NO_DEADLINE
        is_current = self._read_state == _BODY and not self.pipeline  # the error is in the body of the active request
        if self.is_busy and not is_current:
            if self._read_state == _BODY:  # of the newest request, which has not started
                self.pipeline.popleft()
                newest = self.pipeline[0][0] if self.pipeline else self._active_cycle
                if newest is not None:
                    self.cycle = newest
            self._read_state, self._last_error, self._is_waiting = _HEADERS, error, True
            self._waiting_data.clear()
            return
        cycle = self.cycle
        can_answer = not (is_current and (cycle.response_started or cycle.response_complete))
        if can_answer and not self.transport.is_closing():
            _log.debug("rejected: %s", error.detail)
            self.transport.write(rejection_bytes(error, self.server_state.default_headers))
        if self.is_busy:  # the application learns that its client has disconnected
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()


def _headers_too_large(limits: ConnectionLimits) -> ServiceError:
    return HeadersTooLarge(
        f"the request's address and headers are larger than {limits.max_header_bytes} bytes, or more than "
        f"{MAX_HEADER_LINES} lines, which is the limit"
    )
