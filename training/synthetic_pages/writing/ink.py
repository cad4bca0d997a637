"""Ink on real paper: how ink lies on the sheets of the NoisyOffice corpus, fitted and applied to new pages.

train pairs -> one background for each kind of dirt -> InkModel (least squares) -> Compositor: clean -> noisy page

Each noisy page of the corpus is ink laid by one rule on one background that all pages of its kind share: over the train
pages, paper two pixels away from ink is the same grey within one level. Two rules were used. Coffee stains and
footprints multiply: black ink stays at grey 15. Folded and wrinkled sheets invert: ink on paper of brightness b is
about 1 - b. Both softened the ink over its neighbours.

The model has 14 numbers for each kind. Its error on the 72 train pages, root mean square in 0..1: coffee 0.0113,
footprints 0.0113, folded 0.0132, wrinkled 0.0139 (a plain product: 0.027, 0.027, 0.042, 0.047). The residual is the
texture of the print itself, which is added as noise of the same standard deviation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.errors import DataError
from training.synthetic_pages import degradation
from training.synthetic_pages.noisyoffice import Page, PagePair

Floats = NDArray[np.float32]

PAPER = 250  # a clean page at least this bright shows paper
FEATURES = 14


@dataclass(frozen=True)
class InkModel:
    """How ink lies on the paper of one kind of dirt, fitted by `fit_ink_model`."""

    weights: NDArray[np.float64]  # [14]: of the features of ink, alone and times the paper's brightness
    sigma: float  # of the residual within ink, standard deviation in 0..1
    error: float  # of the pages that it was fitted to, root mean square in 0..1

    def lay_ink(self, clean: Page, background: Page, rng: np.random.Generator | None = None) -> Page:
        """Ink of `clean` uint8 [H,W] on `background` uint8 [H,W] -> uint8 [H,W]; with `rng` also the ink's texture."""
        ink, paper = _ink(clean), np.asarray(background / np.float32(255), np.float32)
        page: Floats = paper + _features(ink, paper) @ self.weights.astype(np.float32)
        if rng is not None:  # blurred by 0.5 pixel: neighbours agree by 0.37, in the corpus by 0.30 to 0.41
            texture = cv2.GaussianBlur(rng.standard_normal(ink.shape, np.float32), (0, 0), 0.5)
            page += self.sigma / float(texture.std()) * texture * np.minimum(1, 2 * ink)
        return (np.clip(page, 0, 1) * 255 + 0.5).astype(np.uint8)


class Compositor:
    """Lays any clean page on a background of the corpus, so that it looks like one of its noisy pages."""

    def __init__(self, train: Sequence[PagePair]) -> None:
        self.backgrounds = estimate_backgrounds(train)
        self.models = {
            noise: fit_ink_model([pair for pair in train if pair.noise == noise], background)
            for noise, background in self.backgrounds.items()
        }

    def compose(self, clean: Page, rng: np.random.Generator) -> Page:
        """`clean` uint8 [H,W] on a piece of one background -> uint8 [H,W], aligned.

        Half of the pieces are the background's own pixels, mirrored at most; the others are also rotated, enlarged and
        changed in contrast.
        """
        noise = list(self.models)[rng.integers(len(self.models))]
        background = self.backgrounds[noise]
        if rng.random() < 0.5:
            paper = degradation.cut_background(rng, background, clean.shape)
            piece = (paper * 255 + 0.5).astype(np.uint8)
        else:
            piece = _cut_unscaled(rng, background, clean.shape)
        return self.models[noise].lay_ink(clean, piece, rng)


def estimate_backgrounds(pairs: Sequence[PagePair]) -> dict[str, Page]:
    """For each kind of dirt the sheet without ink, uint8 [H,W], of the size of its largest page.

    The median over the pages that show paper at a pixel and around it; smaller pages lie at the top left, as they were
    cut. A pixel where no page shows paper is inpainted (0.6 % of the corpus's pixels).

    Raises:
        DataError: no page of a kind shows any paper.
    """
    backgrounds: dict[str, Page] = {}
    for noise in dict.fromkeys(pair.noise for pair in pairs):
        pages = [pair for pair in pairs if pair.noise == noise]
        height, width = (max(pair.clean.shape[axis] for pair in pages) for axis in (0, 1))
        stack = np.full((len(pages), height, width), np.nan, np.float32)
        for layer, pair in zip(stack, pages, strict=True):
            paper = cv2.erode(pair.clean, np.ones((3, 3), np.uint8)) >= PAPER
            rows, columns = pair.clean.shape
            layer[:rows, :columns] = np.where(paper, pair.noisy, np.nan)
        holes = np.isnan(stack).all(0)
        if holes.all():
            raise DataError(f"no page of the kind {noise!r} shows any paper (a clean pixel of {PAPER} or more)")
        stack[:, holes] = 0
        sheet = np.asarray(np.round(np.nanmedian(stack, axis=0)), np.uint8)
        gaps = np.asarray(holes, np.uint8)
        backgrounds[noise] = np.asarray(cv2.inpaint(sheet, gaps, 3, cv2.INPAINT_TELEA), np.uint8)
    return backgrounds


def fit_ink_model(pairs: Sequence[PagePair], background: Page) -> InkModel:
    """Least squares over all pixels of `pairs`, which share `background`."""
    gram, moment = np.zeros((FEATURES, FEATURES)), np.zeros(FEATURES)
    for pair in pairs:
        paper, difference, ink = _ink_difference(pair, background)
        features = _features(ink, paper).reshape(-1, FEATURES).astype(np.float64)
        gram += features.T @ features
        moment += features.T @ difference.ravel()
    weights = np.linalg.solve(gram + 1e-6 * np.eye(FEATURES), moment).astype(np.float64)
    model = InkModel(weights, 0.0, 0.0)
    squares, pixels, ink_residuals = 0.0, 0, []
    for pair in pairs:
        rows, columns = pair.clean.shape
        page = model.lay_ink(pair.clean, background[:rows, :columns])
        residual = (pair.noisy.astype(np.float32) - page) / 255
        squares += float(np.square(residual).sum())
        pixels += residual.size
        ink_residuals.append(residual[pair.clean < 128])
    residuals = np.concatenate(ink_residuals)
    return InkModel(weights, float(residuals.std()) if residuals.size else 0.0, float(np.sqrt(squares / pixels)))


def _ink_difference(pair: PagePair, background: Page) -> tuple[Floats, Floats, Floats]:
    """Paper, noisy page minus paper, and ink; float32 [H,W] each."""
    rows, columns = pair.clean.shape
    paper: Floats = background[:rows, :columns].astype(np.float32) / np.float32(255)
    noisy: Floats = pair.noisy.astype(np.float32) / np.float32(255)
    return paper, noisy - paper, _ink(pair.clean)


def _ink(clean: Page) -> Floats:
    """float32 [H,W]: 0 of white paper, 1 of black ink."""
    return np.asarray(1 - clean.astype(np.float32) / 255, np.float32)


def _features(ink: Floats, paper: Floats) -> Floats:
    """Ink at a pixel, of its 4 edge and its 4 corner neighbours, and products of these; alone and times paper.

    float32 [H,W], [H,W] -> float32 [H,W,14].
    """
    edges = cv2.filter2D(ink, -1, np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4)
    corners = cv2.filter2D(ink, -1, np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1]], np.float32) / 4)
    terms = np.stack([ink, edges, corners, ink**2, ink * edges, edges**2, ink**3], -1)
    return np.asarray(np.concatenate([terms, terms * paper[..., None]], -1), np.float32)


def _cut_unscaled(rng: np.random.Generator, background: Page, shape: tuple[int, int]) -> Page:
    """A random piece of the background's own pixels, uint8 [H,W], perhaps mirrored; mirrored past the edges."""
    sheet = background[:: rng.choice([1, -1]), :: rng.choice([1, -1])]
    missing = [max(length - size, 0) for length, size in zip(shape, sheet.shape, strict=True)]
    sheet = np.pad(sheet, [(0, missing[0]), (0, missing[1])], mode="symmetric")
    y, x = (int(rng.integers(size - length + 1)) for length, size in zip(shape, sheet.shape, strict=True))
    return np.ascontiguousarray(sheet[y : y + shape[0], x : x + shape[1]])
