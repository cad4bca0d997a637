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
    """`with Deadline(30) as deadline`: the block takes so many seconds at most; then DeadlineExceeded (504).

    As asyncio.timeout, in a fifth of its time, which each request takes.

    Args:
        seconds: above 0.
    """

    __slots__ = ("_began", "_cancelling", "_late", "_loop", "_task", "_timer", "seconds")

    _timer: asyncio.TimerHandle

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def extend(self, seconds: float) -> None:
        """Give the block more time."""
        if not self._late:
            self.seconds += seconds
            self._timer.cancel()
            self._timer = self._loop.call_at(self._began + self.seconds, self._over)

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("This is a bug: coroutines run in tasks")
        self._task, self._cancelling, self._late = task, task.cancelling(), False
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._timer = self._loop.call_at(self._began + self.seconds, self._over)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        # cancelled by more than us (its caller, the server): it is theirs
        if self._late and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise DeadlineExceeded(
                f"the request was not done after {self.seconds:g} seconds, which is its deadline; send less, or ask "
                f"for more in the header Request-Deadline",
                seconds=self.seconds,
            ) from error

    def _over(self) -> None:
        self._late = True
        self._task.cancel()


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
