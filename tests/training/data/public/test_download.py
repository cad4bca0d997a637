import base64
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from training.data.public import download
from training.errors import DiskError, DownloadError

CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Publisher(BaseHTTPRequestHandler):
    """Serves CONTENT as Google's storage does: ranges, x-goog-hash; paths choose its misbehaviour."""

    requests: ClassVar[list[str | None]] = []
    broken_after = 300_000

    def do_GET(self) -> None:
        requested_range = self.headers.get("Range")
        self.requests.append(requested_range)
        if self.path == "/missing.npy":
            self.send_error(404)
            return
        start = (
            int(requested_range.removeprefix("bytes=").removesuffix("-"))
            if requested_range and self.path != "/plain.npy"
            else 0
        )
        if start >= len(CONTENT):
            self.send_response(416)
            self._hash()
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self._hash()
        self.end_headers()
        body = CONTENT[start:]
        breaks = self.path == "/breaks.npy" and not start
        self.wfile.write(body[: self.broken_after] if breaks else body)

    def _hash(self) -> None:
        if self.path != "/plain.npy":
            digest = hashlib.md5(CONTENT if self.path != "/lies.npy" else b"other").digest()
            self.send_header("x-goog-hash", "crc32c=AAAAAA==")
            self.send_header("x-goog-hash", f"md5={base64.b64encode(digest).decode()}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Publisher.requests = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Publisher) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_file_is_fetched_once_and_then_taken_from_the_cache(url: str, tmp_path: Path) -> None:
    for _ in range(2):
        path = download.fetch(f"{url}/cat.npy", tmp_path / "cache" / "cat.npy")
        assert path.read_bytes() == CONTENT
    assert Publisher.requests == [None]
    assert [p.name for p in path.parent.iterdir()] == ["cat.npy"]


def test_a_broken_download_goes_on_where_it_stopped(url: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="broke off"):
        download.fetch(f"{url}/breaks.npy", tmp_path / "cat.npy")
    assert not (tmp_path / "cat.npy").exists()
    size = (tmp_path / "cat.npy.part").stat().st_size
    assert size > 0
    assert download.fetch(f"{url}/breaks.npy", tmp_path / "cat.npy").read_bytes() == CONTENT
    assert Publisher.requests[-1] == f"bytes={size}-"


def test_a_whole_part_is_checked_and_named(url: str, tmp_path: Path) -> None:
    (tmp_path / "cat.npy.part").write_bytes(CONTENT)
    assert download.fetch(f"{url}/cat.npy", tmp_path / "cat.npy").read_bytes() == CONTENT


def test_bytes_with_another_checksum_are_refused_and_removed(url: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="another MD5"):
        download.fetch(f"{url}/lies.npy", tmp_path / "cat.npy")
    assert list(tmp_path.iterdir()) == []


def test_a_server_without_ranges_or_checksum_starts_again(url: str, tmp_path: Path) -> None:
    (tmp_path / "cat.npy.part").write_bytes(b"old")
    assert download.fetch(f"{url}/plain.npy", tmp_path / "cat.npy").read_bytes() == CONTENT


def test_a_missing_file_is_a_sentence(url: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="the server answers 404"):
        download.fetch(f"{url}/missing.npy", tmp_path / "cat.npy")


def test_a_server_out_of_reach_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="cannot download"):
        download.fetch("http://127.0.0.1:9/cat.npy", tmp_path / "cat.npy")


def test_a_cache_that_cannot_be_written_is_a_sentence(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DiskError, match="cannot write"):
        download.fetch(f"{url}/cat.npy", tmp_path / "file" / "cat.npy")


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOENCODER_CACHE", str(tmp_path))
    assert download.cache() == tmp_path
    monkeypatch.delenv("AUTOENCODER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert download.cache() == tmp_path / "xdg" / "autoencoder-service"
