"""Scheduler: the work of all requests in a bounded pool of threads, source by source in turn.

items of one request           -> job source -+-> one job of each source in turn -> thread -> results in order
batches of many small requests -> batcher    -+

A request of a thousand items and a request of one are served alternately, so a large one cannot starve a small one.
Beside the job that it runs, each thread has one queued ahead, and starts it without waiting for the event loop.
One job of a latency-sensitive source (service.inference.batching) may run while all threads are busy, since a tile
may take half a second.

Jobs are whatever releases the interpreter lock: model runs, image codecs. What is cheaper than a hand-off to a thread
(service.inference.cost) is done on the event loop.

A thread cannot be ended. When a caller leaves, its jobs that run are interrupted (service.interruption), and until
their threads are free its permit keeps the bytes, the pixels and the place that it has reserved.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol, TypeVar

from service.inference.admission import current_permit
from service.inference.cost import is_inline
from service.inference.inline_guard import InlineGuard
from service.interruption import Interruption, interruptible

OVERDUE_SECONDS = 10.0  # after its request has ended; libvips and onnxruntime stop within 5
CLOSE_TIMEOUT = 1.0  # seconds that `close` waits for threads

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Job:
    """A function for one thread, what stops it, and what the event loop does with its result or its exception."""

    function: Callable[[], Any]
    on_result: Callable[[Any], None]
    on_error: Callable[[BaseException], None]
    interruption: Interruption


@dataclass(eq=False)
class AbandonedWork:
    """Jobs in threads whose caller has left at `since` (time.monotonic); `on_end` is called when the last one ends."""

    jobs: int
    since: float
    on_end: Callable[[], None]


class JobSource(Protocol):
    """Makes jobs as threads become free."""

    @property
    def latency_sensitive(self) -> bool:
        """Whether its jobs are few and small enough to run while all threads are busy."""

    @property
    def queued_items(self) -> int:
        """Items whose job has not started."""

    def has_work(self) -> bool:
        """Whether it needs another turn."""

    def next_job(self, free_threads: int) -> Job | None:
        """The next job, None if all callers have left meanwhile. `free_threads` includes the one that runs it."""


@dataclass(eq=False)
class _ItemSource:
    """One `Scheduler.run`: its queued items, the results so far, and the future that its caller waits for.

    `started` jobs are in a thread or wait for one; `abandoned` is set when the caller leaves before they end.
    """

    function: Callable[[Any], Any]
    queue: deque[tuple[int, Any]]
    results: dict[int, Any]
    total: int
    future: asyncio.Future[None]
    interruption: Interruption = field(default_factory=Interruption)
    on_item: Callable[[], None] | None = None
    started: int = 0
    abandoned: AbandonedWork | None = None
    latency_sensitive = False

    @property
    def queued_items(self) -> int:
        return len(self.queue)

    def has_work(self) -> bool:
        return bool(self.queue)

    def next_job(self, free_threads: int) -> Job | None:
        del free_threads
        if not self.queue:  # it failed or was cancelled since its last turn
            return None
        index, item = self.queue.popleft()
        self.started += 1
        return Job(
            lambda: self._process(item), lambda result: self._store(index, result), self._fail, self.interruption
        )

    def _process(self, item: Any) -> Any:
        """In a thread, some time after the job was queued: its caller may have left."""
        return None if self.future.done() else self.function(item)

    def _store(self, index: int, result: Any) -> None:
        self._end_job()
        self.results[index] = result
        if self.on_item is not None:
            self.on_item()
        if len(self.results) == self.total and not self.future.done():
            self.future.set_result(None)

    def _fail(self, error: BaseException) -> None:
        self._end_job()
        self.queue.clear()
        if not self.future.done():  # otherwise its caller has left
            self.future.set_exception(error)

    def _end_job(self) -> None:
        self.started -= 1
        if self.abandoned is not None:
            self.abandoned.jobs -= 1
            if not self.abandoned.jobs:
                self.abandoned.on_end()


class Scheduler:
    """Fair between callers, first in first out within one. Belongs to one event loop.

    Args:
        workers: jobs side by side, at least 1.
    """

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="run")
        self._express_pool = ThreadPoolExecutor(1, thread_name_prefix="express")
        self.workers = workers
        self._free_threads = workers  # negative: the number of jobs that are queued ahead of a free thread
        self._sources: deque[JobSource] = deque()
        self._is_express_busy = False
        self.inline_guard = InlineGuard()
        self._futures: set[Future[Any]] = set()  # of all jobs in threads
        self._abandoned: set[AbandonedWork] = set()

    @property
    def is_idle(self) -> bool:
        """Nothing runs and nothing is queued: the next caller has the machine to itself."""
        return self._free_threads == self.workers and not self._sources and not self._is_express_busy

    @property
    def queued_items(self) -> int:
        """Items of all sources whose job has not started."""
        return sum(source.queued_items for source in self._sources)

    def count_overdue_jobs(self, seconds: float) -> int:
        """Jobs that still run or wait in threads though their caller left more than `seconds` ago."""
        limit = monotonic() - seconds
        return sum([work.jobs for work in self._abandoned if work.since < limit])

    async def run(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        cost: float = math.inf,
        on_item: Callable[[], None] | None = None,
    ) -> list[Result]:
        """[function(item) for item in items], in order: in threads, or at once if all of it is cheap.

        The first item that raises ends this call with its exception, and no other call. When the call ends early,
        by that or because its task was cancelled, its items that have not started never do, and those that run are
        interrupted.

        Args:
            cost: of all items, in nanoseconds (service.inference.cost).
            on_item: called on the event loop each time an item of those in threads is done.
        """
        if is_inline(cost):
            return [function(item) for item in items]
        if not items:
            return []
        future = asyncio.get_running_loop().create_future()
        source = _ItemSource(function, deque(enumerate(items)), {}, len(items), future, on_item=on_item)
        self.enqueue(source)
        try:
            await future
        finally:
            source.queue.clear()
            if source.started:
                source.abandoned = self.abandon(source.interruption, source.started)
        return [source.results[index] for index in range(source.total)]

    async def call(self, function: Callable[[Item], Result], item: Item, cost: float = math.inf) -> Result:
        """`function(item)`: in a thread in its turn, or at once if it is cheap; `cost` as for `run`."""
        if is_inline(cost):
            return function(item)
        (result,) = await self.run(function, [item])
        return result

    def enqueue(self, source: JobSource) -> None:
        """Give the source its turns, until it has no more work.

        A latency-sensitive source does not wait while large items occupy all threads: one of its jobs runs beside
        them, and the operating system divides the cores.
        """
        if source.latency_sensitive and self._free_threads <= 0 and not self._is_express_busy:
            job = source.next_job(1)
            if job is not None:
                self._is_express_busy = True
                self._start(self._express_pool, job, self._on_express_free)
            if not source.has_work():
                return
        self._sources.append(source)
        self._dispatch()

    def abandon(self, interruption: Interruption, jobs: int) -> AbandonedWork:
        """To be called in the task of a caller that leaves: interrupts its jobs.

        Until the work's `on_end` is called, the caller's permit stays reserved and the jobs are counted as overdue.
        """
        permit = current_permit()
        if permit is not None:
            permit.hold()

        def end() -> None:
            self._abandoned.discard(work)
            if permit is not None:
                permit.unhold()

        work = AbandonedWork(jobs, monotonic(), end)
        self._abandoned.add(work)
        interruption.stop()
        return work

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Wait for the jobs that run, for so many seconds; to be called when no caller is left.

        What runs longer is left to end with the process.
        """
        self.inline_guard.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._express_pool.shutdown(wait=False, cancel_futures=True)
        wait([future for future in self._futures if not future.cancelled()], timeout)

    def _dispatch(self) -> None:
        while (source := self._next_source()) is not None:
            self._sources.remove(source)
            job = source.next_job(max(1, self._free_threads))
            if source.has_work():
                self._sources.append(source)
            if job is not None:
                self._free_threads -= 1
                self._start(self._pool, job, self._on_thread_free)

    def _next_source(self) -> JobSource | None:
        """The source whose turn it is. A batcher queues no job ahead: what arrives meanwhile joins its next batch."""
        if self._free_threads > 0:
            return next(iter(self._sources), None)
        if self._free_threads > -self.workers:
            return next((source for source in self._sources if not source.latency_sensitive), None)
        return None

    def _start(self, pool: ThreadPoolExecutor, job: Job, on_free: Callable[[], None]) -> None:
        def work() -> Any:
            with interruptible(job.interruption):
                return job.function()

        def finish(outcome: asyncio.Future[Any]) -> None:
            self._futures.discard(future)
            if outcome.cancelled():  # by `close`, before it started
                return
            error = outcome.exception()
            if error is None:
                job.on_result(outcome.result())
            else:
                job.on_error(error)
            on_free()

        future = pool.submit(work)
        self._futures.add(future)
        asyncio.wrap_future(future).add_done_callback(finish)

    def _on_thread_free(self) -> None:
        self._free_threads += 1
        self._dispatch()

    def _on_express_free(self) -> None:
        self._is_express_busy = False
        for source in self._sources:
            if source.latency_sensitive:
                self._sources.remove(source)
                self.enqueue(source)
                break
