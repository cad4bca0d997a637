"""Cost: cheap work is done on the event loop, other work in a worker thread."""

import asyncio
import math
import threading

import numpy as np
import pytest

from service.api.v1.body import parsing_cost
from service.api.v1.responses import serialization_cost
from service.codecs.formats import JSON, NPY, PNG
from service.inference.cost import INLINE_NS, is_inline
from service.inference.engine import Result
from service.inference.scheduler import Scheduler


def thread_name(_: int) -> str:
    return threading.current_thread().name


@pytest.mark.parametrize(("cost", "inline"), [(0, True), (INLINE_NS, True), (INLINE_NS + 1, False), (math.inf, False)])
def test_the_cost_decides_between_event_loop_and_thread(cost: float, inline: bool) -> None:
    async def go() -> list[str]:
        scheduler = Scheduler(1)
        names = [await scheduler.call(thread_name, 1, cost), *await scheduler.run(thread_name, [1, 2], cost)]
        scheduler.close()
        return names

    assert is_inline(cost) == inline
    names = asyncio.run(go())
    assert len(names) == 3
    assert all((name == threading.current_thread().name) == inline for name in names)


def test_an_exception_is_raised_wherever_the_work_is_done() -> None:
    def fail(item: int) -> int:
        raise ValueError(item)

    async def go(cost: float) -> None:
        scheduler = Scheduler(1)
        with pytest.raises(ValueError, match="7"):
            await scheduler.call(fail, 7, cost)
        scheduler.close()

    for cost in (0, math.inf):
        asyncio.run(go(cost))


def test_small_bodies_and_images_of_any_size_are_parsed_on_the_event_loop() -> None:
    assert is_inline(parsing_cost(b" " * 2**14, JSON))
    assert not is_inline(parsing_cost(b" " * (2**14 + 1), JSON))
    assert is_inline(parsing_cost(b"\x93NUMPY" + bytes(2**17), NPY))
    assert not is_inline(parsing_cost(b"\x93NUMPY" + bytes(2**20), NPY)), "one of another byte order is copied"
    assert parsing_cost(bytes(2**20), PNG) == 0


@pytest.mark.parametrize(("media_type", "size"), [(NPY, 2**18), (JSON, 2**14), (PNG, 2**12)])
def test_small_results_are_serialized_on_the_event_loop(media_type: str, size: int) -> None:
    assert is_inline(serialization_cost(Result(np.zeros((1, size), np.uint8)), media_type))
    assert not is_inline(serialization_cost(Result(np.zeros((1, size + 1), np.uint8)), media_type))
    assert not is_inline(serialization_cost(Result((np.zeros(size, np.uint8),) * 2), media_type))
