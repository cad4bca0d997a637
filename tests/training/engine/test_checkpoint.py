from pathlib import Path

import pytest

from training.engine import checkpoint
from training.errors import DiskError


def test_a_checkpoint_of_another_run_is_left_alone(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c.pt", {"fingerprint": "another"})
    assert checkpoint.load(tmp_path / "c.pt", "this") is None
    assert checkpoint.load(tmp_path / "none.pt", "this") is None


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"fingerprint": "this", "epoch": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskError, match="No space left on device; the one before is untouched"):
        checkpoint.save(path, {"fingerprint": "this", "epoch": 2})
    monkeypatch.undo()
    assert checkpoint.load(path, "this") == {"fingerprint": "this", "epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]
