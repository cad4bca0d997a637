"""Checkpoints: whole or absent, and refused in one sentence when they are damaged."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from training.engine import checkpoint
from training.errors import CheckpointError, DiskError


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


def _state() -> dict[str, object]:
    return {"fingerprint": "this", "best": {"weight": torch.arange(40, dtype=torch.float32)}, "steps": 3}


@pytest.mark.parametrize("mask", [0xFF, 0x01, 0x80])
def test_every_flipped_byte_is_one_sentence_or_changes_nothing(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, _state())
    data = path.read_bytes()
    refusals = 0
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :])
        state = _load_or_none(path)
        refusals += state is None
        if state is not None and state["fingerprint"] == "this":
            torch.testing.assert_close(state["best"]["weight"], torch.arange(40, dtype=torch.float32))
            assert state["steps"] == 3
    assert refusals > 200 + 160, "at least every byte of the pickle and of the weights"


def test_every_cut_and_what_is_no_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, _state())
    data = path.read_bytes()
    whole = data.index(b"sha256:")
    for size in (*range(0, whole, 7), whole - 1):
        path.write_bytes(data[:size])
        assert _load_or_none(path) is None
    for size in range(whole, len(data)):  # only the digest is cut
        path.write_bytes(data[:size])
        assert checkpoint.read(path)["steps"] == 3
    for content in (b"no checkpoint", bytes(100), b"PK\x05\x06" + bytes(18)):
        path.write_bytes(content)
        assert _load_or_none(path) is None
    torch.save([1, 2], path)
    assert _load_or_none(path) is None


def test_a_checkpoint_from_before_digests_is_checked_by_the_sums_in_the_zip(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    torch.save(_state(), path)
    data = path.read_bytes()
    assert checkpoint.load(path, "this") is not None
    weights = data.index(torch.arange(40, dtype=torch.float32).numpy().tobytes())
    path.write_bytes(data[: weights + 50] + bytes([data[weights + 50] ^ 1]) + data[weights + 51 :])
    assert torch.load(path, weights_only=True), "torch itself does not notice"
    assert _load_or_none(path) is None


def test_a_checkpoint_that_holds_code_is_refused_and_not_run(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "run"),)

    torch.save({"fingerprint": "this", "best": Attack()}, tmp_path / "c.pt")
    assert _load_or_none(tmp_path / "c.pt") is None
    assert not (tmp_path / "run").exists()


def _load_or_none(path: Path) -> dict[str, Any] | None:
    """The state, or None after a refusal in one sentence that names the file and the remedy."""
    try:
        return checkpoint.load(path, None)
    except CheckpointError as refusal:
        sentence = str(refusal)
    assert sentence.startswith(f"{path} is damaged, or not a checkpoint")
    assert "--fresh" in sentence
    assert "\n" not in sentence
    return None
