"""Work items of all requests -> a bounded pool of threads, in turns.

a request's items -> its queue -> one item of each request in turn -> thread -> results in order

A request of a thousand items and a request of one are served alternately, so a large one cannot starve a small
one. Items are things that release the interpreter lock: model runs, image codecs.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(eq=False)
class _Caller:
    """One `run`: items that have not started, results so far, and the future that its caller waits for."""

    function: Callable[[Any], Any]
    waiting: deque[tuple[int, Any]]
    results: dict[int, Any]
    total: int
    done: asyncio.Future[None]


class Scheduler:
    """Fair between callers, first in first out within one. Belongs to one event loop.

    Args:
        workers: items that run side by side, at least 1.
    """

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="run")
        self._free = workers
        self._callers: deque[_Caller] = deque()

    async def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """[function(item) for item in items], in threads, in order.

        The first item that raises ends this call with its exception, and no other call. When the call ends early,
        by that or because its task was cancelled, its items that have not started never do.
        """
        done = asyncio.get_running_loop().create_future()
        caller = _Caller(function, deque(enumerate(items)), {}, len(items), done)
        if not items:
            return []
        self._callers.append(caller)
        self._dispatch()
        try:
            await done
        finally:
            caller.waiting.clear()
        return [caller.results[index] for index in range(caller.total)]

    async def call(self, function: Callable[[Item], Result], item: Item) -> Result:
        """`function(item)` in a thread, in its turn."""
        (result,) = await self.run(function, [item])
        return result

    def close(self) -> None:
        """Waits for the items that run; call it when no caller is left."""
        self._pool.shutdown()

    def _dispatch(self) -> None:
        while self._free and self._callers:
            caller = self._callers.popleft()
            if not caller.waiting:  # it failed or was cancelled since it queued up
                continue
            index, item = caller.waiting.popleft()
            if caller.waiting:
                self._callers.append(caller)
            self._free -= 1
            run = asyncio.get_running_loop().run_in_executor(self._pool, caller.function, item)
            run.add_done_callback(lambda run, caller=caller, index=index: self._finished(caller, index, run))  # type: ignore[misc]

    def _finished(self, caller: _Caller, index: int, run: asyncio.Future[Any]) -> None:
        self._free += 1
        failure = run.exception()
        if caller.done.done():
            pass  # its caller has left: the result is nobody's
        elif failure is not None:
            caller.waiting.clear()
            caller.done.set_exception(failure)
        else:
            caller.results[index] = run.result()
            if len(caller.results) == caller.total:
                caller.done.set_result(None)
        self._dispatch()
