"""Images of any size in tiles of one shape: cut with a halo, stitched without a seam.

image [H,W,C] -> plan -> tile.cut -> [h,w,C] -> a fully convolutional graph -> tile.inner -> tile.core of the output

A graph that halves its image and doubles it again sees pixels in groups of its stride, so tiles begin and end on
multiples of it, in an image that its own edge fills up to such a multiple. Tiles lie flush with the image's
border: there the graph sees the same border as in the whole image; the last one is shifted back
rather than filled up. Elsewhere the outermost `halo` pixels of a tile are discarded, because they depend on
pixels outside it. So the tiled and the untiled output agree but for the order of floating-point sums.

There are as few tiles as the largest side allows, or some more where cores would idle while others run the last ones,
and they are no larger than that number needs.

Memory: a tile is copied when it is cut, and nothing else is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

HALOS = 14  # in a tile's side, at least: so that a quarter of the work is overlap, and not much more
HALOS_OF_BYTES = (20, 30)  # where what lies between the layers is bytes, not floats: larger tiles, from and to
SIDE_OF_BYTES = 1088  # pixels, up to which there are more halos than the first of them
_MORE = 3  # numbers of rows, and of columns, of tiles that are tried


@dataclass(frozen=True)
class Span:
    """Along one axis: the tile sees start..stop, of which it keeps first..last.

    Over `fade_in` pixels from `first` on, and over the `fade_out` before `last`, it passes into its neighbours.
    """

    start: int
    stop: int
    first: int
    last: int
    fade_in: int = 0
    fade_out: int = 0

    def weights(self) -> NDArray[np.float32]:
        """Its share in each of first..last; with those of its neighbours it sums to 1."""
        weights = np.ones(self.last - self.first, np.float32)
        for count, part in ((self.fade_in, weights[: self.fade_in]), (self.fade_out, weights[::-1][: self.fade_out])):
            part *= (np.arange(count, dtype=np.float32) + 0.5) / max(1, count)
        return weights


@dataclass(frozen=True)
class Tile:
    """One rectangle of an image [H,W,C]."""

    y: Span
    x: Span

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) of what the tile sees."""
        return self.y.stop - self.y.start, self.x.stop - self.x.start

    def cut(self, image: Array) -> Array:
        """[H,W,C] -> [h,w,C], a copy; beyond the image its edge is repeated."""
        view = image[self.y.start : self.y.stop, self.x.start : self.x.stop]
        bottom, right = self.shape[0] - view.shape[0], self.shape[1] - view.shape[1]
        return np.pad(view, ((0, bottom), (0, right), (0, 0)), mode="edge")

    def core(self, image: Array) -> Array:
        """[H,W,C] -> the view of it that this tile computes; no two tiles compute the same pixel, unless blended."""
        return image[self.y.first : self.y.last, self.x.first : self.x.last]

    def weights(self) -> NDArray[np.float32]:
        """[h,w,1]: the tile's share in each pixel of `core`, of a plan whose tiles are blended."""
        return np.outer(self.y.weights(), self.x.weights())[..., None]

    def inner(self, output: Array) -> Array:
        """[...,h,w,C] -> the view of it that `core` is of the image."""
        y, x = self.y, self.x
        return output[..., y.first - y.start : y.last - y.start, x.first - x.start : x.last - x.start, :]


def choose_side(target: int, halo: int, stride: int, halos: int = HALOS) -> int:
    """Most pixels along a tile's side: `target`, rounded down to the stride, but at least `halos` halos."""
    return max(stride, target // stride * stride, halos * _round_up(halo, stride))


def count_halos_of_bytes(halo: int) -> int:
    """Halos in a tile's side, at least, of a graph whose layers are bytes: HALOS_OF_BYTES, by SIDE_OF_BYTES."""
    least, most = HALOS_OF_BYTES
    return max(least, min(most, SIDE_OF_BYTES // max(1, halo)))


def plan(
    height: int,
    width: int,
    max_sides: tuple[int, int],
    halo: int,
    strides: tuple[int, int],
    *,
    is_blended: bool = False,
    workers: int = 1,
) -> list[Tile]:
    """Tiles of one shape, row by row, whose cores cover [height, width] exactly once.

    If blended, half of each halo is kept: there two tiles, or four, compute the same pixels; their weights sum to 1.

    Args:
        max_sides: pixels along a tile's sides, at most, by `choose_side`: multiples of the strides, above two halos.
        halo: the distance from an output pixel to the farthest input pixel that it depends on.
        strides: of the graph, along height and width.
        workers: tiles that run side by side: more than one tile are so many that the last ones are done soonest.
    """
    choices = [
        _list_spans(size, max_side, halo, stride, _MORE if workers > 1 else 1)
        for size, max_side, stride in zip((height, width), max_sides, strides, strict=True)
    ]

    def count_pixels(spans: Sequence[list[Span]]) -> tuple[int, int]:
        """That the worker with the most tiles sees, and that all see."""
        tile = math.prod(axis[0].stop - axis[0].start for axis in spans)
        count = math.prod(map(len, spans))
        return -(-count // workers) * tile, count * tile

    rows, columns = min(product(*choices), key=count_pixels)
    if is_blended:
        rows, columns = _fade(rows, halo // 2), _fade(columns, halo // 2)
    return [Tile(row, column) for row in rows for column in columns]


def single_tile(height: int, width: int, strides: tuple[int, int]) -> Tile:
    """The one tile of a graph whose halo is not known."""
    return Tile(Span(0, _round_up(height, strides[0]), 0, height), Span(0, _round_up(width, strides[1]), 0, width))


def _list_spans(size: int, max_side: int, halo: int, stride: int, choices: int) -> list[list[Span]]:
    """As few spans as possible that are no longer than `max_side`; if there are several, so many choices with more."""
    padded, halo = _round_up(size, stride), _round_up(halo, stride)
    if padded <= max_side:
        return [[Span(0, padded, 0, size)]]
    least = -(-(padded - 2 * halo) // (max_side - 2 * halo))
    return [_spans(size, count, halo, stride) for count in range(least, least + choices)]


def _spans(size: int, count: int, halo: int, stride: int) -> list[Span]:
    """At most so many spans, at least two, no longer than necessary; `halo` is a multiple of the stride."""
    padded = _round_up(size, stride)
    tile = _round_up(-(-(padded + 2 * halo * (count - 1)) // count), stride)
    starts = [*range(0, padded - tile, tile - 2 * halo), padded - tile]
    firsts = [0, *(start + halo for start in starts[1:])]
    lasts = [*firsts[1:], size]
    return [Span(start, start + tile, first, last) for start, first, last in zip(starts, firsts, lasts, strict=True)]


def _fade(spans: list[Span], margin: int) -> list[Span]:
    """Each span reaches `margin` pixels over its borders with its neighbours, and passes into them there."""
    last = len(spans) - 1
    faded = []
    for index, span in enumerate(spans):
        before, after = margin * (index > 0), margin * (index < last)
        faded.append(Span(span.start, span.stop, span.first - before, span.last + after, 2 * before, 2 * after))
    return faded


def _round_up(size: int, stride: int) -> int:
    """The next multiple of the stride."""
    return -(-size // stride) * stride
