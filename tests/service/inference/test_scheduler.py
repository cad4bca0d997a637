"""The scheduler: fair turns, failures of one caller, dropped items."""

import asyncio
import threading
import time
from typing import Any

from service.inference.scheduler import Scheduler


def test_results_come_in_order_and_small_callers_pass_large_ones() -> None:
    finished: list[str] = []

    async def go() -> None:
        scheduler = Scheduler(1)

        async def caller(name: str, count: int) -> None:
            def work(item: int) -> int:
                time.sleep(0.002)
                return item * 2

            assert await scheduler.run(work, list(range(count))) == [2 * i for i in range(count)]
            finished.append(name)

        await asyncio.gather(caller("large", 60), caller("small", 1))
        assert await scheduler.run(str, []) == []
        scheduler.close()

    asyncio.run(go())
    assert finished == ["small", "large"]


def test_a_failing_item_fails_its_own_caller_only() -> None:
    async def go() -> tuple[Any, Any]:
        scheduler = Scheduler(2)

        def fail(item: int) -> int:
            raise ValueError(item)

        outcomes = await asyncio.gather(
            scheduler.run(fail, [1, 2, 3]), scheduler.run(str, [1, 2]), return_exceptions=True
        )
        scheduler.close()
        return outcomes

    failed, fine = asyncio.run(go())
    assert isinstance(failed, ValueError)
    assert fine == ["1", "2"]


def test_the_scheduler_knows_when_it_is_idle() -> None:
    async def go() -> None:
        scheduler = Scheduler(2)
        states = [scheduler.is_idle]
        task = asyncio.create_task(scheduler.call(time.sleep, 0.01))
        await asyncio.sleep(0)
        states.append(scheduler.is_idle)
        await task
        states.append(scheduler.is_idle)
        assert states == [True, False, True]
        scheduler.close()

    asyncio.run(go())


def test_items_of_a_caller_that_left_never_start() -> None:
    started: list[int] = []
    gate = threading.Event()

    def work(item: int) -> None:
        started.append(item)
        gate.wait(5)

    async def go() -> None:
        scheduler = Scheduler(1)
        task = asyncio.create_task(scheduler.run(work, list(range(50))))
        await asyncio.sleep(0)
        while not started:  # noqa: ASYNC110  (set by a thread)
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        gate.set()
        assert await scheduler.call(str, 7) == "7"
        scheduler.close()

    asyncio.run(go())
    assert started == [0]


def test_a_thread_has_its_next_item_though_the_loop_is_busy() -> None:
    has_both = threading.Event()
    finished: list[int] = []

    def work(item: int) -> None:
        finished.append(item)
        if len(finished) == 2:
            has_both.set()

    async def go() -> None:
        scheduler = Scheduler(1)
        caller = asyncio.create_task(scheduler.run(work, [1, 2, 3]))
        await asyncio.sleep(0)
        assert has_both.wait(5)  # and meanwhile the loop does nothing at all
        await caller
        scheduler.close()

    asyncio.run(go())
    assert finished == [1, 2, 3]


def test_an_item_ahead_whose_caller_has_left_is_dropped() -> None:
    gate = threading.Event()
    started = threading.Event()
    started_items: list[int] = []

    def wait(item: int) -> None:
        started_items.append(item)
        started.set()
        assert gate.wait(5)

    async def go() -> None:
        scheduler = Scheduler(1)
        caller = asyncio.create_task(scheduler.run(wait, [1, 2, 3]))
        assert await asyncio.to_thread(started.wait, 5)
        caller.cancel()
        await asyncio.wait([caller])
        gate.set()
        assert await scheduler.call(str, 4) == "4"
        assert scheduler.is_idle
        scheduler.close()

    asyncio.run(go())
    assert started_items == [1]
