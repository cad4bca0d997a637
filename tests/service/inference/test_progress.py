"""The share of a request's work that is done, and what is left of it."""

import pytest

from service.inference import progress
from service.inference.progress import Progress


def test_the_rest_takes_as_long_as_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress, "perf_counter", lambda: now)
    work = Progress()
    assert (work.fraction, work.seconds_left) == (0, None)
    work.plan(400)
    assert (work.fraction, work.seconds_left) == (0, None)
    now = 103.0
    work.advance(100)
    assert work.fraction == 0.25
    assert work.seconds_left == pytest.approx(9)
    now = 105.0
    assert work.seconds_left == pytest.approx(7)  # it counts down between two items
    now = 120.0
    assert work.seconds_left == 0
    work.advance(300.0001)  # rounding
    assert (work.fraction, work.seconds_left) == (1, 0)
