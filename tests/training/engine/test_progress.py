import time

import pytest
import torch

from training.engine import progress
from training.engine.progress import Progress, format_duration, stage


def test_without_a_terminal_lines_come_from_the_first_second_on_and_estimate_the_rest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("training.engine.progress.time.perf_counter", lambda: now)
    with Progress("mine", 40, None, 0, 100, is_main=True) as reporter:
        assert capsys.readouterr().err == "mine: training for 40 epochs\n"
        for step in range(400):
            now += 0.1
            reporter.step((step + 1) / 4000, torch.tensor(0.5 * (step + 1)), step + 1)
            if step == 199:
                reporter.close_epoch(0.5, 0.25)
        reporter.finish(1, 0.5, 0.25)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "mine: epoch 1 of 40, training error 0.50000; about 7 minutes left"
    assert len(lines) == 1 + 3 + 1, "one after two seconds, then one every ten"
    assert "epoch 2 of 40, training error 0.50000, validation error 0.25000; about 6 minutes left" in lines[3]
    assert lines[-1] == (
        "mine: 1 epochs done, 40 seconds; epoch 1 is kept: training error 0.50000, validation error 0.25000"
    )


def test_a_run_by_the_clock_says_its_minutes_and_other_processes_say_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress("mine", None, 12, 0, 100, is_main=True):
        assert capsys.readouterr().err == "mine: training for 12 minutes\n"
    with Progress("mine", 3, None, 0, 100, is_main=False) as reporter:
        reporter.step(1.0, torch.tensor(1.0), 1)
        reporter.finish(0, 1.0, 1.0)
    assert capsys.readouterr().err == ""


def test_initial_weights_that_are_kept_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("mine", 3, None, 0, 100, is_main=True) as reporter:
        reporter.finish(0, 1.0, 0.125)
    assert (
        "none was better than the initial weights, which are kept: validation error 0.12500" in capsys.readouterr().err
    )


def test_long_work_has_lines_and_short_work_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage("mine: measuring"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "STAGE_SECONDS", 0.01)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.05)
    with stage("mine: measuring"):
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "mine: measuring ..."
    assert lines[1] == "mine: measuring ... 1 second so far"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "1 second"), (8, "8 seconds"), (720, "12 minutes"), (12_600, "3.5 hours")]
)
def test_durations_have_the_unit_that_people_say(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words
