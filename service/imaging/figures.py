"""What a page cleaner must know of the whole page: its figures, which stay as they are, and how dark its paper is.

picture -> every STEP-th row and column -> blocks of BLOCK pixels -> figure or paper -> strengths of a tile, feathered
                                                              -> brightness of the paper -> gain

A network sees some hundred pixels at a time; there, paper in a shadow and a part of a photograph look alike. The whole
page tells apart, by rules without learning:

- photographs: most pixels are between ink and paper, and change slowly or in colour, over more than a letter;
- white on black: dark regions with something light in them, such as slides and negatives;
- what was never on paper: a page most of whose neighbouring pixels are equal, as a whole; on a page that is white to
  the last bit, regions where they are.

What is missed is left to the network, as without the map.

Dark paper is a matter of the exposure, but looks like a figure to a network that sees only a part of it. The gain makes
the middle of the page as bright as paper usually is, as long as its brightest parts stay below white.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from service.imaging.picture import Pixels, count_colours

BLOCK = 32  # pixels along a side
BAND = 16 * BLOCK  # rows that are looked at together, so that little memory is needed
STEP = 4  # every so many rows and columns are looked at
FEATHER = 8  # pixels over which the strength passes from 0 to 1
LEAST_BLOCKS = 12  # of a photograph
LEAST_GREY_BLOCKS = 28  # of the box of one without colour: dense small print looks like it
FILLED = 0.6  # share of its bounding box, from which a photograph is taken for a rectangle

INK, PAPER = 0.3, 0.82  # of the paper's brightness: below the one is ink, above the other paper
PAPER_REACH = 2  # blocks, up to which something darker is seen beside the paper around it
SMOOTH = 0.1  # of the paper's brightness: largest difference between samples of a smooth area
EDGE, WHITE = 0.93, 0.97  # of the paper's brightness: at most before a photograph's edge, at least behind it
STEP_HEIGHT = 0.1  # of the paper's brightness: across a photograph's edge, over two samples
COLOURFUL = 0.08  # as TINTED, on average over a figure of any shape
TINTED = 0.05  # standard deviation of the shares of red and blue, that no paper and ink have
DARK = 96  # of 255: median of a block of white on black
LIGHT = 60  # of 255: by how much writing is lighter than the dark around it
USUAL_PAPER, BRIGHTEST_PAPER = 205, 245  # of 255: of the median block, at least; of the brightest blocks, at most
LARGEST_GAIN = 2.0
EXACT, LEAST_WHITE = 0.8, 0.25  # of a page that was never on paper: of equal neighbours more; of white blocks, at least

NOT_PAPER = 0.95  # of the paper's brightness: below it is no paper
EDGE_SHARE = 0.5  # of the samples along a photograph's edge, that are no paper

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""Top, bottom, left, right."""


class FigureMap:
    """The figures of one picture, and the gain for its paper. They are found when they are first needed.

    `cut` gives the strengths of a part of it. Several threads may share one.
    """

    def __init__(self, pixels: Pixels, white: float, *, keeps_figures: bool = True) -> None:
        """`pixels` [H,W,B], in which `white` is white. Without `keeps_figures` there are none, but there is a gain."""
        self._pixels, self._white, self._keeps_figures = pixels, white, keeps_figures
        self._kept: Mask | None = None
        self._boxes: list[Box] = []
        self._gain = 1.0
        self._lock = Lock()

    @property
    def gain(self) -> float:
        """By how much the picture is to be multiplied before it is cleaned, 1 to LARGEST_GAIN."""
        self._find()
        return self._gain

    def keep(self, rows: slice, columns: slice, result: Pixels) -> Pixels:
        """`result` [h,w,B] of the pixels `rows` x `columns`, but these pixels themselves, bit for bit, in figures."""
        strengths = self.cut(rows, columns)
        if strengths is None:
            return result
        pixels = self._pixels[rows, columns]
        with np.errstate(invalid="ignore"):  # infinity less infinity
            mixture = pixels + strengths * (result.astype(np.float64) - pixels)
        mixture = mixture if pixels.dtype.kind == "f" else np.rint(mixture)
        return np.where(strengths == 0, pixels, np.where(strengths == 1, result, mixture)).astype(pixels.dtype)

    def cut(self, rows: slice, columns: slice) -> Floats | None:
        """Strengths [h,w,1] of the pixels `rows` x `columns`, 0 in figures; None: all are 1."""
        kept = self._find()
        y0, x0 = rows.start // BLOCK, columns.start // BLOCK
        y1, x1 = -(-rows.stop // BLOCK), -(-columns.stop // BLOCK)
        part = np.pad(kept, 1, mode="edge")[y0 : y1 + 2, x0 : x1 + 2]  # with the blocks around it
        boxes = [box for box in self._boxes if _overlaps(box, rows, columns)]
        if not part.any() and not boxes:
            return None
        vertical, horizontal = _interpolation(rows), _interpolation(columns)
        strengths = 1 - vertical @ part.astype(np.float32) @ horizontal.T
        for top, bottom, left, right in boxes:
            inside = np.outer(_inside(rows, top, bottom), _inside(columns, left, right))
            np.minimum(strengths, 1 - inside, out=strengths)
        return np.asarray(strengths, np.float32)[..., None]

    def _find(self) -> Mask:
        with self._lock:
            if self._kept is None:
                blocks = _Blocks.read(self._pixels, self._white)
                self._gain = _find_gain(blocks)
                if self._keeps_figures:
                    self._kept, self._boxes = _find_figures(blocks)
                else:
                    self._kept = np.zeros(blocks.middle.shape, np.bool_)
            return self._kept


def expose(planes: Pixels, gain: float) -> Pixels:
    """`planes` of uint8 or uint16, multiplied and cut at the largest number."""
    if gain == 1:
        return planes
    largest = np.iinfo(planes.dtype).max
    table = np.rint(np.minimum(np.arange(largest + 1) * gain, largest)).astype(planes.dtype)
    if not planes.strides[-1]:  # grey for a model of colours: one channel, repeated without a copy
        return np.broadcast_to(table[planes[..., :1]], planes.shape)
    return np.asarray(table[planes])


def _find_gain(blocks: "_Blocks") -> float:
    paper = blocks.percentile(75)
    middle, brightest = np.maximum(np.percentile(paper, (50, 95)), 1)
    return float(np.clip(min(USUAL_PAPER / middle, BRIGHTEST_PAPER / brightest), 1, LARGEST_GAIN))


def _find_figures(blocks: "_Blocks") -> tuple[Mask, list[Box]]:
    kept, boxes = _find_photographs(blocks)
    return kept | _find_dark_regions(blocks) | _find_exact_regions(blocks), boxes


@dataclass(frozen=True)
class _Blocks:
    """`image` uint8 [h,w]: brightness of every STEP-th pixel.

    Of each block [rows,columns]: `samples` uint8 [rows,columns,n] of brightness, sorted; `middle`: the share of them
    between ink and paper; `smooth`: the share that changes slowly, too; `tints`: how much the shares of red and blue
    vary in and around it; `equal`: the share of pixels that equal their right neighbour.
    """

    image: NDArray[np.uint8]
    samples: NDArray[np.uint8]
    middle: Floats
    smooth: Floats
    tints: Floats
    equal: Floats

    @classmethod
    def read(cls, pixels: Pixels, white: float) -> "_Blocks":
        bands = [_read_band(pixels[top : top + BAND], white) for top in range(0, len(pixels), BAND)]
        image, samples, change, equal, means, squares = (np.concatenate(parts) for parts in zip(*bands, strict=True))
        paper = _find_paper(np.percentile(samples, 75, axis=-1).astype(np.float32))[..., None]
        is_middle = (samples > INK * paper) & (samples < PAPER * paper)
        is_smooth = is_middle & (change < SMOOTH * paper)
        variance = [
            _spread_mean(squares[..., i], 1) - np.square(_spread_mean(means[..., i], 1)) for i in range(means.shape[-1])
        ]
        tints = np.sqrt(np.maximum(np.sum(variance, axis=0), 0))
        middle, smooth = (mask.mean(-1, dtype=np.float32) for mask in (is_middle, is_smooth))
        return cls(image, np.sort(samples, -1), middle, smooth, tints, equal)

    def percentile(self, percent: float) -> Floats:
        """[rows,columns] of brightness."""
        return self.samples[..., round(percent / 100 * (self.samples.shape[-1] - 1))].astype(np.float32)


def _read_band(pixels: Pixels, white: float) -> tuple[NDArray[Any], ...]:
    """Of a band: samples of brightness uint8 [h,w]; of its blocks these and how much they change [rows,columns,n], the
    share of equal neighbours [rows,columns], mean and mean square of the shares of red and blue, less green's
    [rows,columns,2].
    """
    rows, columns = -(-pixels.shape[0] // BLOCK), -(-pixels.shape[1] // BLOCK)
    side = BLOCK // STEP
    colours = pixels[min(STEP // 2, len(pixels) - 1) :: STEP, :, : count_colours(pixels)]
    padding = ((0, rows * side - len(colours)), (0, columns * BLOCK - colours.shape[1]), (0, 0))
    colours = np.pad(colours, padding, mode="edge")
    channels = range(colours.shape[2])  # one by one: sums over an axis of three numbers take ten times as long
    is_equal = np.logical_and.reduce([colours[:, 1:, i] == colours[:, :-1, i] for i in channels])
    equal = _split(np.pad(is_equal, ((0, 0), (0, 1)), mode="edge"), side, BLOCK).mean(-1, dtype=np.float32)
    light = [
        np.nan_to_num(colours[:, STEP // 2 :: STEP, i].astype(np.float32) * np.float32(255 / white), copy=False).clip(
            0, 255
        )
        for i in channels
    ]
    total = np.add.reduce(light)
    grey = total / np.float32(len(light))
    down, right = np.diff(grey, axis=0, append=grey[-1:]), np.diff(grey, axis=1, append=grey[:, -1:])
    change = np.maximum(np.abs(down), np.abs(right))
    image = grey.astype(np.uint8)
    samples, changes = (_split(part, side, side) for part in (image, change.astype(np.uint8)))
    shares = np.stack([_split((light[i] - light[len(light) // 2]) / (total + DARK), side, side) for i in (0, -1)], -1)
    return image, samples, changes, equal, shares.mean(2), np.square(shares).mean(2)


def _find_photographs(blocks: _Blocks) -> tuple[Mask, list[Box]]:
    """Blocks of photographs of any shape; rectangles in pixels of those that are rectangles."""
    is_likely = (blocks.middle > 0.4) & (_spread_mean(blocks.middle, 1) > 0.5)
    is_likely &= (_spread_mean(blocks.smooth, 1) > 0.22) | (blocks.tints > TINTED)
    is_likely |= _spread_maximum(is_likely, 1) & (blocks.middle > 0.35) & (blocks.smooth > 0.1)
    closed = ~_spread_maximum(~_spread_maximum(is_likely, 1), 1)
    opened = _spread_maximum(~_spread_maximum(~closed, 1), 1) & closed  # without strips such as the edge of a shadow
    kept, boxes = np.zeros_like(opened), []
    for region in _find_regions(opened):
        if region.sum() < LEAST_BLOCKS:
            continue
        rows, columns = np.nonzero(region.any(1))[0], np.nonzero(region.any(0))[0]
        box = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        area = (box[1] - box[0]) * (box[3] - box[2])
        if area < LEAST_GREY_BLOCKS and blocks.tints[region].mean() < TINTED:
            continue
        if region.sum() > FILLED * area and _has_straight_edges(blocks.image, box):
            top, bottom = _extend(blocks.image.T, *box[:2], *box[2:])
            left, right = _extend(blocks.image, *box[2:], top, bottom)
            boxes.append(_find_edges(blocks.image, (top, bottom, left, right)))
        elif blocks.tints[region].mean() > COLOURFUL:  # of any shape
            kept |= region
    return np.asarray(kept | (_spread_maximum(kept, 1) & (blocks.middle > 0.2)), np.bool_), boxes


def _find_edges(image: NDArray[np.uint8], box: Box) -> Box:
    """The photograph in `box`, of blocks, up to its own edges, in pixels; some blocks farther or nearer at most.

    An edge is where paper begins: seen from inside, the first places where few samples are no paper.
    """
    side = BLOCK // STEP
    top, bottom, left, right = (edge * side for edge in box)
    page_paper = np.percentile(image, 90)

    def find_edge(lines: NDArray[np.uint8], edge: int, outwards: int, start: int, stop: int) -> int:
        """The edge along the second axis of `lines`, in samples; `outwards`: -1 for the first edge, 1 for the last."""
        reach = side + side // 2
        offsets = np.arange(-3 * reach, 2 * reach)
        places = edge + outwards * offsets - (outwards < 0)
        is_inside = (places >= 0) & (places < lines.shape[1])
        offsets, places = offsets[is_inside], places[is_inside]
        profile = lines[start:stop, places].astype(np.float32)
        outer = profile[:, offsets >= 0]
        paper = np.percentile(outer, 75) if outer.shape[1] > side else page_paper
        is_paper = (profile < NOT_PAPER * paper).mean(0) <= EDGE_SHARE
        first = int(np.searchsorted(offsets, -reach))
        if is_paper[first]:  # the edge is farther inside
            found = np.flatnonzero(~(is_paper[:-1] | is_paper[1:])[:first])
            return edge if not len(found) else int(places[found[-1] + 2]) + (outwards < 0)
        found = np.flatnonzero((is_paper[:-1] & is_paper[1:])[first:])
        return edge if not len(found) else int(places[first + found[0]]) + (outwards < 0)

    rows = slice(top, min(bottom, len(image)))
    columns = slice(left, min(right, image.shape[1]))
    found = (
        find_edge(image.T, top, -1, columns.start, columns.stop),
        find_edge(image.T, bottom, 1, columns.start, columns.stop),
        find_edge(image, left, -1, rows.start, rows.stop),
        find_edge(image, right, 1, rows.start, rows.stop),
    )
    return found[0] * STEP, found[1] * STEP, found[2] * STEP, found[3] * STEP


def _has_straight_edges(image: NDArray[np.uint8], box: Box) -> bool:
    """Whether `box` (top, bottom, left, right in blocks) is on the page as photographs are, and stains are not.

    Half of its sides at least are straight and sharp, and none is the picture's own, unless it fills most of it.
    """
    side = BLOCK // STEP
    top, bottom, left, right = (edge * side for edge in box)
    height, width = image.shape
    if (bottom - top) * (right - left) > FILLED * height * width:
        return True
    paper, steps = float(np.percentile(image, 90)), []
    for lines, first, last, start, stop in ((image, left, right, top, bottom), (image.T, top, bottom, left, right)):
        for edge in (first, last):
            profile = np.median(lines[start:stop, max(0, edge - 2 * side) : edge + 2 * side], axis=0)
            outermost = profile[0 if edge == first else -1]
            if not side < edge < lines.shape[1] - side and outermost < 0.9 * paper:
                return False
            steps.append(np.abs(profile[2:].astype(int) - profile[:-2]).max() > STEP_HEIGHT * profile.max())
    return float(np.mean(steps)) >= 0.5


def _extend(image: NDArray[np.uint8], first: int, last: int, top: int, bottom: int) -> tuple[int, int]:
    """The blocks `first` to `last` of a photograph along the second axis of `image`, widened to its straight edges.

    A part as bright as paper belongs to it, if a straight edge with paper behind it is no farther away than
    twice its width, and if hardly a sample before the edge is paper.
    """
    side = BLOCK // STEP
    band = image[top * side : bottom * side].astype(np.float32)

    def measure(part: Floats) -> int:
        """Blocks that are added, of samples [h,w] beside the photograph, nearest first."""
        if part.shape[1] <= 2 * side:
            return 0
        profile = np.median(part, axis=0)
        paper = float(np.percentile(profile, 90))
        if (part[:, :side] > WHITE * paper).mean() > 0.3:
            return 0
        for edge in range(side, part.shape[1] - side):
            is_edge = profile[edge - 1] < EDGE * paper and profile[edge + 1 : edge + side].min() > WHITE * paper
            if is_edge and (part[:, :edge] > WHITE * paper).mean() < 0.3:
                return -(-edge // side)
        return 0

    width = 2 * (last - first) * side
    before = measure(band[:, max(0, first * side - width) : first * side][:, ::-1])
    after = measure(band[:, last * side : last * side + width])
    return first - before, last + after


def _find_dark_regions(blocks: _Blocks) -> Mask:
    median = blocks.percentile(50)
    is_dark = _spread_mean(median < DARK, 4) > 0.6
    if not is_dark.any():
        return is_dark
    ground = _spread_mean(median, 4)
    above = _spread_maximum(blocks.percentile(97), 4) - ground
    below = ground + _spread_maximum(-blocks.percentile(2), 4)
    is_written = is_dark & (above > LIGHT) & (above > 2 * below)
    kept = np.zeros_like(is_dark)
    for region in _find_regions(is_dark):
        if (is_written & region).any():
            kept |= region
    return kept


def _find_exact_regions(blocks: _Blocks) -> Mask:
    if blocks.equal.mean() > EXACT:  # whatever colour its ground has, and with its shades
        return np.ones_like(blocks.equal, np.bool_)
    is_white = (blocks.percentile(90) >= 253) & (blocks.equal > 0.6)
    if is_white.mean() < LEAST_WHITE:
        return np.zeros_like(is_white)
    is_coloured = (blocks.equal > 0.85) & (blocks.percentile(75) < 250)
    return _spread_maximum(is_coloured, 1)


def _find_paper(levels: Floats) -> Floats:
    """[rows,columns] of brightness -> of the paper: as bright as both sides of a block are, in any direction.

    So it follows the slopes of the light, but passes over what is darker than its surroundings.
    """
    reach, (height, width) = PAPER_REACH, levels.shape
    padded = np.pad(levels, reach, mode="edge")
    paper = levels.copy()
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        sides = []
        for sign in (-1, 1):
            starts = [(reach + sign * n * down, reach + sign * n * right) for n in range(1, reach + 1)]
            sides.append(np.max([padded[y : y + height, x : x + width] for y, x in starts], axis=0))
        np.maximum(paper, np.minimum(*sides), out=paper)
    return paper


def _split(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """[rows * height, columns * width] -> [rows,columns,height * width]."""
    rows, columns = image.shape[0] // height, image.shape[1] // width
    return image.reshape(rows, height, columns, width).swapaxes(1, 2).reshape(rows, columns, height * width)


def _windows(values: NDArray[Any], reach: int, axis: int) -> NDArray[Any]:
    """[rows,columns] -> [rows,columns,2 * reach + 1], the values around each along `axis`, repeated past the edges."""
    padding = [(reach, reach) if dimension == axis else (0, 0) for dimension in (0, 1)]
    return sliding_window_view(np.pad(values, padding, mode="edge"), 2 * reach + 1, axis=axis)


def _spread_maximum(values: NDArray[Any], reach: int) -> NDArray[Any]:
    """The largest of the values up to `reach` blocks away."""
    for axis in (0, 1):
        values = _windows(values, reach, axis).max(-1)
    return values


def _spread_mean(values: NDArray[Any], reach: int) -> Floats:
    """The mean of the values up to `reach` blocks away."""
    for axis in (0, 1):
        values = _windows(values, reach, axis).mean(-1, dtype=np.float32)
    return values


def _find_regions(mask: Mask) -> Iterator[Mask]:
    """Each connected region of `mask`, corners included."""
    remaining = mask.copy()
    width = mask.shape[1]
    while remaining.any():
        start = int(remaining.argmax())
        pending, region = [divmod(start, width)], np.zeros_like(mask)
        remaining.flat[start] = False
        while pending:
            y, x = pending.pop()
            region[y, x] = True
            rows, columns = slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2)
            for dy, dx in zip(*np.nonzero(remaining[rows, columns]), strict=True):
                pending.append((rows.start + int(dy), columns.start + int(dx)))
            remaining[rows, columns] = False
        yield region


def _overlaps(box: Box, rows: slice, columns: slice) -> bool:
    top, bottom, left, right = box
    is_beside = top - FEATHER >= rows.stop or bottom + FEATHER <= rows.start
    return not is_beside and left - FEATHER < columns.stop and columns.start < right + FEATHER


def _inside(pixels: slice, first: int, last: int) -> Floats:
    """For each pixel 1 from `first` to `last`, falling to 0 over FEATHER pixels outside."""
    centres = np.arange(pixels.start, pixels.stop) + 0.5
    distances = np.maximum(first - centres, centres - last)
    return np.clip(1 - distances / FEATHER, 0, 1).astype(np.float32)


def _interpolation(pixels: slice) -> Floats:
    """[pixels, blocks + 2]: each pixel's shares in its block and in those beside it, which pass over FEATHER pixels."""
    first = pixels.start // BLOCK
    positions = np.arange(pixels.start, pixels.stop) - first * BLOCK
    blocks, inside = np.divmod(positions, BLOCK)
    before = np.clip(0.5 - (inside + 0.5) / FEATHER, 0, 0.5)
    after = np.clip(0.5 - (BLOCK - inside - 0.5) / FEATHER, 0, 0.5)
    shares = np.zeros((len(positions), -(-pixels.stop // BLOCK) - first + 2), np.float32)
    index = np.arange(len(positions))
    shares[index, blocks], shares[index, blocks + 2] = before, after
    shares[index, blocks + 1] = 1 - before - after
    return shares
