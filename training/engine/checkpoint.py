"""Checkpoints: written atomically, and loaded as tensors and plain values only.

state -> bytes with their digest -> temporary sibling -> fsync -> rename
  -> digest compared -> load, if the fingerprint is that of this run

A run killed at any moment finds its last checkpoint intact; a full disk leaves the old one. Loading never unpickles
code (`weights_only=True`). torch does not compare the checksums in the file, so a flipped bit would become a weight: a
SHA-256 stands in the comment at the end of the zip that torch writes.
"""

import contextlib
import hashlib
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from service.model.files.plain_files import shorten_name
from training.errors import CheckpointError, DiskError

_NO_COMMENT = b"\0\0"  # the last bytes of a zip without a comment: its length
_DIGEST_LABEL = b"sha256:"


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` atomically; DiskError if it cannot be written, the old file then stays.

    It is serialised in memory first: torch.save to a file hides why the disk refused.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest().encode()
    buffer.seek(-len(_NO_COMMENT), io.SEEK_END)
    buffer.write((len(_DIGEST_LABEL) + len(digest)).to_bytes(2, "little") + _DIGEST_LABEL + digest)
    write_atomically(path, buffer.getbuffer(), "the checkpoint")


def write_atomically(path: Path, data: bytes | memoryview, label: str) -> None:
    """Write a file atomically; DiskError, which calls it `label`, if it cannot be written, the old one then stays."""
    part = path.with_name(shorten_name(path.name + ".part"))  # one name: a killed writer's is written over
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

    Without a fingerprint any run's state. Raises CheckpointError: the file is damaged.
    """
    if not path.is_file():
        return None
    state = read(path)
    return state if fingerprint in (None, state.get("fingerprint")) else None


def read(path: Path) -> dict[str, Any]:
    """The state saved at `path` by any run; CheckpointError if the file is damaged or no checkpoint."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True) if _is_intact(path) else None
    except Exception as error:  # zipfile and torch raise whatever damaged bytes lead them to
        raise CheckpointError(_describe_damage(path)) from error
    if not isinstance(state, dict):
        raise CheckpointError(_describe_damage(path))
    return state


def _is_intact(path: Path) -> bool:
    """Whether the bytes are those of the digest; of a file without one (from before), of the zip's own checksums."""
    trailer_size = len(_DIGEST_LABEL) + hashlib.sha256().digest_size * 2
    size = path.stat().st_size - trailer_size - len(_NO_COMMENT)
    with path.open("rb") as file:
        file.seek(max(0, size + len(_NO_COMMENT)))
        label, _, digest = file.read().rpartition(b":")
        if size > 0 and label + b":" == _DIGEST_LABEL:
            file.seek(0)
            sha256 = hashlib.sha256()
            while size and (chunk := file.read(min(size, 1 << 20))):
                sha256.update(chunk)
                size -= len(chunk)
            sha256.update(_NO_COMMENT)
            return sha256.hexdigest().encode() == digest
    with zipfile.ZipFile(path) as archive:
        return archive.testzip() is None


def _describe_damage(path: Path) -> str:
    return (
        f"{path} is damaged, or not a checkpoint of a training run: put a copy of it back, or remove it (--fresh "
        "removes all checkpoints of the run) to start again"
    )
