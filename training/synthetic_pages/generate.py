"""Generator of scanned pages to look at or to train on elsewhere: a file of clean and noisy pages.

`python -m training.synthetic_pages.generate --pages 48 --size 192 --out pages.npz --sheet pages.png`:

fonts and text of one split -> pool -> sampler.PageSampler ---------+-> `clean`, `noisy`
the train split of NoisyOffice -> pieces, as they are or recombined +   uint8 [N,H,W,3], or [N,H,W] of the corpus alone

The same options, fonts and text give the same file. The recipe `pages` draws such pairs while it trains and needs no
file.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.errors import DataError, TrainingError
from training.synthetic_pages import pool
from training.synthetic_pages.figures import Photograph
from training.synthetic_pages.noisyoffice import PagePair, cut_piece, load
from training.synthetic_pages.sampler import PageSampler
from training.synthetic_pages.writing.fonts import FontBook, Split
from training.synthetic_pages.writing.ink import Compositor
from training.synthetic_pages.writing.text import TextCorpus

Pages = NDArray[np.uint8]  # [H,W] or [H,W,3], or [N,...] of them; white 255

UNCHANGED_SHARE = 1 / 3  # of the corpus's pieces: their noisy page is the corpus's own
POOL_PAGES = 100  # at most, that scenes are cut from
SHEET_PAIRS = 12


def draw_pairs(count: int, seed: int, sampler: PageSampler) -> Iterator[tuple[Pages, Pages]]:
    """Yields `count` pairs (clean, noisy), each uint8 [size,size,C]."""
    for number in range(count):
        yield sampler.draw(np.random.default_rng([seed, number]))


def draw_corpus_pairs(count: int, size: int, seed: int, scans: Sequence[PagePair]) -> Iterator[tuple[Pages, Pages]]:
    """Yields `count` pairs (clean, noisy) of the corpus, each uint8 [size,size].

    One in three keeps its own noisy page, which shows how ink really lies on a sheet; two are laid on another sheet.
    """
    compositor = Compositor(scans)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        clean, noisy = cut_piece(rng, scans[int(rng.integers(len(scans)))], size)
        yield clean, noisy if rng.random() < UNCHANGED_SHARE else compositor.compose(clean, rng)


def fingerprint() -> str:
    """Of the code of this package, which draws the pages: 8 hex digits that change when pages may look different."""
    code = b"".join(module.read_bytes() for module in sorted(Path(__file__).parent.rglob("*.py")))
    return hashlib.sha256(code).hexdigest()[:8]


def draw_contact_sheet(clean: Pages, noisy: Pages, columns: int = 4) -> Pages:
    """Up to SHEET_PAIRS pairs side by side, clean left of noisy; uint8 [H,W] or [H,W,3]."""
    border = [(3, 3), (3, 3), (0, 0)][: clean.ndim - 1]
    cells = [
        np.pad(np.concatenate(pair, 1), border) for pair in zip(clean[:SHEET_PAIRS], noisy[:SHEET_PAIRS], strict=True)
    ]
    while len(cells) % columns:
        cells.append(np.zeros_like(cells[0]))
    rows = [np.concatenate(cells[start : start + columns], 1) for start in range(0, len(cells), columns)]
    return np.concatenate(rows, 0)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 2 with one line on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m training.synthetic_pages.generate", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--pages", type=int, required=True, help="number of pairs")
    parser.add_argument("--size", type=int, default=512, help="pixels a side (default 512)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("train", "validation", "test"), default="train", help="of fonts and text")
    parser.add_argument("--out", type=Path, required=True, help=".npz with clean and noisy, uint8 [N,H,W,3]")
    parser.add_argument("--photographs", type=Path, help="folder of JPEG files that become figures")
    parser.add_argument("--noisy-office", type=Path, help="folder of the corpus; its split train is mixed in")
    parser.add_argument("--only", action="store_true", help="nothing but the corpus, in grey")
    parser.add_argument("--sheet", type=Path, help=f"also a PNG of the first {SHEET_PAIRS} pairs, to look at")
    options = parser.parse_args(arguments)
    try:
        write_pages(
            options.pages, options.size, options.seed, options.split, options.out,
            noisy_office=options.noisy_office, corpus_only=options.only, photographs=options.photographs,
            sheet=options.sheet,
        )  # fmt: skip
    except TrainingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def write_pages(
    count: int,
    size: int,
    seed: int,
    split: Split,
    out: Path,
    *,
    noisy_office: Path | None = None,
    corpus_only: bool = False,
    photographs: Path | None = None,
    sheet: Path | None = None,
) -> None:
    """Writes `out`, an .npz of `clean` and `noisy`, uint8 [count,size,size,3]; of the corpus alone [count,size,size].

    Options are those of the command.

    Raises:
        DataError: options that do not fit, no fonts, a corpus that cannot be read, or a file that cannot be written.
    """
    if count < 1 or not 64 <= size <= 4096:
        raise DataError(f"{count} pages of {size} pixels: at least 1 page, of 64 to 4096 pixels a side")
    if noisy_office and split != "train":
        raise DataError("--noisy-office is for --split train: the corpus has splits of its own")
    if corpus_only and not noisy_office:
        raise DataError("--only needs --noisy-office FOLDER")
    scans = load(noisy_office, "train") if noisy_office else []
    if corpus_only:
        _write_file(draw_corpus_pairs(count, size, seed, scans), (count, size, size), out, sheet)
        return
    pages = min(count, POOL_PAGES)
    drawn = pool.Pool(
        pool.draw_ink(pages, seed, FontBook.installed(split), TextCorpus(split), max(size, pool.SIZE)),
        pool.draw_sheets(pages, seed, max(size, pool.SIZE)),
    )
    sampler = PageSampler(drawn, _read_photographs(photographs), scans, count=count, size=size, channels=3)
    _write_file(draw_pairs(count, seed, sampler), (count, size, size, 3), out, sheet)


def _read_photographs(folder: Path | None) -> list[Photograph]:
    files = sorted(folder.rglob("*.jpg")) if folder else []
    if folder and not files:
        raise DataError(f"{folder} holds no .jpg files")
    pictures = [cv2.imread(str(file), cv2.IMREAD_COLOR) for file in files]
    return [np.asarray(picture[..., ::-1], np.uint8) for picture in pictures if picture is not None]


def _write_file(pairs: Iterator[tuple[Pages, Pages]], shape: tuple[int, ...], out: Path, sheet: Path | None) -> None:
    clean, noisy = np.empty((2, *shape), np.uint8)
    for number, pair in enumerate(tqdm(pairs, total=len(clean), unit="page", disable=None)):
        clean[number], noisy[number] = pair
    part = out.with_name(out.name + ".part.npz")
    try:
        np.savez_compressed(part, clean=clean, noisy=noisy)
        part.replace(out)
        if sheet:
            picture = draw_contact_sheet(clean, noisy)
            cv2.imwrite(str(sheet), picture if picture.ndim == 2 else picture[..., ::-1])
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror or error}") from error


if __name__ == "__main__":
    sys.exit(main())
