"""Cancellation: a request ends at its deadline, or when its client disconnects.

Deadline | cancel_on_disconnect -> task.cancel -> the request's work items that have not started are dropped
"""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from starlette.requests import ClientDisconnect, Request

from service.errors import DeadlineExceeded

Result = TypeVar("Result")


class Deadline:
    """`with Deadline(30) as deadline`: after so many seconds the block is cancelled; raises DeadlineExceeded (504).

    Like asyncio.timeout, but it takes a fifth of the time, and every request has one.

    Args:
        seconds: above 0.
    """

    __slots__ = ("_is_expired", "_loop", "_prior_cancellations", "_start_time", "_task", "_timer", "seconds")

    _timer: asyncio.TimerHandle

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def extend(self, seconds: float) -> None:
        """Give the block more time."""
        if not self._is_expired:
            self.seconds += seconds
            self._timer.cancel()
            self._timer = self._loop.call_at(self._start_time + self.seconds, self._expire)

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("This is a bug: coroutines run in tasks")
        self._task, self._prior_cancellations, self._is_expired = task, task.cancelling(), False
        self._loop = asyncio.get_running_loop()
        self._start_time = self._loop.time()
        self._timer = self._loop.call_at(self._start_time + self.seconds, self._expire)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        # if somebody else cancelled as well (the client, the server), the cancellation is theirs
        if self._is_expired and self._task.uncancel() <= self._prior_cancellations and kind is asyncio.CancelledError:
            raise DeadlineExceeded(
                f"the request was not done after {self.seconds:g} seconds, which is its deadline; send less, or ask "
                f"for more in the header Request-Deadline",
                seconds=self.seconds,
            ) from error

    def _expire(self) -> None:
        self._is_expired = True
        self._task.cancel()


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`; raises ClientDisconnect as soon as the client disconnects. The body is received already."""
    task = asyncio.current_task()
    if task is None:
        raise AssertionError("This is a bug: coroutines run in tasks")
    is_disconnected = False

    async def wait_for_disconnect() -> None:
        nonlocal is_disconnected
        while (await request.receive())["type"] != "http.disconnect":
            pass
        is_disconnected = True
        task.cancel()

    watcher = asyncio.create_task(wait_for_disconnect())
    try:
        return await work
    except asyncio.CancelledError as cancelled:
        if not is_disconnected or task.uncancel() > 0:  # somebody else cancels as well: the deadline, the server
            raise
        raise ClientDisconnect from cancelled
    finally:
        watcher.cancel()
