import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.data import debian_photos
from training.errors import DataError


def deb(path: Path, files: dict[str, bytes]) -> Path:
    """An ar archive with data.tar.xz in it, as deb(5) says."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    out = b"!<arch>\n"
    for name, data in (("debian-binary", b"2.0\n"), ("data.tar.xz", buffer.getvalue())):
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    path.write_bytes(out)
    return path


def test_photographs_are_taken_from_a_package_and_scaled_down(tmp_path: Path) -> None:
    _, jpeg = cv2.imencode(".jpg", np.full((900, 1600, 3), (10, 120, 200), np.uint8))
    path_one, path_two = "usr/share/backgrounds/One.jpg", "usr/share/wallpapers/Two/contents/images/2560x1600.jpg"
    archive = deb(tmp_path / "x.deb", {path_one: jpeg.tobytes(), "usr/other.jpg": b"", path_two: jpeg.tobytes()})
    source = debian_photos.Source("x.deb", "", {path_one: ("A", "CC0"), path_two: ("B", "CC0")})
    debian_photos.unpack_photographs(archive, source, tmp_path)
    sizes = {path.name: cv2.imread(str(path)).shape for path in tmp_path.glob("*.png")}  # type: ignore[union-attr]
    assert sizes == {
        f"{name}-{number}.png": (height, width, 3)
        for name in ("One", "Two")
        for number, height, width in ((1, 450, 800), (2, 394, 700), (3, 281, 500), (4, 197, 350))
    }, "halved at least, and to 1400, 1000, 700, 500 and 350 pixels"

    with pytest.raises(DataError, match=r"has no usr/share/backgrounds/Gone\.jpg"):
        debian_photos.unpack_photographs(
            archive, debian_photos.Source("x.deb", "", {"usr/share/backgrounds/Gone.jpg": ("", "")}), tmp_path
        )
    (tmp_path / "y.deb").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match="not a package of Debian"):
        debian_photos.unpack_photographs(tmp_path / "y.deb", source, tmp_path)


def test_every_photograph_has_an_author_and_a_free_licence() -> None:
    entries = [entry for source in debian_photos.SOURCES for entry in source.photographs.values()]
    assert len(entries) == 34
    assert all(author and licence.startswith(("CC", "GPL", "LGPL")) for author, licence in entries)
    assert "Sander Klootwijk" in debian_photos.licence()
