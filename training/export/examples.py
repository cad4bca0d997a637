"""Examples of a package: a few samples of the test split, which the service's page opens the model with.

test split, labels -> one of each class in turn -> examples.npy, at most MAX_BYTES
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model.examples import MAX_BYTES, write_examples

COUNT = 12


def choose_examples(samples: NDArray[Any], labels: NDArray[np.str_] | None = None) -> NDArray[Any] | None:
    """[n,...] of `samples` [N,...], n at most COUNT; None if not one fits.

    Args:
        labels: str [N]; the first sample of each class comes first, then the second of each, and so on.
    """
    count = min(COUNT, MAX_BYTES // max(1, samples[0].nbytes))
    if not count:
        return None
    if labels is None:
        return samples[:count]
    seen: dict[str, int] = {}
    turns = []
    for index, label in enumerate(labels):
        turns.append((seen.get(label, 0), str(label), index))
        seen[label] = seen.get(label, 0) + 1
    return samples[[index for _, _, index in sorted(turns)[:count]]]


def make_file(samples: NDArray[Any], labels: NDArray[np.str_] | None = None) -> dict[str, bytes]:
    """The package's file of examples by its name; {} if not one sample fits."""
    examples = choose_examples(samples, labels)
    return {} if examples is None else write_examples(examples)
