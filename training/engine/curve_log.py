"""Learning curve while a run goes on, in files that other tools read: a CSV, and events of TensorBoard.

each epoch -> CurveLog -> <folder>/curve.csv + events.out.tfevents... (if tensorboard is installed)

MLflow takes the events by mlflow.pytorch.autolog(), or the CSV.
"""

import csv
from pathlib import Path
from types import TracebackType
from typing import Any

from training.errors import DiskError, TrainingError

COLUMNS = ("epoch", "steps", "seconds", "learning_rate", "training_error", "validation_error")


def check_log_folder(folder: Path) -> None:
    """TrainingError, with the remedy, if TensorBoard's writer is not installed; DiskError if it cannot be made."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise TrainingError("--log-dir needs TensorBoard's writer: pip install tensorboard") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"cannot make {folder}: {error.strerror or error}") from error


class CurveLog:
    """The curve of one run; use as a context. A run that resumes adds to what is there.

    Args:
        folder: of this run; None: nothing is written.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._writer: Any = None

    def __enter__(self) -> "CurveLog":
        if self._folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._folder.mkdir(parents=True, exist_ok=True)
            self._writer = SummaryWriter(str(self._folder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, epoch: int, steps: int, seconds: float, rate: float, training: float, validation: float) -> None:
        """One epoch, counted from 1; `steps` and `seconds` of the whole run so far."""
        if self._folder is None:
            return
        path = self._folder / "curve.csv"
        is_new = not path.exists() or epoch == 1
        with path.open("w" if is_new else "a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(COLUMNS)
            writer.writerow([epoch, steps, round(seconds, 3), rate, training, validation])
        for name, value in (("error/training", training), ("error/validation", validation), ("learning_rate", rate)):
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()
