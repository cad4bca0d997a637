"""Pool of drawn material, from which a training pair is put together in milliseconds.

fonts and text -> typesetting.draw_layers -> ink uint8 [N,2,S,S]     paper.draw_* -> sheets uint8 [N,2,S,S]
  -> files in the cache, mapped into memory -> Pool

Setting a page takes a tenth of a second, a training pair of 128 pixels has to be there in a few milliseconds. The
pages of the pool are therefore drawn once, larger than a pair, and each pair shows another piece of them, enlarged or
reduced, in other inks, on other paper and in another light.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.errors import DiskError
from training.synthetic_pages import paper
from training.synthetic_pages.writing.fonts import FontBook, Split
from training.synthetic_pages.writing.text import TextCorpus
from training.synthetic_pages.writing.typesetting import draw_layers

Layers = NDArray[np.uint8]  # [N,2,S,S]

SIZE = 512  # pixels a side
SHEETS = 600


@dataclass(frozen=True)
class Pool:
    """`ink` uint8 [N,2,S,S]: print and strokes of each page, 255 where there is none; `sheets` uint8 [M,2,S,S]: relief
    (texture, wrinkles, folds; 200 is level) and dirt (stains, prints, specks; 255 is none) of each sheet of paper."""

    ink: Layers
    sheets: Layers


def open_pool(folder: Path, pages: int, seed: int, split: Split) -> Pool:
    """The pool of one split of fonts and text, drawn first if `folder` does not have it yet.

    Raises:
        DataError: no fonts of the split.
        DiskError: the files cannot be written.
    """
    name = f"{split}-{pages}-{seed}-{_fingerprint()}"
    files = [folder / f"{name}-{part}.npy" for part in ("ink", "sheets")]
    if not all(file.is_file() for file in files):
        _save(draw_ink(pages, seed, FontBook.installed(split), TextCorpus(split)), files[0])
        _save(draw_sheets(min(pages, SHEETS), seed), files[1])
    return Pool(*(np.load(file, mmap_mode="r", allow_pickle=False) for file in files))


def draw_ink(count: int, seed: int, fonts: FontBook, text: TextCorpus, size: int = SIZE) -> Layers:
    """uint8 [count,2,size,size]; page k has its own generator."""
    ink = np.empty((count, 2, size, size), np.uint8)
    for number in tqdm(range(count), desc="ink", unit="page", disable=None):
        ink[number] = draw_layers(np.random.default_rng([seed, number]), size, size, fonts, text)
    return ink


def draw_sheets(count: int, seed: int, size: int = SIZE) -> Layers:
    """uint8 [count,2,size,size]; sheet k has its own generator."""
    sheets = np.empty((count, 2, size, size), np.uint8)
    for number in tqdm(range(count), desc="paper", unit="sheet", disable=None):
        rng = np.random.default_rng([seed, number, 1])
        strength = float(rng.beta(1.0, 1.4))
        sheets[number, 0] = np.clip(200 * paper.draw_relief(rng, (size, size), strength), 0, 255)
        sheets[number, 1] = np.clip(255 * paper.draw_dirt(rng, (size, size), strength), 0, 255)
    return sheets


def _save(array: Layers, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.stem}.part.npy")
        np.save(part, array)
        part.replace(file)
    except OSError as error:
        raise DiskError(f"cannot write {file}: {error.strerror or error}") from error


def _fingerprint() -> str:
    """Of the code that draws a pool: 8 hex digits that change when its pages may look different."""
    folder = Path(__file__).parent
    names = ("paper", "pool", "writing/fonts", "writing/strokes", "writing/text", "writing/typesetting")
    code = b"".join((folder / f"{name}.py").read_bytes() for name in names)
    return hashlib.sha256(code).hexdigest()[:8]
