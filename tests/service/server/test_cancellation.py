"""Deadlines and callers that hang up."""

import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from service.errors import DeadlineExceeded
from service.server.cancellation import Deadline, cancel_on_disconnect


def test_a_deadline_is_504_and_can_be_extended() -> None:
    async def sleep_past_deadline(extension: float) -> str:
        with Deadline(0.02) as deadline:
            deadline.extend(extension)
            await asyncio.sleep(0.05)
        return "in time"

    with pytest.raises(DeadlineExceeded, match=r"not done after 0\.02 seconds, which is its deadline"):
        asyncio.run(sleep_past_deadline(0))
    assert asyncio.run(sleep_past_deadline(5)) == "in time"


def test_a_timeout_that_is_not_the_deadline_stays_what_it_is() -> None:
    async def go() -> None:
        with Deadline(5):
            raise TimeoutError("another one")

    with pytest.raises(TimeoutError, match="another one"):
        asyncio.run(go())


def test_who_hangs_up_is_noticed_and_a_cancellation_from_elsewhere_is_not_taken_for_it() -> None:
    async def go(hang_up: bool) -> None:
        async def receive() -> Message:
            if not hang_up:
                await asyncio.sleep(5)
            return {"type": "http.disconnect"}

        await cancel_on_disconnect(Request({"type": "http"}, receive), asyncio.sleep(5))

    with pytest.raises(ClientDisconnect):
        asyncio.run(go(hang_up=True))

    async def cancelled() -> None:
        task = asyncio.create_task(go(hang_up=False))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
