"""Who may ask: API keys, hashed at rest, and how often.

the file of keys -> Keys; a request's key -> sha256 -> compared with all in constant time -> name, rate

Keys are random, 256 bits, so one round of SHA-256 is as good as many: there is nothing to guess. The file is looked
at once a second and read again when it has changed; a wrong one changes nothing.
"""

import hashlib
import hmac
import logging
import math
import re
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path

from aiolimiter import AsyncLimiter

from service.errors import RateLimited, Unauthorized

LOOK = 1.0  # seconds between looks at the file
LONGEST = 1 << 20  # bytes of the file
_LINE = re.compile(r"([A-Za-z0-9._-]{1,64}):([0-9a-f]{64})(?::([0-9]{1,9}))?")
_log = logging.getLogger("service.keys")


class KeysError(Exception):
    """The file of keys cannot be used; one sentence says why, and never holds what stands in it."""


@dataclass(frozen=True)
class Key:
    """`digest`: SHA-256 of the key; `per_minute`: requests, None for any number."""

    name: str
    digest: bytes
    per_minute: int | None
    bucket: AsyncLimiter | None = field(default=None, compare=False)


class Keys:
    """The keys that are taken now. Belongs to one event loop.

    Args:
        path: a file with lines `name:sha256-in-hex[:requests-per-minute]`; empty lines and lines after # are none.
    Raises:
        KeysError: the file cannot be read, or has a line of another form.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self._keys = read(path)
        self._look = time.monotonic() + LOOK

    async def admit(self, headers: dict[bytes, bytes]) -> str:
        """The name of the key in `Authorization: Bearer KEY` or `X-API-Key`.

        Raises:
            Unauthorized: none, or one that is not known (401).
            RateLimited: it was used more often than it may be (429).
        """
        if time.monotonic() >= self._look:
            self._refresh()
        given = _given(headers)
        if given is None:
            raise Unauthorized("this needs a key; send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
        digest = hashlib.sha256(given).digest()
        found: Key | None = None
        for key in self._keys:  # all of them, so that time tells nothing
            if hmac.compare_digest(digest, key.digest):
                found = key
        if found is None:
            raise Unauthorized("the key is not known")
        if found.bucket is not None and found.per_minute is not None:
            if not found.bucket.has_capacity():
                raise RateLimited(
                    f"the key {found.name} may ask {found.per_minute} times a minute; come again later",
                    retry_after=max(1, math.ceil(60 / found.per_minute)),
                )
            await found.bucket.acquire()
        return found.name

    def _refresh(self) -> None:
        self._look = time.monotonic() + LOOK
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        old = {key: key for key in self._keys}
        try:
            self._keys = [old.get(key, key) for key in read(self._path)]  # who stays keeps what it has used
        except KeysError as bad:
            _log.error("%s; the keys stay as they were", bad)
        else:
            _log.info("%d keys are taken now", len(self._keys))


def read(path: Path) -> list[Key]:
    """The file's keys; raises KeysError."""
    try:
        with path.open("rb") as opened:
            data = opened.read(LONGEST + 1)
    except OSError as error:
        raise KeysError(f"the file of keys {path} cannot be read: {error.strerror or error}") from error
    if len(data) > LONGEST:
        raise KeysError(f"the file of keys {path} is larger than {LONGEST} bytes")
    keys: list[Key] = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        found = _LINE.fullmatch(text)
        if found is None:
            raise KeysError(
                f"the file of keys {path}, line {number}, is not name:sha256-in-hex[:requests-per-minute]; "
                "`autoencoder-service key NAME` makes one"
            )
        name, digest, rate = found.groups()
        if any(key.name == name for key in keys):
            raise KeysError(f"the file of keys {path}, line {number}: there is a key {name} already")
        if rate is not None and int(rate) == 0:
            raise KeysError(f"the file of keys {path}, line {number}: requests per minute are 1 or more")
        per_minute = None if rate is None else int(rate)
        bucket = None if per_minute is None else AsyncLimiter(per_minute, 60)
        keys.append(Key(name, bytes.fromhex(digest), per_minute, bucket))
    if not keys:
        raise KeysError(f"the file of keys {path} holds no key, so nobody could ask anything")
    return keys


def new(name: str) -> tuple[str, str]:
    """(a random key, the line for the file); raises KeysError if the name is none."""
    key = secrets.token_urlsafe(32)
    line = f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"
    if not _LINE.fullmatch(line):
        raise KeysError(f"{name[:100]!r} is no name for a key: 1 to 64 letters, digits, dots, dashes, underscores")
    return key, line


def _given(headers: dict[bytes, bytes]) -> bytes | None:
    authorization = headers.get(b"authorization")
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip()
    return headers.get(b"x-api-key")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:  # to read it will say why
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
