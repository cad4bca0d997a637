"""Free photographs to learn from: `photos-free`, 433 pictures of 34 public repositories, listed in photographs.csv.

list -> original of each (SHA-256 checked) -> scaled down by its factor -> JPEG in the cache -> train | validation

Scaling down by two and more averages away the noise and the compression of the originals; Lanczos' filter keeps them
sharp. A folder `photos-free` among the data folders, made alike, is used in place of the download.
"""

import csv
import io
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from PIL import Image, ImageOps

from training.data.public import download
from training.errors import DataError, DiskError

NAME = "photos-free"
SERVER = "https://raw.githubusercontent.com"
QUALITY = 95  # of the JPEG files, without chroma subsampling
VALIDATION_PERCENT = 8  # of the photographs, by the SHA-256 of their originals


@dataclass(frozen=True)
class Photograph:
    """A row of photographs.csv: where the original lies, who made it, and the size that it is scaled down to."""

    file: str
    source: str  # github.com/OWNER/REPOSITORY
    commit: str
    source_path: str
    author: str
    licence: str
    licence_stated_in: str
    original_sha256: str
    width: int
    height: int
    factor: float
    note: str

    @property
    def url(self) -> str:
        """Of the original's bytes, at the commit that was checked."""
        repository = self.source.removeprefix("github.com/")
        return f"{SERVER}/{repository}/{self.commit}/{urllib.parse.quote(self.source_path)}"

    @property
    def is_validation(self) -> bool:
        """Whether it is held out; it depends on the original's bytes alone."""
        return int(self.original_sha256[:8], 16) % 100 < VALIDATION_PERCENT


@cache
def list_photographs() -> tuple[Photograph, ...]:
    """All rows of photographs.csv, by file name."""
    text = (resources.files("training.data") / "photographs.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(io.StringIO(text))
    return tuple(
        Photograph(**{**row, "width": int(row["width"]), "height": int(row["height"]), "factor": float(row["factor"])})  # type: ignore[arg-type]
        for row in rows
    )


def find_folder() -> Path:
    """The folder of the scaled photographs: that of a data folder, else of the cache, which is filled first.

    Raises:
        DataError: the data folder lacks a photograph, or an original cannot be read.
        DownloadError, DiskError: an original could not be fetched or written; what has arrived is kept.
    """
    for folder in download.data_folders():
        given = folder / NAME / "photos"
        if given.is_dir():
            missing = [photograph.file for photograph in list_photographs() if not (given / photograph.file).is_file()]
            if missing:
                raise DataError(f"{given} lacks {len(missing)} of its photographs, such as {missing[0]}")
            return given
    cached = download.cache() / NAME / "photos"
    fetch(list_photographs(), cached)
    return cached


def fetch(photographs: Sequence[Photograph], folder: Path) -> None:
    """Fetch and scale those that are not in `folder` yet; run again, it goes on where it stopped."""
    for photograph in photographs:
        target = folder / photograph.file
        if target.is_file():
            continue
        original = download.fetch(
            photograph.url, folder.parent / "originals" / photograph.original_sha256, sha256=photograph.original_sha256
        )
        data = scale_down(original, photograph)
        part = target.with_name(f"{target.name}.part")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            part.replace(target)
            original.unlink()  # gigabytes, which nothing needs again
        except OSError as error:
            raise DiskError(f"cannot write {target}: {error.strerror or error}") from error


def scale_down(original: Path, photograph: Photograph) -> bytes:
    """The original, upright and in RGB, scaled down to the photograph's size; JPEG."""
    try:
        with Image.open(original) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except OSError as error:
        raise DataError(f"{photograph.url} cannot be read as an image: {error}") from error
    buffer = io.BytesIO()
    image.resize((photograph.width, photograph.height), Image.Resampling.LANCZOS).save(
        buffer, "JPEG", quality=QUALITY, subsampling=0
    )
    return buffer.getvalue()


def credit_table() -> list[tuple[str, str, str, str]]:
    """Of each source: repository, number of photographs, licences with their counts, authors."""
    by_source: dict[str, list[Photograph]] = {}
    for photograph in list_photographs():
        by_source.setdefault(photograph.source, []).append(photograph)
    table = []
    for source, photographs in sorted(by_source.items(), key=lambda entry: (-len(entry[1]), entry[0])):
        licences: dict[str, int] = {}
        for photograph in photographs:
            licences[photograph.licence] = licences.get(photograph.licence, 0) + 1
        counts = ", ".join(f"{licence} ({count})" for licence, count in sorted(licences.items()))
        authors = "; ".join(sorted({photograph.author for photograph in photographs if photograph.author}))
        table.append((source, str(len(photographs)), counts, authors or "not named"))
    return table


def licence() -> str:
    """One line for the manifest: the licences and how many photographs have each."""
    families: dict[str, int] = {}
    for photograph in list_photographs():
        family = next(
            name for name in ("CC BY-SA", "CC BY", "CC0", "Public domain") if photograph.licence.startswith(name)
        )
        families[family] = families.get(family, 0) + 1
    counts = ", ".join(f"{family} ({count})" for family, count in sorted(families.items(), key=lambda entry: -entry[1]))
    return f"{counts}; sources and authors are in the model card, each photograph's in training/data/photographs.csv"
