"""Sizes that a graph takes, by trial: whether batch, height and width are free, and the stride of height and width.

graph -> axes freed -> run with other batches and sizes -> the same answers? -> stride: the least that always works
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import ImportRefused
from training.importing.foreign_graph import Runner
from training.importing.probes.axes import free_axes
from training.importing.probes.ports import Connection

Array = NDArray[Any]

STRIDES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 192, 224, 256)
MULTIPLES = (0, 1, 2, 3, 5)  # beyond the first one above MIN_SIDE
MIN_SIDE = 32  # pixels; and once with a single stride a side
SAME = 1e-4  # largest difference of answers that are taken for the same, as a share of their largest magnitude


def free(connection: Connection, axes: Collection[int]) -> Connection:
    """The connection with these axes of its input free; opening it may raise ImportRefused."""
    graph = free_axes(connection.graph, connection.input.name, axes)
    tensor = next(tensor for tensor in graph.inputs if tensor.name == connection.input.name)
    return replace(connection, graph=graph, runner=Runner(graph.model, graph.label), input=tensor)


def free_batch(connection: Connection, shape: tuple[int, ...]) -> Connection:
    """The connection with a free batch; ImportRefused if its nodes do not allow that.

    Args:
        shape: of one sample [...] that the graph takes.
    """
    samples = np.random.default_rng(1).random((3, *shape))
    expected = np.concatenate([connection.run(sample[None]) for sample in samples])
    freed = free(connection, (0,))
    answer = freed.try_run(samples)
    if isinstance(answer, str) or not is_same(answer, expected):
        fault = answer if isinstance(answer, str) else "samples of one batch change each other"
        name = connection.input.name
        raise ImportRefused(
            f"{connection.graph.label} cannot take several samples at once ({fault}); export it with a free batch: "
            f"torch.onnx.export(..., dynamic_axes={{'{name}': {{0: 'N'}}}})"
        )
    return freed


def is_same(answer: Array, expected: Array, share: float = SAME) -> bool:
    """Whether two answers agree, but for the order of floating-point sums."""
    if answer.shape != expected.shape:
        return False
    limit = share * float(np.abs(expected).max(initial=0)) + 1e-12
    return bool(np.abs(answer.astype(np.float64) - expected).max(initial=0) <= limit)


def find_stride(works: Callable[[int, int], bool]) -> int | None:
    """The least stride of which all multiples work as height and width; None if there is none up to 256."""
    for stride in STRIDES:
        first = -(-MIN_SIDE // stride)
        sides = [(stride * (first + n), stride * (first + n + 1)) for n in MULTIPLES]
        if works(*sides[0]) and works(stride, stride) and all(works(*side) for side in sides[1:]):
            return stride
    return None
