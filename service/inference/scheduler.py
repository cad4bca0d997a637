"""Work of all requests -> a bounded pool of threads, in turns.

a request's items -----------------> its queue -+-> one run of each queue in turn -> thread -> results in order
small batches of many requests -> a lane's queue -+-> its short runs -> the event loop itself

A request of a thousand items and a request of one are served alternately, so a large one cannot starve a small
one. Beside the item that it runs, each thread has one ahead: the next one starts without a word from the loop. A
lane joins what arrived while the last run was busy into one run, without a timer: who comes alone does not wait for
company. A run so short that the way to a thread and back would cost more is done on the loop; and one run of a lane
goes beside a full house, since a tile may take half a second.

Work is whatever releases the interpreter lock: model runs, image codecs.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

SHORT = (
    500e-6  # seconds: a shorter run is done on the loop. To a thread and back takes 100 us where the loop has nothing
)
# to do, and up to 5 ms (Python's switch interval) where it is busy, which is when runs are joined


@dataclass(frozen=True)
class _Run:
    """One thing for one thread, and what the loop does with its outcome."""

    work: Callable[[], Any]
    finish: Callable[[Any], None]
    fail: Callable[[BaseException], None]


class _Queue(Protocol):
    @property
    def express(self) -> bool:
        """Whether its runs are few and small enough to go beside a full house."""

    @property
    def items(self) -> int:
        """That have not started."""

    def waits(self) -> bool:
        """Whether it wants another turn."""

    def take(self, free: int) -> _Run | None:
        """The next run, None if who waited has left. `free`: threads that have nothing to do, this one among them."""


@dataclass(eq=False)
class _Caller:
    """One `Scheduler.run`: items that have not started, results so far, and the future that its caller waits for."""

    function: Callable[[Any], Any]
    waiting: deque[tuple[int, Any]]
    results: dict[int, Any]
    total: int
    done: asyncio.Future[None]
    express = False

    @property
    def items(self) -> int:
        return len(self.waiting)

    def waits(self) -> bool:
        return bool(self.waiting)

    def take(self, free: int) -> _Run | None:
        del free
        if not self.waiting:  # it failed or was cancelled since it queued up
            return None
        index, item = self.waiting.popleft()
        return _Run(lambda: self._work(item), lambda result: self._finish(index, result), self._fail)

    def _work(self, item: Any) -> Any:
        """In a thread, some time after it was taken: its caller may have left."""
        return None if self.done.done() else self.function(item)

    def _finish(self, index: int, result: Any) -> None:
        self.results[index] = result
        if len(self.results) == self.total and not self.done.done():
            self.done.set_result(None)

    def _fail(self, failure: BaseException) -> None:
        self.waiting.clear()
        if not self.done.done():  # else its caller has left
            self.done.set_exception(failure)


class Scheduler:
    """Fair between callers, first in first out within one. Belongs to one event loop.

    Args:
        workers: runs side by side, at least 1.
    """

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="run")
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="express")
        self.workers = workers
        self._free = workers  # less than none: so many items are ahead
        self._queues: deque[_Queue] = deque()
        self._express = False  # a lane's run is under way beside a full house

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits: what comes now has the machine to itself."""
        return self._free == self.workers and not self._queues and not self._express

    @property
    def items_waiting(self) -> int:
        """Items that have not started, of all that have queued up."""
        return sum(queue.items for queue in self._queues)

    async def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """[function(item) for item in items], in threads, in order.

        The first item that raises ends this call with its exception, and no other call. When the call ends early,
        by that or because its task was cancelled, its items that have not started never do.
        """
        if not items:
            return []
        done = asyncio.get_running_loop().create_future()
        caller = _Caller(function, deque(enumerate(items)), {}, len(items), done)
        self.queue(caller)
        try:
            await done
        finally:
            caller.waiting.clear()
        return [caller.results[index] for index in range(caller.total)]

    async def call(self, function: Callable[[Item], Result], item: Item) -> Result:
        """`function(item)` in a thread, in its turn."""
        (result,) = await self.run(function, [item])
        return result

    def queue(self, queue: _Queue) -> None:
        """Give it its turns, from now until nothing waits in it.

        A lane does not wait for a thread while large items have them all: one run of a lane goes beside them, and the
        system shares the cores out.
        """
        if queue.express and self._free <= 0 and not self._express:
            run = queue.take(1)
            if run is not None:
                self._express = True
                self._start(self._beside, run, self._express_is_free)
            if not queue.waits():
                return
        self._queues.append(queue)
        self._dispatch()

    def close(self) -> None:
        """Waits for the items that run; call it when no caller is left."""
        self._pool.shutdown()
        self._beside.shutdown()

    def _dispatch(self) -> None:
        while (queue := self._turn()) is not None:
            self._queues.remove(queue)
            run = queue.take(max(1, self._free))
            if queue.waits():
                self._queues.append(queue)
            if run is not None:
                self._free -= 1
                self._start(self._pool, run, self._thread_is_free)

    def _turn(self) -> _Queue | None:
        """Whose turn it is. A lane has none ahead: what comes until a thread is free joins its run."""
        if self._free > 0:
            return next(iter(self._queues), None)
        if self._free > -self.workers:
            return next((queue for queue in self._queues if not queue.express), None)
        return None

    def _start(self, pool: ThreadPoolExecutor, run: _Run, over: Callable[[], None]) -> None:
        def finished(outcome: asyncio.Future[Any]) -> None:
            failure = outcome.exception()
            if failure is None:
                run.finish(outcome.result())
            else:
                run.fail(failure)
            over()

        asyncio.get_running_loop().run_in_executor(pool, run.work).add_done_callback(finished)

    def _thread_is_free(self) -> None:
        self._free += 1
        self._dispatch()

    def _express_is_free(self) -> None:
        self._express = False
        for queue in self._queues:
            if queue.express:
                self._queues.remove(queue)
                self.queue(queue)
                break


@dataclass(eq=False)
class _Place(Generic[Item, Result]):
    """One `Lane.join`: what came, how much it is, and the future that its caller waits for."""

    item: Item
    size: int
    done: "asyncio.Future[Result]"


class Lane(Generic[Item, Result]):
    """Items of many callers, joined into runs of at most `most` in size.

    Args:
        scheduler: whose threads run it.
        function: items -> their results, in the same order; knows nothing of who sent them.
        most: size of one run; an item is never cut, so a larger one runs alone.
        on_loop: short runs may be done on the loop: their time is the CPU's. A GPU's is spent waiting.
    """

    express = True

    def __init__(
        self,
        scheduler: Scheduler,
        function: Callable[[list[Item]], list[Result]],
        most: int,
        *,
        on_loop: bool = True,
    ) -> None:
        self._scheduler, self._function, self._most = scheduler, function, most
        self._short = SHORT if on_loop else 0.0
        self._waiting: deque[_Place[Item, Result]] = deque()
        self._size = 0  # of all that wait
        self._queued = False  # with the scheduler, or a flush is on its way
        self._seconds: dict[int, float] = {}  # what a run of 2**(k-1) to 2**k - 1 in size took

    async def join(self, item: Item, size: int) -> Result:
        """The item's result. Raises what `function` raises for this item alone; who leaves is dropped unseen."""
        loop = asyncio.get_running_loop()
        place = _Place[Item, Result](item, size, loop.create_future())
        self._waiting.append(place)
        self._size += size
        if not self._queued:
            self._queued = True
            loop.call_soon(self._flush)  # behind all that this tick of the loop still brings
        return await place.done

    @property
    def items(self) -> int:
        return len(self._waiting)

    def waits(self) -> bool:
        self._queued = bool(self._waiting)
        return self._queued

    def take(self, free: int) -> _Run | None:
        """What waits, shared out among the threads that are free."""
        places = self._next(max(1, min(self._most, -(-self._size // free))))
        if not places:
            return None

        def finish(outcomes: list[Result | BaseException]) -> None:
            _hand_out(places, outcomes)

        def fail(failure: BaseException) -> None:
            _hand_out(places, [failure] * len(places))

        return _Run(lambda: self._run(places), finish, fail)

    def _flush(self) -> None:
        """On the loop: a short run at once, a longer one in its turn in a thread."""
        size = min(self._size, self._most)
        if self._expected(size) > self._short:
            self._scheduler.queue(self)
            return
        places = self._next(size)
        if places:
            _hand_out(places, self._run(places))
        if self.waits():
            asyncio.get_running_loop().call_soon(self._flush)

    def _next(self, most: int) -> list[_Place[Item, Result]]:
        """From the front of those that wait: one, and more while they fit; whose caller has left is dropped."""
        places: list[_Place[Item, Result]] = []
        size = 0
        while self._waiting and (not places or size + self._waiting[0].size <= most):
            place = self._waiting.popleft()
            self._size -= place.size
            if not place.done.done():
                places.append(place)
                size += place.size
        return places

    def _run(self, places: list[_Place[Item, Result]]) -> list[Result | BaseException]:
        """Joined; if that fails, each alone, so that one caller's failure is no other's."""
        started = time.thread_time()  # of this thread alone: others on the core make a run late, not long
        try:
            results: list[Result | BaseException] = list(self._function([place.item for place in places]))
        except Exception as failure:  # noqa: BLE001  (whatever it is, it goes to its caller)
            return [failure] if len(places) == 1 else [self._run([place])[0] for place in places]
        self._learn(sum(place.size for place in places), time.thread_time() - started)
        return results

    def _expected(self, size: int) -> float:
        """Seconds of a run: as measured in its class of sizes, else from a smaller class in proportion."""
        for k in range(size.bit_length(), 0, -1):
            if k in self._seconds:
                return self._seconds[k] * float(1 << (size.bit_length() - k))
        return float("inf")  # not measured yet: in a thread

    def _learn(self, size: int, seconds: float) -> None:
        """A faster run counts at once, a slower one a little: caches are not always as cold."""
        k = size.bit_length()
        self._seconds[k] = min(seconds, self._seconds.get(k, seconds) * 1.1)


def _hand_out(places: list[_Place[Any, Any]], outcomes: Sequence[Any]) -> None:
    for place, outcome in zip(places, outcomes, strict=True):
        if place.done.done():
            continue  # its caller has left: the result is nobody's
        if isinstance(outcome, BaseException):
            place.done.set_exception(outcome)
        else:
            place.done.set_result(outcome)
