"""Generator of scanned pages to train on: a file of clean and noisy pages.

`python -m training.synthetic_pages.generate --pages 1000 --split train --out pages.npz`:

fonts and text of one split -> typesetting.draw_page --+-> degradation.degrade --------------------+-> `clean`, `noisy`
a piece of a clean page of NoisyOffice's train split --+-> ink.Compositor: ink and paper as there --+   uint8 [N,H,W]
the same piece of its noisy page, as it is ------------------------------------------------------+

The same seed, size, fonts and text give the same file. Page k has its own generator, so a longer file begins with the
pages of a shorter one. With --noisy-office, of twenty pages three are typeset and degraded here, two are typeset here
and laid on a sheet of the corpus, and fifteen are pieces of the corpus. One in three of these pieces keeps its own
noisy page, which shows how ink really lies on a sheet; two are laid on another sheet. With --only, all are of the
corpus.
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
from training.synthetic_pages.degradation import degrade
from training.synthetic_pages.fonts import FontBook, Split
from training.synthetic_pages.ink import Compositor
from training.synthetic_pages.noisyoffice import PagePair, cut_piece, load
from training.synthetic_pages.text import TextCorpus
from training.synthetic_pages.typesetting import draw_page

Pages = NDArray[np.uint8]  # [H,W] or [N,H,W], white 255

UNCHANGED_SHARE = 1 / 3  # of the corpus's pieces: their noisy page is the corpus's own


def draw_pairs(count: int, size: int, seed: int, fonts: FontBook, text: TextCorpus) -> Iterator[tuple[Pages, Pages]]:
    """Yields `count` pairs (clean, noisy), each uint8 [size,size]."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        clean = draw_page(rng, size, size, fonts, text)
        yield clean, degrade(clean, rng)


def draw_mixed_pairs(
    count: int, size: int, seed: int, writer: tuple[FontBook, TextCorpus] | None, scans: Sequence[PagePair]
) -> Iterator[tuple[Pages, Pages]]:
    """Yields `count` pairs (clean, noisy), each uint8 [size,size]; three of four show text of the corpus on its sheets.

    Args:
        writer: fonts and text for the others; None: all pairs are of the corpus.
        scans: the train pages of the corpus.
    """
    compositor = Compositor(scans)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        kind = rng.integers(20) if writer else 20
        if writer and kind < 5:
            clean = draw_page(rng, size, size, *writer)
            yield clean, degrade(clean, rng) if kind < 3 else compositor.compose(clean, rng)
        else:
            clean, noisy = cut_piece(rng, scans[int(rng.integers(len(scans)))], size)
            yield clean, noisy if rng.random() < UNCHANGED_SHARE else compositor.compose(clean, rng)


def fingerprint() -> str:
    """Of the code of this package, which draws the pages: 8 hex digits that change when pages may look different."""
    code = b"".join(module.read_bytes() for module in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(code).hexdigest()[:8]


def draw_contact_sheet(clean: Pages, noisy: Pages, columns: int = 4) -> Pages:
    """Up to 12 pairs side by side, clean left of noisy; uint8 [H,W]."""
    cells = [np.pad(np.concatenate(pair, 1), 3) for pair in zip(clean[:12], noisy[:12], strict=True)]
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
    parser.add_argument("--out", type=Path, required=True, help=".npz with clean and noisy, uint8 [N,H,W]")
    parser.add_argument("--noisy-office", type=Path, help="folder of the corpus; its split train is mixed in")
    parser.add_argument("--only", action="store_true", help="nothing but the corpus")
    parser.add_argument("--sheet", type=Path, help="also a PNG of the first 12 pairs, to look at")
    options = parser.parse_args(arguments)
    try:
        write_pages(
            options.pages, options.size, options.seed, options.split, options.out,
            noisy_office=options.noisy_office, corpus_only=options.only, sheet=options.sheet,
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
    sheet: Path | None = None,
) -> None:
    """Writes `out`, an .npz of `clean` and `noisy`, uint8 [count,size,size]; options are those of the command.

    Raises:
        DataError: options that do not fit, no fonts, a corpus that cannot be read, or a file that cannot be written.
    """
    if count < 1 or not 64 <= size <= 4096:
        raise DataError(f"{count} pages of {size} pixels: at least 1 page, of 64 to 4096 pixels a side")
    if noisy_office and split != "train":
        raise DataError("--noisy-office is for --split train: the corpus has splits of its own")
    if corpus_only and not noisy_office:
        raise DataError("--only needs --noisy-office FOLDER")
    writer = None if corpus_only else (FontBook.installed(split), TextCorpus(split))
    if noisy_office:
        pairs = draw_mixed_pairs(count, size, seed, writer, load(noisy_office, "train"))
    elif writer:
        pairs = draw_pairs(count, size, seed, *writer)
    _write_file(pairs, count, size, out, sheet)


def _write_file(pairs: Iterator[tuple[Pages, Pages]], count: int, size: int, out: Path, sheet: Path | None) -> None:
    clean, noisy = np.empty((2, count, size, size), np.uint8)
    for number, pair in enumerate(tqdm(pairs, total=count, unit="page", disable=None)):
        clean[number], noisy[number] = pair
    part = out.with_name(out.name + ".part.npz")
    try:
        np.savez_compressed(part, clean=clean, noisy=noisy)
        part.replace(out)
        if sheet:
            cv2.imwrite(str(sheet), draw_contact_sheet(clean, noisy))
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror or error}") from error


if __name__ == "__main__":
    sys.exit(main())
