"""How long a request lives: until its deadline, or until its caller leaves.

Whichever comes first cancels the request's task, and with it the items of its that have not started.
"""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from starlette.requests import ClientDisconnect, Request

from service.errors import DeadlineExceeded

Result = TypeVar("Result")


class Deadline:
    """`async with Deadline(30) as deadline`: the block takes so many seconds at most; then DeadlineExceeded (504).

    Args:
        seconds: above 0.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._timeout = asyncio.timeout(seconds)

    def extend(self, seconds: float) -> None:
        """Give the block more time; raises RuntimeError if it is over."""
        due = self._timeout.when()
        if due is not None:
            self.seconds += seconds
            self._timeout.reschedule(due + seconds)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise DeadlineExceeded(
                f"the request was not done after {self.seconds:g} seconds, which is its deadline; send less, or ask "
                f"for more in the header Request-Deadline",
                seconds=self.seconds,
            ) from late


async def until_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """What `work` returns; ClientDisconnect as soon as the caller hangs up. The request's body was received before."""
    task = asyncio.current_task()
    if task is None:
        raise AssertionError("This is a bug: coroutines run in tasks")
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError as cancelled:
        if not gone or task.uncancel() > 0:  # someone else cancels it as well: the deadline, the server
            raise
        raise ClientDisconnect from cancelled
    finally:
        watcher.cancel()
