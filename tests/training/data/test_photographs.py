import hashlib
import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from tests.training.restoration import build_recipe
from training import train_denoiser
from training.data import patches, photographs
from training.engine.loop import History, TrainingResult
from training.errors import DataError, DownloadError
from training.export import card


def encode(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((400, 300), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


ORIGINALS = {f"/owner/repo/{'c' * 40}/pictures/Ey%20{n}.jpg": encode(n) for n in range(3)}


class Repository(BaseHTTPRequestHandler):
    """Serves ORIGINALS as the server of raw files does; breaks off once in the middle of the second one."""

    requests: ClassVar[list[str]] = []
    has_broken = False

    def do_GET(self) -> None:
        type(self).requests.append(self.path)
        data = ORIGINALS[self.path]
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if "%201" in self.path and not Repository.has_broken:
            Repository.has_broken = True
            self.wfile.write(data[:100])
        else:
            self.wfile.write(data[start:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[photographs.Photograph]]:
    """Three photographs of a local server; no data folder."""
    Repository.requests, Repository.has_broken = [], False
    rows = [
        replace(
            photographs.list_photographs()[0], file=f"eye-{n}.jpg", source="github.com/owner/repo", commit="c" * 40,
            source_path=f"pictures/Ey {n}.jpg", original_sha256=hashlib.sha256(data).hexdigest(), width=200, height=150,
        )
        for n, data in enumerate(ORIGINALS.values())
    ]  # fmt: skip
    monkeypatch.setenv("AUTOENCODER_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("AUTOENCODER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(photographs, "list_photographs", lambda: tuple(rows))
    with ThreadingHTTPServer(("127.0.0.1", 0), Repository) as server:
        monkeypatch.setattr(photographs, "SERVER", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield rows
        server.shutdown()
        thread.join()


def test_a_download_that_broke_off_goes_on_and_originals_are_scaled_down(
    listed: list[photographs.Photograph], tmp_path: Path
) -> None:
    with pytest.raises(DownloadError, match="broke off at 100 of"):
        photographs.find_folder()
    folder = photographs.find_folder()
    assert folder == tmp_path / "cache" / "photos-free" / "photos"
    assert [path.split("%20")[1] for path in Repository.requests] == ["0.jpg", "1.jpg", "1.jpg", "2.jpg"]
    assert sorted(file.name for file in folder.iterdir()) == [row.file for row in listed]
    for file in folder.iterdir():
        with Image.open(file) as image:
            assert (image.size, image.mode) == ((200, 150), "RGB")
    assert not list((folder.parent / "originals").iterdir()), "gigabytes, which nothing needs again"
    assert photographs.find_folder() == folder
    assert len(Repository.requests) == 4, "from the cache"


def test_another_file_than_the_list_says_is_refused(listed: list[photographs.Photograph], tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="arrived with SHA-256"):
        photographs.fetch([replace(listed[0], original_sha256="0" * 64)], tmp_path / "photos")
    assert not (tmp_path / "photos").exists()


def test_an_original_that_is_no_image_is_a_sentence(listed: list[photographs.Photograph], tmp_path: Path) -> None:
    (tmp_path / "original").write_bytes(b"<html>")
    with pytest.raises(DataError, match="cannot be read as an image"):
        photographs.scale_down(tmp_path / "original", listed[0])


def test_a_data_folder_is_used_in_place_of_the_download(
    listed: list[photographs.Photograph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / "photos-free" / "photos"
    folder.mkdir(parents=True)
    monkeypatch.setenv("AUTOENCODER_DATA", str(tmp_path / "data"))
    with pytest.raises(DataError, match=r"lacks 3 of its photographs, such as eye-0\.jpg"):
        photographs.find_folder()
    for row, data in zip(listed, ORIGINALS.values(), strict=True):
        (folder / row.file).write_bytes(data)
    assert photographs.find_folder() == folder
    assert not Repository.requests


def test_every_photograph_has_a_source_and_a_free_licence() -> None:
    rows = photographs.list_photographs()
    assert len(rows) == len({row.file for row in rows}) == len({row.original_sha256 for row in rows}) == 433
    for row in rows:
        assert row.licence.startswith(("CC0", "CC BY", "Public domain")), row.file
        assert row.author or row.licence.startswith(("CC0", "CC BY", "Public domain")), row.file
        assert row.url.startswith(f"https://raw.githubusercontent.com/{row.source.split('/', 1)[1]}/{row.commit}/")
        assert " " not in row.url
        assert row.factor >= 2
    assert 0.06 < np.mean([row.is_validation for row in rows]) < 0.1
    assert "CC BY-SA (295)" in photographs.licence()
    table = photographs.credit_table()
    assert sum(int(count) for _, count, _, _ in table) == 433
    assert "Jjron" in " ".join(authors for *_, authors in table)
    lines = card._credit_lines(table)
    assert lines[2].count(" | ") == 3
    assert len(lines) == len(table) + 3


def test_photographs_are_split_by_their_originals_and_some_are_shown(
    listed: list[photographs.Photograph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        replace(listed[0], original_sha256="00000063" + "0" * 56),
        replace(listed[1], original_sha256="00000000" + "0" * 56, author="A B"),
    ]
    monkeypatch.setattr(photographs, "list_photographs", lambda: tuple(rows))
    monkeypatch.setattr(patches, "EXAMPLES", ("eye-1",))
    folder = tmp_path / "data" / "photos-free" / "photos"
    folder.mkdir(parents=True)
    for row, original in zip(rows, ORIGINALS.values(), strict=False):
        (folder / row.file).write_bytes(original)
    monkeypatch.setenv("AUTOENCODER_DATA", str(tmp_path / "data"))
    architecture = {"type": "unet", "channels": 3, "widths": [8], "encoder_blocks": [1], "decoder_blocks": []}
    data = patches.load(build_recipe("photos-free", architecture=architecture))
    assert len(data.train) == 10 * 13, "32 x 32 patches of a picture of 400 x 300"
    assert [image.name for image in data.validation] == ["eye-1"]
    assert [image.group for image in data.examples] == ["A B"]
    assert data.credit_table[0][0] == "github.com/owner/repo"
    result = TrainingResult(
        train_denoiser.build(build_recipe("x", architecture=architecture)), History([1.0], [1.0], 0)
    )
    figures = train_denoiser.draw_figures(result, data)
    assert figures["before-after.webp"][1].picture[8:12] == b"WEBP"
