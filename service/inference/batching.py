"""Dynamic batching without a timer: items that arrive while a run is under way are one run afterwards.

submit -> pending items -> batch of at most max_batch_size -> event loop or Scheduler -> each caller's result

An item that arrives alone does not wait for others. A run that has proved cheap (service.inference.cost) is done on
the event loop, a longer one in a thread. If a run on the event loop takes long all the same, it is stopped
(service.inference.inline_guard) and begun again in a thread, as are all later ones.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from service.inference.cost import is_inline
from service.inference.scheduler import AbandonedWork, Item, Job, Result, Scheduler
from service.interruption import Interruption, current_interruption


@dataclass(eq=False)
class _Run:
    """A run in a thread: what stops it, and how many of its callers still wait for it."""

    interruption: Interruption
    callers: int


@dataclass(eq=False)
class _Pending(Generic[Item, Result]):
    """One `Batcher.submit`: the item, its size, and the future that its caller waits for.

    `run` is the one in a thread that the item is part of; `abandoned` is set if the caller leaves meanwhile.
    """

    item: Item
    size: int
    future: "asyncio.Future[Result]"
    run: _Run | None = None
    abandoned: AbandonedWork | None = None


class Batcher(Generic[Item, Result]):
    """Items of many callers, joined into runs; a service.inference.scheduler.JobSource.

    Args:
        scheduler: provides the threads.
        function: items -> their results, in the same order; does not know whose items they are.
        max_batch_size: size of one run; an item is never cut, so a larger one runs alone.
        allow_inline: cheap runs may be done on the event loop, where their time is the CPU's; a GPU's time is waiting.
    """

    latency_sensitive = True

    def __init__(
        self,
        scheduler: Scheduler,
        function: Callable[[list[Item]], list[Result]],
        max_batch_size: int,
        *,
        allow_inline: bool = True,
    ) -> None:
        self._scheduler, self._function, self._max_batch_size = scheduler, function, max_batch_size
        self._allow_inline = allow_inline
        self._pending: deque[_Pending[Item, Result]] = deque()
        self._size = 0  # of all pending items
        self._is_scheduled = False  # with the scheduler, or a flush is about to run
        self._is_as_expected = False  # the last run, by the wall clock
        self._costs: dict[int, float] = {}  # k -> nanoseconds of a run of 2**(k-1) to 2**k - 1 in size

    async def submit(self, item: Item, size: int) -> Result:
        """The item's result. Raises what `function` raises for this item alone.

        A cancelled item is dropped. A run is interrupted when all its callers have left.
        """
        loop = asyncio.get_running_loop()
        entry = _Pending[Item, Result](item, size, loop.create_future())
        self._pending.append(entry)
        self._size += size
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._flush)  # after all items that this iteration of the event loop still brings
        try:
            return await entry.future
        finally:
            if entry.run is not None:  # the caller leaves before the run has ended
                self._leave(entry, entry.run)

    @property
    def queued_items(self) -> int:
        return len(self._pending)

    def has_work(self) -> bool:
        self._is_scheduled = bool(self._pending)
        return self._is_scheduled

    def next_job(self, free_threads: int) -> Job | None:
        """A run of the pending items, divided among the free threads."""
        batch = self._pop_batch(max(1, min(self._max_batch_size, -(-self._size // free_threads))))
        if not batch:
            return None
        run = _Run(Interruption(), len(batch))
        for entry in batch:
            entry.run = run

        def on_result(outcomes: list[Result | BaseException]) -> None:
            _resolve(batch, outcomes)

        def on_error(error: BaseException) -> None:
            _resolve(batch, [error] * len(batch))

        return Job(lambda: self._run(batch), on_result, on_error, run.interruption)

    def _leave(self, entry: _Pending[Item, Result], run: _Run) -> None:
        """In the task of a caller that leaves while its run is in a thread."""
        run.callers -= 1
        # of several callers that share a run and a thread, the last one counts as the one that is overdue
        interruption, jobs = (Interruption(), 0) if run.callers else (run.interruption, 1)
        entry.abandoned = self._scheduler.abandon(interruption, jobs)

    def _flush(self) -> None:
        """On the event loop: run a cheap batch now, leave a longer one to the scheduler."""
        size = min(self._size, self._max_batch_size)
        if not (self._allow_inline and is_inline(self._expected_cost(size))):
            self._scheduler.enqueue(self)
            return
        batch = self._pop_batch(size)
        if batch:
            with self._scheduler.inline_guard as interruption:
                outcomes = self._run(batch)
            if interruption.is_stopped:  # in a thread it takes nobody else's time, and ends at its callers' deadlines
                self._allow_inline = False
                self._pending.extendleft(reversed(batch))
                self._size += sum([entry.size for entry in batch])
                self._scheduler.enqueue(self)
                return
            _resolve(batch, outcomes)
        if self.has_work():
            asyncio.get_running_loop().call_soon(self._flush)

    def _pop_batch(self, max_size: int) -> list[_Pending[Item, Result]]:
        """The first pending item, and the next while they fit; without those whose caller has left."""
        batch: list[_Pending[Item, Result]] = []
        size = 0
        while self._pending and (not batch or size + self._pending[0].size <= max_size):
            entry = self._pending.popleft()
            self._size -= entry.size
            if not entry.future.done():
                batch.append(entry)
                size += entry.size
        return batch

    def _run(self, batch: list[_Pending[Item, Result]]) -> list[Result | BaseException]:
        """In one run; if that fails, each item alone, so that one caller's failure is no other's."""
        size = sum([entry.size for entry in batch])
        clock = self._choose_clock(size)
        start = clock()
        try:
            results: list[Result | BaseException] = list(self._function([entry.item for entry in batch]))
        except Exception as error:  # noqa: BLE001  (whatever it is, it goes to its caller)
            interruption = current_interruption()
            is_stopped = interruption is not None and interruption.is_stopped
            if len(batch) == 1 or is_stopped:
                return [error] * len(batch)
            return [self._run([entry])[0] for entry in batch]
        self._record_cost(size, clock() - start, clock)
        return results

    def _choose_clock(self, size: int) -> Callable[[], int]:
        """The thread's own time, which others on the core do not lengthen; it takes 1 us to read.

        The wall clock takes a tenth of that, and is used while it shows that runs are as cheap as expected.
        """
        is_known = self._is_as_expected and size.bit_length() in self._costs
        return time.perf_counter_ns if is_known else time.thread_time_ns

    def _expected_cost(self, size: int) -> float:
        """Nanoseconds of a run: as measured in its class of sizes, else from a smaller class in proportion."""
        for k in range(size.bit_length(), 0, -1):
            if k in self._costs:
                return self._costs[k] * float(1 << (size.bit_length() - k))
        return float("inf")  # not measured yet

    def _record_cost(self, size: int, nanoseconds: int, clock: Callable[[], int]) -> None:
        """A faster run counts at once, a slower one a little: caches are not always as cold."""
        k = size.bit_length()
        cost = self._costs.get(k, nanoseconds)
        self._is_as_expected = nanoseconds <= 2 * cost
        if clock is time.thread_time_ns or nanoseconds < cost:
            self._costs[k] = min(nanoseconds, cost * 1.1)


def _resolve(batch: list[_Pending[Any, Any]], outcomes: Sequence[Any]) -> None:
    for entry, outcome in zip(batch, outcomes, strict=True):
        entry.run = None
        if entry.abandoned is not None:
            entry.abandoned.on_end()
        if entry.future.done():
            continue  # its caller has left
        if isinstance(outcome, BaseException):
            entry.future.set_exception(outcome)
        else:
            entry.future.set_result(outcome)
