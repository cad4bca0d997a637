"""The batcher: requests that arrive together are one run."""

import asyncio
import threading
import time
from typing import Any

import pytest

from service.inference import inline_guard
from service.inference.admission import Admission
from service.inference.batching import Batcher
from service.inference.scheduler import Scheduler
from service.interruption import current_interruption


def submit_all(batcher: Batcher[int, str], *items: int) -> list[Any]:
    async def go() -> list[Any]:
        return await asyncio.gather(*(batcher.submit(item, 1) for item in items), return_exceptions=True)

    return asyncio.run(go())


def test_what_arrives_together_is_one_run_and_each_gets_its_own() -> None:
    runs: list[list[int]] = []

    def work(items: list[int]) -> list[str]:
        runs.append(items)
        return [str(item) for item in items]

    batcher = Batcher(Scheduler(1), work, 8)
    assert submit_all(batcher, 1, 2, 3) == ["1", "2", "3"]
    assert runs == [[1, 2, 3]]
    assert submit_all(batcher, *range(20)) == [str(item) for item in range(20)]
    assert max(map(len, runs)) == 8
    assert sorted(item for run in runs[1:] for item in run) == list(range(20))


def test_who_fails_in_a_joined_run_fails_alone() -> None:
    def work(items: list[int]) -> list[str]:
        if 2 in items:
            raise ValueError("two")
        return [str(item) for item in items]

    first, second, third = submit_all(Batcher(Scheduler(1), work, 8), 1, 2, 3)
    assert (first, third) == ("1", "3")
    assert isinstance(second, ValueError)


def test_a_short_run_is_done_on_the_loop_and_a_long_one_in_a_thread() -> None:
    threads: list[str] = []
    pause = 0.0

    def work(items: list[int]) -> list[str]:
        threads.append(threading.current_thread().name)
        until = time.thread_time() + pause
        while time.thread_time() < until:
            pass
        return [str(item) for item in items]

    batcher = Batcher(Scheduler(1), work, 8)
    for _ in range(3):
        submit_all(batcher, 1)
    assert threads[0].startswith("run")  # not measured yet
    assert threads[1:] == ["MainThread"] * 2
    threads.clear()
    pause = 0.02
    for _ in range(100):  # it became slow: the batcher learns that
        submit_all(batcher, 1)
        if threads[-1].startswith("run"):
            break
    assert threads[-1].startswith("run")


def test_a_batcher_shares_its_work_out_among_free_threads_and_drops_who_left() -> None:
    runs: list[list[int]] = []
    barrier = threading.Barrier(2, timeout=5)

    def work(items: list[int]) -> list[str]:
        runs.append(items)
        barrier.wait()  # passes only if two runs are under way
        return [str(item) for item in items]

    async def go() -> list[Any]:
        batcher = Batcher(Scheduler(2), work, 100)
        tasks = [asyncio.create_task(batcher.submit(item, 1)) for item in range(5)]
        await asyncio.sleep(0)
        tasks[4].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    *answers, cancelled = asyncio.run(go())
    assert answers == ["0", "1", "2", "3"]
    assert isinstance(cancelled, asyncio.CancelledError)
    assert sorted(item for run in runs for item in run) == [0, 1, 2, 3]


def test_a_batcher_does_not_wait_for_large_items() -> None:
    gate = threading.Event()

    def wait(_: int) -> None:
        assert gate.wait(5)

    async def go() -> list[str]:
        scheduler = Scheduler(2)
        large = asyncio.create_task(scheduler.run(wait, list(range(4))))
        await asyncio.sleep(0)
        batcher = Batcher[int, str](scheduler, lambda items: [str(item) for item in items], 2)
        answers = await asyncio.wait_for(asyncio.gather(*(batcher.submit(item, 1) for item in range(5))), 5)
        assert not large.done()
        gate.set()
        await large
        scheduler.close()
        return answers

    assert asyncio.run(go()) == ["0", "1", "2", "3", "4"]


def test_a_batcher_off_the_loop_never_runs_on_it() -> None:
    threads: list[str] = []

    def work(items: list[int]) -> list[str]:
        threads.append(threading.current_thread().name)
        return [str(item) for item in items]

    batcher = Batcher(Scheduler(1), work, 8, allow_inline=False)
    for _ in range(3):
        assert submit_all(batcher, 1) == ["1"]
    assert all(thread.startswith("run") for thread in threads)


def test_a_joined_run_is_interrupted_when_all_its_callers_have_left() -> None:
    gate, started, stopped = threading.Event(), threading.Event(), threading.Event()

    def work(items: list[int]) -> list[str]:
        interruption = current_interruption()
        assert interruption is not None
        with interruption.call_on_stop(stopped.set):
            started.set()
            assert gate.wait(5)
        if interruption.is_stopped:
            runs.append(items)
            raise RuntimeError
        return [str(item) for item in items]

    runs: list[list[int]] = []

    async def go() -> None:
        scheduler, admission = Scheduler(1), Admission(2, 100, 100)
        batcher = Batcher(scheduler, work, 8)

        async def caller(item: int) -> str:
            with admission.enter() as permit:
                permit.reserve_pixels(10)
                return await batcher.submit(item, 1)

        first, second = (asyncio.create_task(caller(item)) for item in (1, 2))
        await asyncio.sleep(0.01)
        assert await asyncio.to_thread(started.wait, 5)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert not stopped.is_set()
        assert scheduler.count_overdue_jobs(-1) == 0
        assert admission.pixels == 20
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert stopped.is_set()
        assert scheduler.count_overdue_jobs(-1) == 1
        assert admission.pixels == 20
        gate.set()
        while admission.pixels:  # noqa: ASYNC110  (released when the thread is free)
            await asyncio.sleep(0.001)
        assert scheduler.count_overdue_jobs(-1) == 0
        scheduler.close()

    asyncio.run(asyncio.wait_for(go(), 5))
    assert runs == [[1, 2]]  # it is not run again for each of them


def test_a_run_on_the_loop_that_takes_long_is_begun_again_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline_guard, "LIMIT", 0.1)
    threads: list[str] = []

    def work(items: list[int]) -> list[str]:
        threads.append(threading.current_thread().name)
        stopped, interruption = threading.Event(), current_interruption()
        assert interruption is not None
        with interruption.call_on_stop(stopped.set):
            if 9 in items and threads[-1] == "MainThread" and stopped.wait(5):
                raise RuntimeError
        return [str(item) for item in items]

    batcher = Batcher(Scheduler(1), work, 8)
    for item in (1, 2, 9, 3):
        assert submit_all(batcher, item) == [str(item)]
    assert [name.partition("_")[0] for name in threads] == ["run", "MainThread", "MainThread", "run", "run"]
