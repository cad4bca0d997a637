"""Graceful shutdown: requests in progress are answered, and load balancers learn of it before connections are refused.

SIGTERM -> /readyz is 503, all else is served for `drain` seconds -> no new connections -> all answered -> exit code 0

A load balancer, or Kubernetes' endpoints, need some seconds to stop sending requests here; connections that are
refused or reset in that time are lost requests. While the server drains, each response closes its connection. Ctrl-C
does not drain. A second signal drops the requests that are in progress.

The process ends in a time that is known, whatever its threads do: a thread that runs a graph without end cannot be
stopped, and the interpreter would wait for it. `grace` seconds after the drain requests in progress are dropped;
EXIT_TIMEOUT after the last request, or after a second signal, the process ends with its threads.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from types import FrameType

import uvicorn

from service.server.connection_monitor import ConnectionMonitor
from service.server.lifecycle import Lifecycle

CANCEL_TIMEOUT = 1.0  # seconds for cancelled requests to end
EXIT_TIMEOUT = 1.0  # seconds for threads to end
_POLL_INTERVAL = 0.05  # seconds
_log = logging.getLogger("service.ending")


class GracefulServer(uvicorn.Server):
    """A uvicorn server that drains before it stops.

    Args:
        config: its `http` makes connections of `monitor`.
        lifecycle: its `is_stopping` becomes True.
        drain: seconds from SIGTERM until no connection is accepted, 0 or more.
        grace: seconds from then until requests in progress are dropped.
    """

    def __init__(
        self, config: uvicorn.Config, monitor: ConnectionMonitor, lifecycle: Lifecycle, drain: float, grace: float
    ) -> None:
        super().__init__(config)
        self._monitor, self._lifecycle, self._drain, self._grace = monitor, lifecycle, drain, grace
        self._drain_until = float("inf")
        self._drop_at = float("inf")  # time.monotonic, as all of these
        self._exit_at = float("inf")
        self._watchdog: threading.Thread | None = None
        self._has_ended = False

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal ends it. Ends the process, with exit code 0, if threads do not end."""
        earlier_threads = set(threading.enumerate())
        super().run(sockets)
        until = time.monotonic() + EXIT_TIMEOUT
        threads = [t for t in threading.enumerate() if t not in earlier_threads and not t.daemon]
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            _exit()
        self._has_ended = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Signal handler: it only sets flags. The signal is not raised again, so the exit code is 0."""
        now, is_first = time.monotonic(), not self._lifecycle.is_stopping
        self._lifecycle.is_stopping = self._monitor.is_draining = True
        if is_first:
            self._drain_until = now + (self._drain if sig == signal.SIGTERM else 0.0)
            self._drop_at = self._drain_until + self._grace
        else:
            self._drain_until, self._drop_at = now, now

    async def on_tick(self, counter: int) -> bool:
        if self._lifecycle.is_stopping and self._watchdog is None:
            self._watchdog = threading.Thread(target=self._watch, name="exit", daemon=True)
            self._watchdog.start()
            _log.info("stopping: not ready from now on, serving for %.1f more seconds", self._remaining_seconds())
        if not self._remaining_seconds():
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._exit_at = time.monotonic() + CANCEL_TIMEOUT + EXIT_TIMEOUT
        if self.force_exit:
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            if self.server_state.tasks:
                await asyncio.wait(self.server_state.tasks, timeout=CANCEL_TIMEOUT)
            await self.lifespan.shutdown()

    def _watch(self) -> None:
        """In a thread of its own: drops requests at the end of the grace period, and ends the process after that."""
        while not self._has_ended:
            now = time.monotonic()
            if now >= self._exit_at:
                _exit()
            if now >= self._drop_at and not self.force_exit:
                self.should_exit = self.force_exit = True
                self._exit_at = min(self._exit_at, now + CANCEL_TIMEOUT + EXIT_TIMEOUT)
            time.sleep(_POLL_INTERVAL)

    def _remaining_seconds(self) -> float:
        return 0.0 if self.should_exit else max(0.0, self._drain_until - time.monotonic())


def _exit() -> None:
    """End the process without waiting for its threads."""
    _log.warning("stopped; threads that do not end are left behind")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
