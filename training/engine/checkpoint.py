"""Checkpoints: written atomically, and loaded as tensors and plain values only.

state -> bytes -> temporary sibling -> fsync -> rename -> load, if the fingerprint is that of this run

A run killed at any moment finds its last checkpoint intact; a full disk leaves the old one. Loading never unpickles
code (`weights_only=True`).
"""

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import torch

from training.errors import DiskError


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` atomically; DiskError if it cannot be written, the old file then stays.

    It is serialised in memory first: torch.save to a file hides why the disk refused.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getbuffer(), "the checkpoint")


def write_atomically(path: Path, data: bytes | memoryview, label: str) -> None:
    """Write a file atomically; DiskError, which calls it `label`, if it cannot be written, the old one then stays."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise DiskError(f"cannot write {label} {path}: {reason}; the one before is untouched") from error


def load(path: Path, fingerprint: str | None) -> dict[str, Any] | None:
    """The state saved at `path` by a run of this `fingerprint`; None if there is none, or it is another run's.

    Without a fingerprint any run's state.
    """
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state if fingerprint in (None, state.get("fingerprint")) else None
