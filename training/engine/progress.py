"""Progress of a command for its user: a bar on a terminal, else a line at the start and every ten seconds, on stderr.

steps, errors -> Progress -> bar | "mine: epoch 7 of 40, training error 0.0231; about 3 minutes left"
work without steps -> stage -> "mine: drawing the figures ...", again every ten seconds while it lasts

Nothing is written by processes other than the main one, nor inside `silence`.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType

from torch import Tensor
from tqdm import tqdm

LINE_SECONDS = 10.0  # between two lines
ESTIMATE_SECONDS = 2.0  # of steps, before the first estimate of the time left
STAGE_SECONDS = 1.0  # work that takes less has no line
_IS_SILENT: ContextVar[bool] = ContextVar("is_silent", default=False)


class Progress:
    """Reports a training run; use as a context.

    Args:
        title: begins each line.
        epochs: of the run; None where the clock ends it, after `minutes`.
        first_epoch: how many are done already.
        steps: of an epoch.
    """

    def __init__(
        self, title: str, epochs: int | None, minutes: float | None, first_epoch: int, steps: int, *, is_main: bool
    ) -> None:
        self._title, self._epochs, self._minutes, self._epoch = title, epochs, minutes, first_epoch
        is_main = is_main and not _IS_SILENT.get()
        disable = None if is_main else True  # None: a bar only if stderr is a terminal
        total = None if epochs is None else epochs * steps
        self._bar = tqdm(total=total, initial=first_epoch * steps, desc=title, unit="step", disable=disable)
        self._writes_lines = is_main and bool(self._bar.disable)
        self._start = time.perf_counter()
        self._first_share: float | None = None
        self._next_line = self._start + ESTIMATE_SECONDS
        self._validation: float | None = None

    def __enter__(self) -> "Progress":
        if self._writes_lines:
            epochs = None if self._epochs is None else self._epochs - self._epoch
            length = format_duration(60 * (self._minutes or 0)) if epochs is None else f"{epochs} epochs"
            _print(f"{self._title}: training for {length}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def step(self, share: float, total_error: Tensor, count: int) -> None:
        """After each step: the `share` (0..1) of the run that is over; the error summed over `count` samples."""
        self._bar.update()
        if self._first_share is None:
            self._first_share = share
        now = time.perf_counter()
        if self._writes_lines and now >= self._next_line:
            self._next_line = now + LINE_SECONDS
            self._print_line(float(total_error) / max(1, count), share)

    def close_epoch(self, training: float, validation: float) -> None:
        """After each epoch: its mean training error and its validation error."""
        self._epoch += 1
        self._validation = validation
        self._bar.set_postfix(training=f"{training:.5f}", validation=f"{validation:.5f}")

    def finish(self, epoch: int, training: float, validation: float) -> None:
        """At the end: the errors of the epoch that is kept, counted from 1; 0: the initial weights are kept."""
        if self._writes_lines:
            kept = f"epoch {epoch} is kept" if epoch else "none was better than the initial weights, which are kept"
            duration = format_duration(time.perf_counter() - self._start)
            errors = f"training error {training:.5f}, " * bool(epoch) + f"validation error {validation:.5f}"
            _print(f"{self._title}: {self._epoch} epochs done, {duration}; {kept}: {errors}")

    def _print_line(self, training: float, share: float) -> None:
        of_all = "" if self._epochs is None else f" of {self._epochs}"
        line = f"{self._title}: epoch {self._epoch + 1}{of_all}, training error {training:.5f}"
        if self._validation is not None:
            line += f", validation error {self._validation:.5f}"
        gained = share - (self._first_share or 0.0)
        if gained > 0:
            line += f"; about {format_duration((time.perf_counter() - self._start) * (1 - share) / gained)} left"
        _print(line)


@contextmanager
def silence(*, is_silent: bool = True) -> Iterator[None]:
    """In this thread nothing is written while the body runs, if `is_silent`."""
    token = _IS_SILENT.set(is_silent)
    try:
        yield
    finally:
        _IS_SILENT.reset(token)


def report(line: str) -> None:
    """A line on stderr, unless inside `silence`."""
    if not _IS_SILENT.get():
        _print(line)


@contextmanager
def stage(words: str, *, is_main: bool = True) -> Iterator[None]:
    """Lines about work that has no steps, `words` "mine: drawing the figures", while the body runs.

    The first one after STAGE_SECONDS, the others every LINE_SECONDS.
    """
    is_over = threading.Event()

    def report_often() -> None:
        seconds = STAGE_SECONDS
        if is_over.wait(seconds):
            return
        _print(f"{words} ...")
        while not is_over.wait(LINE_SECONDS):
            seconds += LINE_SECONDS
            _print(f"{words} ... {format_duration(seconds)} so far")

    is_main = is_main and not _IS_SILENT.get()
    thread = threading.Thread(target=report_often, daemon=True)
    if is_main:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        if is_main:
            thread.join()


def format_duration(seconds: float) -> str:
    """ "8 seconds", "12 minutes", "3.5 hours"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} second{'s' * (round(seconds) > 1)}"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
