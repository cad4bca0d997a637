"""Graceful shutdown: requests in progress are answered, and load balancers learn of it before connections are refused.

SIGTERM -> /readyz is 503, all else is served for `drain` seconds -> no new connections -> all answered -> exit code 0

A load balancer, or Kubernetes' endpoints, need some seconds to stop sending requests here; connections that are
refused or reset in that time are lost requests. While the server drains, each response closes its connection. Ctrl-C
does not drain. A second signal ends the drain; a third one cancels the requests that are in progress.
"""

import asyncio
import logging
import signal
import socket
import time
from types import FrameType

import uvicorn

from service.server.connection import ConnectionMonitor
from service.server.lifecycle import Lifecycle

CANCEL_TIMEOUT = 2.0  # seconds for cancelled requests to end
_log = logging.getLogger("service.ending")


class GracefulServer(uvicorn.Server):
    """A uvicorn server that drains before it stops.

    Args:
        config: its `http` is `monitor.create_connection`.
        lifecycle: its `is_stopping` becomes True.
        drain: seconds from SIGTERM until no connection is accepted, 0 or more.
    """

    def __init__(self, config: uvicorn.Config, monitor: ConnectionMonitor, lifecycle: Lifecycle, drain: float) -> None:
        super().__init__(config)
        self._monitor, self._lifecycle, self._drain = monitor, lifecycle, drain
        self._drain_until = float("inf")
        self._is_drain_logged = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Signal handler: it only sets flags. The signal is not raised again, so the exit code is 0."""
        is_first = not self._lifecycle.is_stopping
        self._lifecycle.is_stopping = self._monitor.is_draining = True
        if is_first and sig == signal.SIGTERM and self._drain:
            self._drain_until = time.monotonic() + self._drain
        elif not self.should_exit:
            self.should_exit = True
        else:
            self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        if self._lifecycle.is_stopping and not self._is_drain_logged:
            self._is_drain_logged = True
            _log.info("stopping: not ready from now on, serving for %.1f more seconds", self._remaining_seconds())
        if not self._remaining_seconds():
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            if self.server_state.tasks:
                await asyncio.wait(self.server_state.tasks, timeout=CANCEL_TIMEOUT)
            await self.lifespan.shutdown()  # waits for runs in threads, which cannot be cancelled

    def _remaining_seconds(self) -> float:
        return 0.0 if self.should_exit else max(0.0, self._drain_until - time.monotonic())
