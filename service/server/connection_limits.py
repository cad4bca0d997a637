"""What a connection may take of time, bytes and files, and what the system says of it.

Settings -> Limits        socket -> bytes that its peer has not taken        max_connections -> open files
"""

import os
import select
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service.settings import Settings, SettingsError

if os.name == "posix":
    import fcntl
    import resource
    import termios

MAX_HEADER_LINES = 256  # of one request: each takes about 150 bytes of memory beside its own
_HANG_UP = getattr(select, "POLLRDHUP", 0)  # Linux and FreeBSD
OTHER_FILES = 256  # descriptors beside connections: those above the limit, packages, libraries, the loop, logs


@dataclass(frozen=True)
class ConnectionLimits:
    """Seconds, bytes a second, bytes, connections: ranges are those of service.settings.

    `always_answered`: paths that are answered even when all connections are taken.
    """

    headers_deadline: float
    body_deadline: float
    body_rate: int
    max_header_bytes: int
    max_body_bytes: int
    max_connections: int
    always_answered: frozenset[str] = frozenset()

    @classmethod
    def from_settings(cls, settings: Settings, always_answered: frozenset[str] = frozenset()) -> "ConnectionLimits":
        return cls(
            settings.headers_deadline,
            settings.body_deadline,
            settings.body_rate,
            settings.max_header_bytes,
            settings.max_body_bytes,
            settings.max_connections,
            always_answered,
        )

    @property
    def window(self) -> float:
        """Bytes that must be transferred in `body_deadline` seconds."""
        return self.body_rate * self.body_deadline


def unsent_bytes(socket: Any) -> int:
    """Bytes in the system's send buffer, 0 where the system does not report them.

    The buffer holds megabytes, and accepts more only when a third of them is sent: without counting them, a client
    that receives 100 KB a second seems to stand still for half a minute.
    """
    if os.name != "posix":
        return 0
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)))
    except OSError:
        return 0
    return int(count)


def find_hang_ups(sockets: Sequence[Any]) -> list[int]:
    """Indices of the sockets whose peer has closed, or sends no more, whatever lies unread before that.

    Always empty where the system does not tell (macOS, Windows).
    """
    if not _HANG_UP:
        return []
    poll = select.poll()
    indices = {}
    for index, socket in enumerate(sockets):
        descriptor = socket.fileno()
        if descriptor >= 0:
            indices[descriptor] = index
            poll.register(descriptor, _HANG_UP)
    return [indices[descriptor] for descriptor, _ in poll.poll(0)]


def allow_files(max_connections: int) -> None:
    """Raise the limit of open files to that many connections and OTHER_FILES; the system's soft limit is often 1,024.

    Raises:
        SettingsError: the system's hard limit is lower.
    """
    if os.name != "posix":
        return
    required_files = max_connections + OTHER_FILES
    soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard_limit != resource.RLIM_INFINITY and required_files > hard_limit:
        raise SettingsError(
            f"max_connections={max_connections} needs {required_files} open files, "
            f"the system allows {hard_limit} (ulimit -Hn): "
            f"set AUTOENCODER_MAX_CONNECTIONS to at most {max(1, hard_limit - OTHER_FILES)}, or raise that limit"
        )
    if soft_limit != resource.RLIM_INFINITY and soft_limit < required_files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (required_files, hard_limit))
