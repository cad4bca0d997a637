"""Files of this machine: read without waiting for a writer, written whole or not at all, named in printable form.

path -> open without waiting -> regular file? -> at most `max_bytes`
bytes -> temporary file beside the destination, with a short name -> rename

A path may lead to anything: a pipe without a writer, a device without an end, a network file system that has stopped to
answer, a name that is no UTF-8 or has as many bytes as the file system takes.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

MAX_NAME_BYTES = 255  # of one file name, in all usual file systems
READ_SECONDS = 10.0  # for a small file; a network file system that has stopped to answer takes for ever

T = TypeVar("T")

# Characters that end a line or move a terminal's cursor: C0, DEL, C1, line separators, changes of writing direction.
_CONTROLS = {*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_SHORT_ESCAPES = {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}
_ESCAPES = {code: _SHORT_ESCAPES.get(code, f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}") for code in _CONTROLS}


def to_printable(name: str) -> str:
    r"""A file name, or a sentence with one, in one line of UTF-8: other bytes become \xff, line ends \n."""
    if name.isprintable():
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").translate(_ESCAPES)


def shorten_name(name: str) -> str:
    """A file name of at most MAX_NAME_BYTES: the middle of a longer one becomes a digest of it; its suffix stays."""
    data = os.fsencode(name)
    if len(data) <= MAX_NAME_BYTES:
        return name
    suffix = os.fsencode(Path(name).suffix)[-64:]
    middle = b"-" + hashlib.sha256(data).hexdigest()[:16].encode()
    start = data[: MAX_NAME_BYTES - len(middle) - len(suffix)]
    return start.decode("utf-8", "ignore") + os.fsdecode(middle + suffix)


def list_visible_files(folder: Path) -> list[Path]:
    """All regular files below `folder`, sorted; hidden files and folders (".name") are left out, links not followed.

    Raises:
        OSError: a folder cannot be listed.
    """

    def fail(error: OSError) -> None:
        raise error

    paths: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [Path(root, name) for name in names if not name.startswith(".")]
    return sorted(path for path in paths if path.is_file())


def read_regular(path: Path, max_bytes: int | None = None, *, follow_links: bool = True) -> bytes:
    """The bytes of a regular file, at most `max_bytes`; a pipe or a device is never waited for.

    Raises:
        OSError: EINVAL: a pipe, a device or a socket; EISDIR; EFBIG: over `max_bytes`; ELOOP: a link.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    flags |= 0 if follow_links else getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read() if max_bytes is None else file.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    if max_bytes is not None and len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {max_bytes} bytes", str(path))
    return content


def call_within(seconds: float, function: Callable[[], T], path: Path) -> T:
    """The result of `function`, which asks a file system about `path`.

    Raises:
        OSError: ETIMEDOUT: no answer within `seconds`; the thread that waits for it is left behind.
        Exception: whatever `function` raises.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function())
        except BaseException as failure:  # noqa: BLE001  (raised again by the caller's thread)
            failures.append(failure)

    thread = threading.Thread(target=call, name=f"reads {path.name}", daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    if not results:
        raise OSError(errno.ETIMEDOUT, f"the file system did not answer within {seconds:g} s", str(path))
    return results[0]


def write_whole(path: Path, data: bytes | memoryview, *, is_synced: bool = False) -> None:
    """Write a file whole or not at all, and create its folders. Two writers of one file do not disturb each other.

    Args:
        is_synced: the bytes are on the disk before the file gets its name, so that a power cut leaves no empty file.
    Raises:
        OSError: of the disk; the file that was there stays, and no temporary one is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")  # short, whatever the name
    try:
        with temporary.open("xb") as file:
            file.write(data)
            if is_synced:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
