"""The NoisyOffice corpus: scanned office pages with four kinds of dirt, each with its clean page.

index.csv -> PagePair of one split: clean and noisy, uint8 [H,W]

Castro-Bleda et al., "The NoisyOffice Database", The Computer Journal 63 (2019) 1658-1667; UCI data set 216.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from training.errors import DataError

Page = NDArray[np.uint8]  # [H,W], white 255
Split = Literal["train", "val", "test"]

COLUMNS = {"id", "folder", "split", "noise"}


@dataclass(frozen=True)
class PagePair:
    """One page of the corpus, both uint8 [420 or 258, 540] and aligned."""

    id: str
    noise: str  # coffee stains, folded sheet, footprints, wrinkled sheet
    clean: Page
    noisy: Page


def load(folder: Path, split: Split) -> list[PagePair]:
    """The pairs of one split, in the order of the index.

    Raises:
        DataError: no index, a column or a page missing, or a pair of two sizes; the file is named.
    """
    index = folder / "index.csv"
    try:
        with index.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{index} cannot be read: {error}") from error
    if not rows or not set(rows[0]) >= COLUMNS:
        raise DataError(f"{index} needs the columns {', '.join(sorted(COLUMNS))}")
    pairs = [_read_pair(folder, row) for row in rows if row["split"] == split]
    if not pairs:
        raise DataError(f"{index} names no page of the split {split}")
    return pairs


def _read_pair(folder: Path, row: dict[str, str]) -> PagePair:
    name = f"{row['id']}.png"
    noisy, clean = _read_page(folder / row["folder"] / name), _read_page(folder / f"{row['folder']}_cleaned" / name)
    if noisy.shape != clean.shape:
        raise DataError(f"{folder / row['folder'] / name}: noisy {noisy.shape}, clean {clean.shape}")
    return PagePair(row["id"], row["noise"], clean, noisy)


def _read_page(path: Path) -> Page:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    if image is None:
        raise DataError(f"{path} is missing or no image")
    return np.asarray(image, np.uint8)


def cut_piece(rng: np.random.Generator, pair: PagePair, size: int) -> NDArray[np.uint8]:
    """uint8 [2,size,size]: clean and noisy, mirrored past the page's edges; one piece in four is flipped at random."""
    missing = [max(size - length, 0) for length in pair.clean.shape]
    sheet = np.pad(np.dstack([pair.clean, pair.noisy]), [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")
    y, x = (int(rng.integers(length - size + 1)) for length in sheet.shape[:2])
    piece = sheet[y : y + size, x : x + size]
    if rng.random() < 0.25:
        piece = piece[:: rng.choice([1, -1]), :: rng.choice([1, -1])]
    return np.ascontiguousarray(np.moveaxis(piece, -1, 0))


def is_background_shared(noise: str) -> bool:
    """Whether the test pages of this kind of dirt lie on the sheet of the train pages: the wrinkled ones do."""
    return "wrinkled" in noise
