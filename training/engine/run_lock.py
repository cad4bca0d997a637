"""Lock of a run's folder: two processes never write the same checkpoints.

runs/NAME/lock -> locked by the operating system -> held until the process ends, however it ends

The lock is the system's (flock, by filelock), so one of a process that was killed blocks nobody. The file stays; it
names the process that held the lock last.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from training.errors import DiskError, RunLocked

FILE_NAME = "lock"


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, which is created.

    Raises:
        RunLocked: another process holds it; the sentence names that process.
        DiskError: the folder cannot be written, or its file system cannot lock.
    """
    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path, blocking=False, preserve_lock_file=True, on_acquired=_write_holder)
        lock.acquire()
    except filelock.Timeout as error:
        raise RunLocked(
            f"{folder} is in use by {_read_holder(path)}: wait until that run has ended, or choose another --out or "
            "--runs"
        ) from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DiskError(f"cannot lock {path}: {reason}; choose another --runs") from error
    try:
        yield
    finally:
        lock.release()


def _write_holder(descriptor: int) -> None:
    """Name this process in the lock file; for the sentence only, so a full disk is no error."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


def _read_holder(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        text = path.read_text(encoding="utf-8")[:200].strip()
        if text.startswith("process "):
            return f"another run ({text})"
    return "another run"
