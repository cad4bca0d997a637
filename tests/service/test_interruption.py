"""Interruption: what runs in a thread hears that it is to stop."""

import threading

from service.interruption import Interruption, current_interruption, interruptible


def test_work_that_runs_is_stopped_and_work_that_has_ended_is_not_touched() -> None:
    interruption, calls = Interruption(), list[str]()
    with interruption.call_on_stop(lambda: calls.append("ended")):
        pass
    with interruption.call_on_stop(lambda: calls.append("running")):
        interruption.stop()
    assert interruption.is_stopped
    assert calls == ["running"]


def test_work_that_begins_after_the_stop_is_stopped_at_once() -> None:
    interruption, calls = Interruption(), list[str]()
    interruption.stop()
    with interruption.call_on_stop(lambda: calls.append("late")):
        assert calls == ["late"]


def test_each_thread_has_its_own() -> None:
    others: list[Interruption | None] = []
    with interruptible(Interruption()) as _:
        thread = threading.Thread(target=lambda: others.append(current_interruption()))
        thread.start()
        thread.join()
        assert current_interruption() is not None
    assert current_interruption() is None
    assert others == [None]
