"""The NoisyOffice corpus: scanned office pages, four kinds of dirt, each with its clean page; and more pages like them.

index.csv -> pairs of one split -> one background for each kind of dirt -> a law of how ink lies on it -> new pairs

Castro-Bleda et al., "The NoisyOffice Database", The Computer Journal 63 (2019) 1658-1667; UCI data set 216.

Each noisy page is ink laid by one rule on one background that all pages of its kind share: over the train pages, paper
two pixels away from ink is the same grey within one level. Two rules were used: coffee stains and footprints multiply
(black ink stays at grey 15), folded and wrinkled sheets invert (ink on paper of brightness b is about 1 - b), and both
softened the ink over its neighbours. The law fitted here has 14 numbers for each kind; error on the 72 train pages,
root mean square in 0..1: coffee 0.0113, footprints 0.0113, folded 0.0132, wrinkled 0.0139 (plain product: 0.027,
0.027, 0.042, 0.047). What remains is texture of the print itself, which is drawn as noise of the same size.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from training.errors import DataError
from training.synthetic_pages import degradation

Page = NDArray[np.uint8]  # [H,W], white 255
Floats = NDArray[np.float32]
Split = Literal["train", "val", "test"]

PAPER = 250  # a clean page at least this bright shows paper
COLUMNS = {"id", "folder", "split", "noise"}


@dataclass(frozen=True)
class Pair:
    """One page of the corpus, both uint8 [420 or 258, 540] and aligned."""

    id: str
    noise: str  # coffee stains, folded sheet, footprints, wrinkled sheet
    clean: Page
    noisy: Page


@dataclass(frozen=True)
class Law:
    """How ink lies on the paper of one kind of dirt, fitted by `fit`."""

    weights: NDArray[np.float64]  # [14]: of the features of ink, and of the same times the paper's brightness
    sigma: float  # what the law does not explain within ink, standard deviation in 0..1
    error: float  # on the pages that it was fitted to, root mean square in 0..1

    def compose(self, clean: Page, background: Page, rng: np.random.Generator | None = None) -> Page:
        """Ink of `clean` uint8 [H,W] on `background` uint8 [H,W] -> uint8 [H,W]; with `rng` also the ink's texture."""
        ink, paper = _ink(clean), np.asarray(background / np.float32(255), np.float32)
        page: Floats = paper + _features(ink, paper) @ self.weights.astype(np.float32)
        if rng is not None:  # blurred by 0.5 pixel: neighbours agree by 0.37, in the corpus by 0.30 to 0.41
            texture = cv2.GaussianBlur(rng.standard_normal(ink.shape, np.float32), (0, 0), 0.5)
            page += self.sigma / float(texture.std()) * texture * np.minimum(1, 2 * ink)
        return (np.clip(page, 0, 1) * 255 + 0.5).astype(np.uint8)


class Corpus:
    """The train pages' backgrounds and laws, to lay any clean page on, so that it looks like one of the corpus."""

    def __init__(self, train: Sequence[Pair]) -> None:
        self.backgrounds = backgrounds(train)
        self.laws = {
            noise: fit([pair for pair in train if pair.noise == noise], background)
            for noise, background in self.backgrounds.items()
        }

    def recombine(self, clean: Page, rng: np.random.Generator) -> Page:
        """`clean` uint8 [H,W] on a piece of one background -> uint8 [H,W], aligned.

        Half of the pieces are the background's own pixels, mirrored at most; the others are turned, enlarged and
        contrasted as well.
        """
        noise = list(self.laws)[rng.integers(len(self.laws))]
        background = self.backgrounds[noise]
        if rng.random() < 0.5:
            paper = degradation.piece(rng, background, clean.shape)
            piece = (paper * 255 + 0.5).astype(np.uint8)
        else:
            piece = _cut(rng, background, clean.shape)
        return self.laws[noise].compose(clean, piece, rng)


def load(folder: Path, split: Split) -> list[Pair]:
    """The pairs of one split, in the index's order.

    Raises:
        DataError: no index, a column or a page missing, or a pair of two sizes; the file is named.
    """
    index = folder / "index.csv"
    try:
        with index.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as broken:
        raise DataError(f"{index} cannot be read: {broken}") from broken
    if not rows or not set(rows[0]) >= COLUMNS:
        raise DataError(f"{index} needs the columns {', '.join(sorted(COLUMNS))}")
    pairs = [_pair(folder, row) for row in rows if row["split"] == split]
    if not pairs:
        raise DataError(f"{index} names no page of the split {split}")
    return pairs


def _pair(folder: Path, row: dict[str, str]) -> Pair:
    name = f"{row['id']}.png"
    noisy, clean = _open(folder / row["folder"] / name), _open(folder / f"{row['folder']}_cleaned" / name)
    if noisy.shape != clean.shape:
        raise DataError(f"{folder / row['folder'] / name}: noisy {noisy.shape}, clean {clean.shape}")
    return Pair(row["id"], row["noise"], clean, noisy)


def _open(path: Path) -> Page:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    if image is None:
        raise DataError(f"{path} is missing or no image")
    return np.asarray(image, np.uint8)


def backgrounds(pairs: Sequence[Pair]) -> dict[str, Page]:
    """For each kind of dirt the sheet without ink, uint8 [H,W] of its largest page.

    The median over the pages that show paper at a pixel and around it; smaller pages lie at the top left, as they were
    cut. Where no page shows paper the gap is painted in from its surroundings (0.6 % of the corpus's pixels).
    """
    found: dict[str, Page] = {}
    for noise in dict.fromkeys(pair.noise for pair in pairs):
        mine = [pair for pair in pairs if pair.noise == noise]
        height, width = (max(pair.clean.shape[axis] for pair in mine) for axis in (0, 1))
        stack = np.full((len(mine), height, width), np.nan, np.float32)
        for layer, pair in zip(stack, mine, strict=True):
            paper = cv2.erode(pair.clean, np.ones((3, 3), np.uint8)) >= PAPER
            rows, columns = pair.clean.shape
            layer[:rows, :columns] = np.where(paper, pair.noisy, np.nan)
        holes = np.isnan(stack).all(0)
        if holes.all():
            raise DataError(f"no page of the kind {noise!r} shows any paper (a clean pixel of {PAPER} or more)")
        stack[:, holes] = 0
        sheet = np.asarray(np.round(np.nanmedian(stack, axis=0)), np.uint8)
        gaps = np.asarray(holes, np.uint8)
        found[noise] = np.asarray(cv2.inpaint(sheet, gaps, 3, cv2.INPAINT_TELEA), np.uint8)
    return found


def fit(pairs: Sequence[Pair], background: Page) -> Law:
    """Least squares over all pixels of `pairs`, which share `background`."""
    gram, moment = np.zeros((14, 14)), np.zeros(14)
    for pair in pairs:
        paper, difference, ink = _difference(pair, background)
        features = _features(ink, paper).reshape(-1, 14).astype(np.float64)
        gram += features.T @ features
        moment += features.T @ difference.ravel()
    weights = np.linalg.solve(gram + 1e-6 * np.eye(14), moment).astype(np.float64)
    law = Law(weights, 0.0, 0.0)
    squares, pixels, within = 0.0, 0, []
    for pair in pairs:
        rows, columns = pair.clean.shape
        made = law.compose(pair.clean, background[:rows, :columns])
        left = (pair.noisy.astype(np.float32) - made) / 255
        squares += float(np.square(left).sum())
        pixels += left.size
        within.append(left[pair.clean < 128])
    inked = np.concatenate(within)
    return Law(law.weights, float(inked.std()) if inked.size else 0.0, float(np.sqrt(squares / pixels)))


def _difference(pair: Pair, background: Page) -> tuple[Floats, Floats, Floats]:
    """Paper, what ink changed of it, and ink; float32 [H,W] each."""
    rows, columns = pair.clean.shape
    paper: Floats = background[:rows, :columns].astype(np.float32) / np.float32(255)
    noisy: Floats = pair.noisy.astype(np.float32) / np.float32(255)
    return paper, noisy - paper, _ink(pair.clean)


def _ink(clean: Page) -> Floats:
    return np.asarray(1 - clean.astype(np.float32) / 255, np.float32)


def _features(ink: Floats, paper: Floats) -> Floats:
    """Ink here (0), beside (1) and at the corners (2), their powers, alone and times paper: float32 [H,W,14]."""
    beside = cv2.filter2D(ink, -1, np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4)
    corner = cv2.filter2D(ink, -1, np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1]], np.float32) / 4)
    alone = np.stack([ink, beside, corner, ink**2, ink * beside, beside**2, ink**3], -1)
    return np.asarray(np.concatenate([alone, alone * paper[..., None]], -1), np.float32)


def _cut(rng: np.random.Generator, background: Page, shape: tuple[int, int]) -> Page:
    """A piece of the background's own pixels, uint8 [H,W], perhaps mirrored, and mirrored past its edge."""
    sheet = background[:: rng.choice([1, -1]), :: rng.choice([1, -1])]
    short = [max(wanted - there, 0) for wanted, there in zip(shape, sheet.shape, strict=True)]
    sheet = np.pad(sheet, [(0, short[0]), (0, short[1])], mode="symmetric")
    y, x = (int(rng.integers(there - wanted + 1)) for wanted, there in zip(shape, sheet.shape, strict=True))
    return np.ascontiguousarray(sheet[y : y + shape[0], x : x + shape[1]])
