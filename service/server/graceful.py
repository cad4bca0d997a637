"""How the service leaves: SIGTERM -> not ready -> serves on while it drains -> no new connections -> all answered -> 0.

Whoever sends requests here (a load balancer, Kubernetes' endpoints) needs some seconds to learn that it is to stop;
connections that are refused or reset meanwhile are lost requests. So for `drain` seconds /readyz says 503 and all else
goes on, but that each answer closes its connection. Ctrl-C does not drain. A signal more cuts the drain short, one
more drops the requests that are in hand.
"""

import asyncio
import logging
import signal
import socket
import time
from types import FrameType

import uvicorn
from starlette.datastructures import State

from service.server.connection import Watch

DROPPED = 2.0  # seconds for the work of dropped requests to be called off
_log = logging.getLogger("service.ending")


class Server(uvicorn.Server):
    """uvicorn's, with a drain.

    Args:
        config: its `http` is `watch.connection`.
        state: the application's; its `stopping` becomes True.
        drain: seconds from SIGTERM until no connection is accepted, 0 or more.
    """

    def __init__(self, config: uvicorn.Config, watch: Watch, state: State, drain: float) -> None:
        super().__init__(config)
        self._watch, self._state, self._drain = watch, state, drain
        self._leave_at = float("inf")
        self._told = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """A signal handler: it only notes what came. Nothing is raised again: leaving so is exit code 0."""
        first = not self._state.stopping
        self._state.stopping = self._watch.leaving = True
        if first and sig == signal.SIGTERM and self._drain:
            self._leave_at = time.monotonic() + self._drain
        elif not self.should_exit:
            self.should_exit = True
        else:
            self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        if self._state.stopping and not self._told:
            self._told = True
            _log.info("stopping: not ready from now on, serving for %.1f more seconds", self._left())
        if not self._left():
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            if self.server_state.tasks:
                await asyncio.wait(self.server_state.tasks, timeout=DROPPED)
            await self.lifespan.shutdown()  # waits for the runs in the threads: nothing can call them off

    def _left(self) -> float:
        return 0.0 if self.should_exit else max(0.0, self._leave_at - time.monotonic())
