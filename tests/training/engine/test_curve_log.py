import csv
import sys
from pathlib import Path

import pytest

from training.engine.curve_log import COLUMNS, CurveLog, check_log_folder
from training.errors import DiskError, TrainingError


def read(folder: Path) -> list[list[str]]:
    with (folder / "curve.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_the_curve_is_a_csv_and_events_that_tensorboard_reads(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with CurveLog(tmp_path / "run") as log:
        log.add(1, 10, 0.5, 0.01, 0.2, 0.25)
    with CurveLog(tmp_path / "run") as log:  # a run that resumes
        log.add(2, 20, 1.5, 0.005, 0.125, 0.15)
    rows = read(tmp_path / "run")
    assert rows == [[*COLUMNS], ["1", "10", "0.5", "0.01", "0.2", "0.25"], ["2", "20", "1.5", "0.005", "0.125", "0.15"]]
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    values = [(event.step, event.value) for event in events.Scalars("error/training")]
    assert values == [(1, pytest.approx(0.2)), (2, 0.125)]
    assert {"error/validation", "learning_rate"} <= set(events.Tags()["scalars"])


def test_a_run_that_starts_again_begins_the_csv_anew_and_no_folder_writes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        with CurveLog(tmp_path) as log:
            log.add(1, 10, 0.5, 0.01, 0.2, 0.25)
    assert len(read(tmp_path)) == 2
    with CurveLog(None) as log:
        log.add(1, 10, 0.5, 0.01, 0.2, 0.25)


def test_what_is_missing_is_said_before_anything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DiskError, match="cannot make"):
        check_log_folder(tmp_path / "file" / "logs")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match="pip install tensorboard"):
        check_log_folder(tmp_path / "logs")
