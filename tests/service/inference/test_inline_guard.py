"""The inline guard: a run on the event loop that takes long is stopped."""

import threading
import time

import pytest

from service.inference import inline_guard
from service.inference.inline_guard import InlineGuard
from service.interruption import current_interruption


def test_a_long_run_is_stopped_and_a_short_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline_guard, "LIMIT", 0.1)
    guard, stopped = InlineGuard(), threading.Event()
    with guard as interruption:
        assert current_interruption() is interruption
        assert not interruption.is_stopped
    assert current_interruption() is None
    with guard as longer, longer.call_on_stop(stopped.set):
        assert stopped.wait(5)
    assert longer.is_stopped
    with guard as later:
        time.sleep(0.05)
    time.sleep(0.3)  # between two runs nothing is stopped
    assert not later.is_stopped
    guard.close()
