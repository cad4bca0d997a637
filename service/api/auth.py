"""API keys: authentication of requests, and the rate limit of each key.

key file -> ApiKeys; a request's key -> SHA-256 -> compared with every key in constant time -> name, rate limit

Keys are random and have 256 bits, so they cannot be guessed from their digests, and one round of SHA-256 suffices. The
file's status is checked once a second, in a thread, and the file is read again when it has changed. A file with an
error is ignored, and while its file system does not answer the previous keys stay in use.
"""

import asyncio
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
from service.model.files.plain_files import READ_SECONDS, call_within, read_regular

CHECK_INTERVAL = 1.0  # seconds
REFRESH_WAIT = 0.25  # seconds that the request which begins a check waits for it
MAX_FILE_BYTES = 1 << 20
_LINE = re.compile(r"([A-Za-z0-9._-]{1,64}):([0-9a-f]{64})(?::([0-9]{1,9}))?")
_log = logging.getLogger("service.keys")


class KeysError(Exception):
    """The key file cannot be used; one sentence says why, and never quotes the file."""


@dataclass(frozen=True)
class ApiKey:
    """`digest`: SHA-256 of the key; `per_minute`: maximum of requests, None for no limit."""

    name: str
    digest: bytes
    per_minute: int | None
    limiter: AsyncLimiter | None = field(default=None, compare=False)


class ApiKeys:
    """The keys of a file. Belongs to one event loop.

    Args:
        path: a file with lines `name:sha256-in-hex[:requests-per-minute]`; empty lines and text after # are ignored.
    Raises:
        KeysError: the file cannot be read, or a line has another format.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version = _file_version(path)
        self._keys = read_keys(path)
        self._next_check = time.monotonic() + CHECK_INTERVAL
        self._refresh_task: asyncio.Task[None] | None = None

    async def authenticate(self, headers: dict[bytes, bytes]) -> str:
        """The name of the key in `Authorization: Bearer KEY` or `X-API-Key`.

        Raises:
            Unauthorized: there is no key, or it is unknown (401).
            RateLimited: the key is over its limit of requests (429).
        """
        if time.monotonic() >= self._next_check and self._refresh_task is None:
            self._refresh_task = asyncio.create_task(self._refresh())
            await asyncio.wait({self._refresh_task}, timeout=REFRESH_WAIT)
        credential = _credential(headers)
        if credential is None:
            raise Unauthorized("an API key is required; send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
        digest = hashlib.sha256(credential).digest()
        match: ApiKey | None = None
        for key in self._keys:  # no early exit: the time must not depend on the key
            if hmac.compare_digest(digest, key.digest):
                match = key
        if match is None:
            raise Unauthorized("the API key is unknown")
        if match.limiter is not None and match.per_minute is not None:
            if not match.limiter.has_capacity():
                raise RateLimited(
                    f"the key {match.name} is limited to {match.per_minute} requests per minute; try again later",
                    retry_after=max(1, math.ceil(60 / match.per_minute)),
                )
            await match.limiter.acquire()
        return match.name

    async def _refresh(self) -> None:
        try:
            keys = await asyncio.to_thread(self._read_if_changed)
            if keys is not None:
                previous = {key: key for key in self._keys}
                self._keys = [previous.get(key, key) for key in keys]  # an unchanged key keeps its limiter
                _log.info("%d API keys were read", len(keys))
        except KeysError as error:
            _log.error("%s; the previous keys stay in use", error)
        finally:
            self._next_check = time.monotonic() + CHECK_INTERVAL
            self._refresh_task = None

    def _read_if_changed(self) -> list[ApiKey] | None:
        """The keys, None if the file is the one that was read last; raises KeysError. Runs in a thread."""
        try:
            version = call_within(READ_SECONDS, lambda: _file_version(self._path), self._path)
        except OSError as error:
            raise KeysError(f"the key file {self._path} cannot be read: {error.strerror or error}") from error
        if version == self._version:
            return None
        self._version = version
        return read_keys(self._path)


def read_keys(path: Path) -> list[ApiKey]:
    """The keys of a file; raises KeysError."""
    try:
        data = call_within(READ_SECONDS, lambda: read_regular(path, MAX_FILE_BYTES), path)
    except OSError as error:
        raise KeysError(f"the key file {path} cannot be read: {error.strerror or error}") from error
    keys: list[ApiKey] = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise KeysError(
                f"the key file {path}, line {number}, is not name:sha256-in-hex[:requests-per-minute]; "
                "`autoencoder-service key NAME` makes one"
            )
        name, digest, rate = match.groups()
        if any(key.name == name for key in keys):
            raise KeysError(f"the key file {path}, line {number}: there is a key {name} already")
        if rate is not None and int(rate) == 0:
            raise KeysError(f"the key file {path}, line {number}: requests per minute are 1 or more")
        per_minute = None if rate is None else int(rate)
        limiter = None if per_minute is None else AsyncLimiter(per_minute, 60)
        keys.append(ApiKey(name, bytes.fromhex(digest), per_minute, limiter))
    if not keys:
        raise KeysError(f"the key file {path} holds no key, so every request would be rejected")
    return keys


def generate_key(name: str) -> tuple[str, str]:
    """(a random key, its line for the key file); raises KeysError for an invalid name."""
    key = secrets.token_urlsafe(32)
    line = f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"
    if not _LINE.fullmatch(line):
        raise KeysError(f"{name[:100]!r} is no name for a key: 1 to 64 letters, digits, dots, dashes, underscores")
    return key, line


def _credential(headers: dict[bytes, bytes]) -> bytes | None:
    authorization = headers.get(b"authorization")
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip()
    return headers.get(b"x-api-key")


def _file_version(path: Path) -> tuple[int, int, int] | None:
    """(time of modification, size, inode); None without a file, which then fails to be read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
