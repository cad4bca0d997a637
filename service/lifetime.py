"""How long a request lives: until its deadline, or until its caller leaves.

Whichever comes first cancels the request's task, and with it the items of its that have not started.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from service.errors import DeadlineExceeded


class Limit:
    """The deadline of the block that it was made for, and how long that is in seconds."""

    def __init__(self, timeout: asyncio.Timeout, seconds: float) -> None:
        self._timeout, self.seconds = timeout, seconds

    def extend(self, seconds: float) -> None:
        """Give it more time; raises RuntimeError if it is over."""
        due = self._timeout.when()
        if seconds and due is not None:
            self.seconds += seconds
            self._timeout.reschedule(due + seconds)


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[Limit]:
    """The block takes at most `seconds`, or as much as its Limit says then; DeadlineExceeded (504) after that."""
    timeout = asyncio.timeout(seconds)
    limit = Limit(timeout, seconds)
    try:
        async with timeout:
            yield limit
    except TimeoutError as late:
        if not timeout.expired():
            raise
        raise DeadlineExceeded(
            f"the request was not done after {limit.seconds:g} seconds, which is its deadline; send less, or more time "
            f"in the header Request-Deadline",
            seconds=limit.seconds,
        ) from late


@asynccontextmanager
async def leaving(request: Request, *, watched: bool) -> AsyncIterator[None]:
    """ClientDisconnect as soon as the caller hangs up; the request's body must have been received.

    Args:
        watched: False for work that is done before the loop would learn of it.
    """
    task = asyncio.current_task()
    if not watched or task is None:
        yield
        return
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError as cancelled:
        if not gone or task.uncancel() > 0:  # someone else cancels it as well: the deadline, the server
            raise
        raise ClientDisconnect from cancelled
    finally:
        watcher.cancel()
