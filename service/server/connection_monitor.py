"""Connection monitor: deadlines and hang-ups of all connections of one server, and which of them are idle.

every CHECK_INTERVAL: read_deadline, write_deadline -> on_read_timeout, on_write_timeout        hung up -> on_hang_up
"""

import math
from asyncio import AbstractEventLoop
from collections.abc import Sequence
from typing import Any, Protocol

from service.server.connection_limits import ConnectionLimits, find_hang_ups
from service.server.raw_response import header_lines

CHECK_INTERVAL = 0.25  # seconds
NO_DEADLINE = math.inf


class MonitoredConnection(Protocol):
    """What the monitor sees of a connection. `read_deadline`, `write_deadline`: seconds on the loop's clock."""

    read_deadline: float
    write_deadline: float
    flow: Any
    transport: Any

    def on_read_timeout(self, now: float) -> None: ...

    def on_write_timeout(self, now: float) -> None: ...

    def on_hang_up(self) -> None: ...


class ConnectionMonitor:
    """All connections of one server, on one event loop."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.is_draining = False  # each response closes its connection
        self.idle: dict[Any, None] = {}  # connections without a request in progress; the longest idle first
        self.valid_host = b"\0"  # the Host header that was last found valid: most requests have the same
        self._is_check_scheduled = False
        self._defaults: tuple[Sequence[tuple[bytes, bytes]], bytes] = ((), b"")

    def schedule_check(self, connections: set[Any], loop: AbstractEventLoop) -> None:
        """Check `connections` from now on, until none is open."""
        if not self._is_check_scheduled:
            self._is_check_scheduled = True
            loop.call_later(CHECK_INTERVAL, self._check, connections, loop)

    def default_lines(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """The headers that uvicorn adds (Date, Server) as lines; uvicorn makes a new list once a second."""
        if headers is not self._defaults[0]:
            self._defaults = headers, header_lines(headers)
        return self._defaults[1]

    def _check(self, connections: set[MonitoredConnection], loop: AbstractEventLoop) -> None:
        now = loop.time()
        unread: list[MonitoredConnection] = []
        for connection in list(connections):
            if connection.read_deadline <= now:
                connection.on_read_timeout(now)
            if connection.write_deadline <= now:
                connection.on_write_timeout(now)
            if connection.flow.read_paused and not connection.transport.is_closing():
                unread.append(connection)
        if unread:  # whose end of stream lies behind bytes that are not read yet
            sockets = [connection.transport.get_extra_info("socket") for connection in unread]
            for index in find_hang_ups(sockets):
                unread[index].on_hang_up()
        self._is_check_scheduled = False
        if connections:
            self.schedule_check(connections, loop)
