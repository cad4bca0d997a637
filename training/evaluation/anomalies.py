"""Made anomalies: normal samples, damaged on purpose, from which a score for "unusual" is chosen.

samples -> ANOMALIES of pictures | of vectors, each with a seeded generator -> name -> damaged samples

No anomaly comes from outside: each is made of the samples themselves, so that a choice by them knows nothing of what
the score will be tested on. Turned and mixed pictures stand for other things (Golan and El-Yaniv, NeurIPS 2018),
pasted parts for defects (CutPaste, Li et al., CVPR 2021).
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Damage = Callable[[Array, np.random.Generator], Array]
"""(samples [N,...], generator) -> as many damaged ones of the same shape and dtype."""

NOISE = (20.0, 80.0)  # grey levels, the standard deviation of noise
VECTOR_NOISE = (0.5, 2.0)  # deviations of a column
SHARES = (0.25, 0.7)  # of a side, of parts that are erased, kept, pasted or enlarged


def make_anomalies(samples: Array, generator: np.random.Generator) -> Iterator[tuple[str, Array]]:
    """Yields (name, damaged samples) of samples uint8 [N,H,W,C], or of vectors in standard deviations float64 [N,D]."""
    table = PICTURES if samples.ndim == 4 else VECTORS
    for name, damage in table.items():
        yield name, damage(samples, generator)


# --- pictures --------------------------------------------------------------------------------------------


def _turn(images: Array, generator: np.random.Generator) -> Array:
    """By 90 or 270 degrees, or if they are not square by 180."""
    if images.shape[1] != images.shape[2]:
        return np.ascontiguousarray(images[:, ::-1, ::-1])
    is_right = generator.random(len(images)) < 0.5
    return np.where(is_right[:, None, None, None], np.rot90(images, 1, (1, 2)), np.rot90(images, 3, (1, 2)))


def _upside_down(images: Array, _generator: np.random.Generator) -> Array:
    return np.ascontiguousarray(images[:, ::-1, ::-1])


def _shuffle_quarters(images: Array, generator: np.random.Generator) -> Array:
    return _shuffle_patches(images, 2, generator)


def _shuffle_sixteenths(images: Array, generator: np.random.Generator) -> Array:
    return _shuffle_patches(images, 4, generator)


def _shuffle_patches(images: Array, parts: int, generator: np.random.Generator) -> Array:
    """The patches of a grid of parts x parts in random order, never in their own."""
    height, width = (max(1, side // parts) for side in images.shape[1:3])
    rows, columns = (min(parts, side) for side in images.shape[1:3])
    result = images.copy()
    for source, target in zip(images, result, strict=True):
        order = generator.permutation(rows * columns)
        if (order == np.arange(len(order))).all():
            order = np.roll(order, 1)
        for place, origin in enumerate(order):
            (y, x), (v, u) = divmod(place, columns), divmod(int(origin), columns)
            target[y * height : (y + 1) * height, x * width : (x + 1) * width] = source[
                v * height : (v + 1) * height, u * width : (u + 1) * width
            ]
    return result


def _average_two(images: Array, generator: np.random.Generator) -> Array:
    other = _others(images, generator)
    return ((images.astype(np.uint16) + other) // 2).astype(np.uint8)


def _overlay_two(images: Array, generator: np.random.Generator) -> Array:
    """Of two pictures what differs more from the background."""
    other, background = _others(images, generator), _background(images)
    return np.where(np.abs(images - background) >= np.abs(other - background), images, other)


def _paste_half(images: Array, generator: np.random.Generator) -> Array:
    """A part at a side is from another picture's opposite side."""
    result, other = images.copy(), _others(images, generator)
    for target, source in zip(result, other, strict=True):
        share = generator.uniform(*SHARES)
        rows, columns = (max(1, round(side * share)) for side in target.shape[:2])
        if generator.random() < 0.5:
            target[:rows] = source[-rows:]
        else:
            target[:, :columns] = source[:, -columns:]
    return result


def _erase_part(images: Array, generator: np.random.Generator) -> Array:
    result, background = images.copy(), _background(images).astype(np.uint8)
    for image in result:
        rows, columns = _draw_part(image, generator)
        image[rows, columns] = background
    return result


def _keep_part(images: Array, generator: np.random.Generator) -> Array:
    result = np.broadcast_to(_background(images).astype(np.uint8), images.shape).copy()
    for target, source in zip(result, images, strict=True):
        rows, columns = _draw_part(source, generator)
        target[rows, columns] = source[rows, columns]
    return result


def _enlarge_part(images: Array, generator: np.random.Generator) -> Array:
    result = np.empty_like(images)
    height, width = images.shape[1:3]
    for target, source in zip(result, images, strict=True):
        part = source[_draw_part(source, generator)]
        rows, columns = np.arange(height) * len(part) // height, np.arange(width) * part.shape[1] // width
        target[:] = part[rows[:, None], columns]
    return result


def _move(images: Array, _generator: np.random.Generator) -> Array:
    """By half of each side; what leaves comes back at the other side."""
    return np.roll(images, (images.shape[1] // 2, images.shape[2] // 2), (1, 2))


def _add_noise(images: Array, generator: np.random.Generator) -> Array:
    level = generator.uniform(*NOISE, (len(images), 1, 1, 1))
    return np.asarray(np.rint((images + level * generator.standard_normal(images.shape)).clip(0, 255)).astype(np.uint8))


def _invert(images: Array, _generator: np.random.Generator) -> Array:
    return np.uint8(255) - images


def _change_contrast(images: Array, generator: np.random.Generator) -> Array:
    """A third to two thirds of the difference from the background remains."""
    background = _background(images)
    share = generator.uniform(1 / 3, 2 / 3, (len(images), 1, 1, 1))
    return np.rint(background + share * (images - background)).clip(0, 255).astype(np.uint8)


PICTURES: dict[str, Damage] = {
    "turned": _turn,
    "upside down": _upside_down,
    "quarters shuffled": _shuffle_quarters,
    "sixteenths shuffled": _shuffle_sixteenths,
    "two averaged": _average_two,
    "two overlaid": _overlay_two,
    "part of another": _paste_half,
    "part erased": _erase_part,
    "part kept": _keep_part,
    "part enlarged": _enlarge_part,
    "moved": _move,
    "noise": _add_noise,
    "inverted": _invert,
    "contrast": _change_contrast,
}


def _draw_part(image: Array, generator: np.random.Generator) -> tuple[slice, slice]:
    """A random part of an image [H,W,C]."""
    slices = []
    for side in image.shape[:2]:
        length = min(side, max(1, round(side * generator.uniform(*SHARES))))
        start = int(generator.integers(0, side - length + 1))
        slices.append(slice(start, start + length))
    return slices[0], slices[1]


def _background(images: Array) -> NDArray[np.int16]:
    """The most frequent value of each channel, int16 [C]."""
    channels = images.reshape(-1, images.shape[3]).T
    return np.array([np.bincount(values, minlength=256).argmax() for values in channels], np.int16)


def _others(samples: Array, generator: np.random.Generator) -> Array:
    """Each sample's partner: another one, if there are two."""
    return np.asarray(samples[(np.arange(len(samples)) + generator.integers(1, max(2, len(samples)))) % len(samples)])


# --- vectors ---------------------------------------------------------------------------------------------


def _permute_columns(vectors: Array, generator: np.random.Generator) -> Array:
    """Each vector's numbers in an order of its own."""
    return generator.permuted(vectors, axis=1)


def _draw_columns_alone(vectors: Array, generator: np.random.Generator) -> Array:
    """Each number from another vector: every column as it was, their relation lost."""
    return generator.permuted(vectors, axis=0)


def _reverse(vectors: Array, _generator: np.random.Generator) -> Array:
    return np.ascontiguousarray(vectors[:, ::-1])


def _shift_columns(vectors: Array, generator: np.random.Generator) -> Array:
    """By a tenth to nine tenths of the columns, around the end."""
    columns = vectors.shape[1]
    steps = generator.integers(max(1, columns // 10), max(2, columns - columns // 10), len(vectors))
    places = (np.arange(columns) + steps[:, None]) % columns
    return np.take_along_axis(vectors, places, axis=1)


def _average_vectors(vectors: Array, generator: np.random.Generator) -> Array:
    return (vectors + _others(vectors, generator)) / 2


def _replace_columns(vectors: Array, generator: np.random.Generator) -> Array:
    """A run of columns is from another vector."""
    return np.where(_draw_runs(vectors, generator), _others(vectors, generator), vectors)


def _hold_columns(vectors: Array, generator: np.random.Generator) -> Array:
    """A run of columns has the value of its first."""
    runs = _draw_runs(vectors, generator)
    first = np.take_along_axis(vectors, runs.argmax(axis=1)[:, None], axis=1)
    return np.where(runs, first, vectors)


def _raise_columns(vectors: Array, generator: np.random.Generator) -> Array:
    """A run of columns is one to three deviations higher or lower."""
    step = generator.uniform(1, 3, (len(vectors), 1)) * generator.choice((-1.0, 1.0), (len(vectors), 1))
    return np.asarray(vectors + step * _draw_runs(vectors, generator))


def _add_spikes(vectors: Array, generator: np.random.Generator) -> Array:
    """One number is two to six deviations higher or lower."""
    result = vectors.copy()
    size = generator.uniform(2, 6, len(vectors)) * generator.choice((-1.0, 1.0), len(vectors))
    result[np.arange(len(vectors)), generator.integers(0, vectors.shape[1], len(vectors))] += size
    return result


def _add_vector_noise(vectors: Array, generator: np.random.Generator) -> Array:
    level = generator.uniform(*VECTOR_NOISE, (len(vectors), 1))
    return vectors + level * generator.standard_normal(vectors.shape)


def _negate(vectors: Array, _generator: np.random.Generator) -> Array:
    return -vectors


def _scale_vectors(vectors: Array, generator: np.random.Generator) -> Array:
    """Half or twice as far from the mean, or in between."""
    factor = generator.choice((0.5, 1.5, 2.0), (len(vectors), 1))
    return np.asarray(vectors * factor)


VECTORS: dict[str, Damage] = {
    "columns permuted": _permute_columns,
    "columns drawn alone": _draw_columns_alone,
    "columns reversed": _reverse,
    "columns shifted": _shift_columns,
    "two averaged": _average_vectors,
    "columns of another": _replace_columns,
    "columns held": _hold_columns,
    "columns raised": _raise_columns,
    "a spike": _add_spikes,
    "noise": _add_vector_noise,
    "negated": _negate,
    "scaled": _scale_vectors,
}


def _draw_runs(vectors: Array, generator: np.random.Generator) -> NDArray[np.bool_]:
    """bool [N,D]: a random run of neighbouring columns of each vector."""
    columns = vectors.shape[1]
    length = np.maximum(1, np.rint(columns * generator.uniform(*SHARES, len(vectors)))).astype(int)[:, None]
    start = (generator.random((len(vectors), 1)) * (columns - length + 1)).astype(int)
    places = np.arange(columns)
    return np.asarray((places >= start) & (places < start + length))
