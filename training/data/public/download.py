"""Downloads and the folders of data: a published file is fetched once, resumed, checked and cached.

url -> <destination>.part -> length, MD5 or SHA-256 checked -> destination
"""

import base64
import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from training.errors import DiskError, DownloadError

CHUNK = 1 << 20  # bytes
TIMEOUT = 30  # seconds without a byte


def data_folders() -> list[Path]:
    """Where data sets may already lie: $AUTOENCODER_DATA alone, else ./data and ../shared/data."""
    folder = os.environ.get("AUTOENCODER_DATA")
    return [Path(folder)] if folder else [Path("data"), Path("../shared/data")]


def cache() -> Path:
    """The folder of downloads and generated files: $AUTOENCODER_CACHE, else the user's cache folder."""
    user_cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("AUTOENCODER_CACHE") or Path(user_cache) / "autoencoder-service")


def fetch(url: str, destination: Path, *, sha256: str | None = None) -> Path:
    """Download `url` to `destination`, unless it exists; a broken download resumes where it stopped.

    The bytes gather in `<destination>.part`; only a complete file with the right checksum gets its name. The MD5 that
    Google's storage states (`x-goog-hash: md5=<base64>`) is checked, and `sha256` (hex) if it is given. Without either,
    only the length is checked.

    Raises:
        DownloadError: not reachable, shorter than announced, or another checksum (the part is then removed).
        DiskError: the cache cannot be written.
    """
    if destination.is_file():
        return destination
    part = destination.with_name(destination.name + ".part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        headers = _receive(url, part)
        _verify_md5(url, part, headers)
        if sha256 is not None:
            _verify_sha256(url, part, sha256)
        part.replace(destination)
    except urllib.error.URLError as error:
        raise DownloadError(f"cannot download {url}: {error.reason}; what has arrived is kept, run it again") from error
    except (TimeoutError, ConnectionError) as error:
        raise DownloadError(f"{url} broke off: {error}; what has arrived is kept, run it again to go on") from error
    except OSError as error:
        raise DiskError(f"cannot write {destination}: {error.strerror or error}") from error
    return destination


def _receive(url: str, part: Path) -> dict[str, str]:
    """Append to `part` what it lacks; the response's headers, names in lower case."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})  # noqa: S310
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # nothing is left to fetch: the part is complete, or of another file
            return {name.lower(): value for name, value in error.headers.items()}
        raise DownloadError(f"cannot download {url}: the server answers {error.code} {error.reason}") from error
    with response:
        is_resumed = response.status == 206
        start = start if is_resumed else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with (
            part.open("ab" if is_resumed else "wb") as file,
            tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[-1]) as bar,
        ):
            while block := response.read(CHUNK):
                file.write(block)
                bar.update(len(block))
        if total is not None and part.stat().st_size < total:
            raise DownloadError(f"{url} broke off at {part.stat().st_size} of {total} bytes; run it again to go on")
        return {name.lower(): value for name, value in response.headers.items()}


def _verify_sha256(url: str, part: Path, expected: str) -> None:
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected:
        part.unlink()
        raise DownloadError(f"{url} arrived with SHA-256 {digest[:12]}..., expected {expected[:12]}...; it was removed")


def _verify_md5(url: str, part: Path, headers: dict[str, str]) -> None:
    checksums = [h.strip()[4:] for h in headers.get("x-goog-hash", "").split(",") if h.strip().startswith("md5=")]
    if not checksums:
        return
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    if base64.b64encode(digest.digest()).decode() != checksums[0]:
        part.unlink()
        raise DownloadError(f"{url} arrived with another MD5 than its publisher states; it was removed, run it again")
