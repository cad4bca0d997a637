"""The batcher: requests that arrive together are one run."""

import asyncio
import threading
import time
from typing import Any

from service.inference.batching import Batcher
from service.inference.scheduler import Scheduler


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
