"""Receptive field, measured: how far from an output pixel an input pixel may lie that moves it.

picture, the same with all but a square changed -> graph -> the middle block moved? -> the least square that keeps it

The middle is a block of stride x stride pixels, since a graph that halves its image treats each of them differently.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.importing.foreign_graph import ForeignGraph
from training.importing.probes.trial_pictures import draw_pictures

Array = NDArray[Any]

MAX_REACH = 128  # pixels; what reaches farther is run on whole images
MOVED = 1e-3  # grey levels of 255 by which a pixel has moved: a hundredth would never be seen after rounding
TRIALS = 3  # pictures; and each is changed by noise and by another picture

GLOBAL_OPERATORS = {  # operators that look at a whole image, in plain words
    "GlobalAveragePool": "global pooling",
    "GlobalMaxPool": "global pooling",
    "InstanceNormalization": "group or instance normalisation",
    "GroupNormalization": "group normalisation",
    "Softmax": "attention",
    "Attention": "attention",
    "ReduceMean": "a mean over the image",
    "Einsum": "products over the image",
}


def measure_reach(run: Callable[[Array], Array], channels: int, stride: int) -> int | None:
    """Pixels from an output pixel to the farthest input pixel that moves it; None if farther than MAX_REACH.

    Args:
        run: uint8 [1,H,W,C] -> float64 [1,H,W,C] of 0..255, not rounded; heights and widths multiples of the stride.
    """
    reach = 8
    while not _is_within(run, channels, stride, reach):
        if reach >= MAX_REACH:
            return None
        reach *= 2
    low, high = (0 if reach == 8 else reach // 2), reach
    while low < high:  # the least reach outside of which nothing moves the middle
        middle = (low + high) // 2
        if _is_within(run, channels, stride, middle):
            high = middle
        else:
            low = middle + 1
    return high


def _is_within(run: Callable[[Array], Array], channels: int, stride: int, reach: int) -> bool:
    """Whether nothing outside of `reach` pixels around the middle block moves it."""
    blocks = -(-(reach + 16) // stride)
    side = stride * (2 * blocks + 1)
    start, stop = stride * blocks, stride * (blocks + 1)
    inside = slice(max(0, start - reach), stop + reach)
    pictures = draw_pictures(2 * TRIALS, side, side, channels, seed=7)
    generator = np.random.default_rng(reach)
    for index in range(TRIALS):
        picture = pictures[index]
        expected = run(picture[None])[0, start:stop, start:stop]
        for other in (pictures[TRIALS + index], generator.integers(0, 256, picture.shape, np.uint8)):
            changed = other.copy()
            changed[inside, inside] = picture[inside, inside]
            moved = np.abs(run(changed[None])[0, start:stop, start:stop] - expected).max()
            if not moved <= MOVED:
                return False
    return True


def name_global_layers(graph: ForeignGraph) -> str:
    """What in the graph looks at the whole image, in words; "its layers" if none of the usual operators is there."""
    names = [name for operator, name in GLOBAL_OPERATORS.items() if operator in graph.operators]
    return ", ".join(dict.fromkeys(names)) or "its layers"
