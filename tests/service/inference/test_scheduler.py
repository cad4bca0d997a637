"""The scheduler: fair turns, failures of one caller, dropped items."""

import asyncio
import threading
import time
from typing import Any

import pytest

from service.inference.admission import Admission
from service.inference.scheduler import Scheduler
from service.interruption import current_interruption


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


def test_each_item_that_is_done_is_told() -> None:
    async def go() -> list[int]:
        scheduler, counts = Scheduler(2), [0]

        def count() -> None:
            counts.append(counts[-1] + 1)

        await scheduler.run(str, list(range(7)), on_item=count)
        scheduler.close()
        return counts

    assert asyncio.run(go()) == list(range(8))


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


def test_what_runs_for_a_caller_that_left_is_interrupted_and_keeps_its_permit_until_it_ends() -> None:
    gate, started, stopped = threading.Event(), threading.Event(), threading.Event()

    def work(_: int) -> None:
        interruption = current_interruption()
        assert interruption is not None
        with interruption.call_on_stop(stopped.set):
            started.set()
            assert gate.wait(5)

    async def go() -> None:
        scheduler, admission = Scheduler(1), Admission(2, 100, 100)

        async def caller() -> None:
            with admission.enter() as permit:
                permit.occupy()
                permit.reserve_bytes(30)
                with permit.sub_permit() as part:
                    part.reserve_pixels(40)
                    await scheduler.run(work, [1, 2, 3])

        task = asyncio.create_task(caller())
        await asyncio.sleep(0)
        assert await asyncio.to_thread(started.wait, 5)
        assert not stopped.is_set()
        assert scheduler.count_overdue_jobs(-1) == 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert stopped.is_set()
        assert (admission.requests, admission.bytes, admission.pixels) == (1, 30, 40)
        assert scheduler.count_overdue_jobs(-1) == 2  # one runs, one waits in its thread
        assert scheduler.count_overdue_jobs(10) == 0
        gate.set()
        assert await scheduler.call(str, 7) == "7"
        assert (admission.requests, admission.bytes, admission.pixels) == (0, 0, 0)
        assert scheduler.count_overdue_jobs(-1) == 0
        scheduler.close()

    asyncio.run(go())


def test_a_caller_that_fails_keeps_its_permit_until_its_other_items_end() -> None:
    gate, started = threading.Event(), threading.Event()

    def work(item: int) -> None:
        if item:
            assert started.wait(5)
            raise ValueError(item)
        started.set()
        assert gate.wait(5)

    async def go() -> None:
        scheduler, admission = Scheduler(2), Admission(2, 100, 100)

        async def caller() -> None:
            with admission.enter() as permit:
                permit.reserve_pixels(40)
                await scheduler.run(work, [0, 1])

        with pytest.raises(ValueError, match="1"):
            await caller()
        assert admission.pixels == 40
        gate.set()
        while admission.pixels:  # noqa: ASYNC110  (released when the thread is free)
            await asyncio.sleep(0.001)
        scheduler.close()

    asyncio.run(asyncio.wait_for(go(), 5))


def test_closing_waits_for_threads_and_not_for_ever() -> None:
    gate, started, ended = threading.Event(), threading.Event(), threading.Event()

    def work(_: int) -> None:
        started.set()
        gate.wait(10)
        ended.set()

    async def close_after(seconds: float) -> None:
        scheduler = Scheduler(1)
        task = asyncio.create_task(scheduler.run(work, [1, 2]))
        await asyncio.sleep(0)
        assert await asyncio.to_thread(started.wait, 5)
        task.cancel()
        start = time.monotonic()
        scheduler.close(seconds)
        assert time.monotonic() - start < 2
        await asyncio.gather(task, return_exceptions=True)

    threading.Timer(0.5, gate.set).start()
    asyncio.run(close_after(0.05))
    assert not ended.is_set()
    assert ended.wait(5)
    for event in (gate, started, ended):
        event.clear()
    threading.Timer(0.2, gate.set).start()
    asyncio.run(close_after(5))
    assert ended.is_set()
