"""Stored samples: what the readers of training.data make of a file or folder, and what they have to say about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
NAMES_SHOWN = 10  # files, columns or values that one sentence names


@dataclass(frozen=True)
class StoredSamples:
    """Samples as a file or folder holds them.

    Args:
        samples: [N,...].
        split: uint8 [N]: 0 train, 1 validation, 2 test; None if the data bring none.
        remarks: lines for the user and the model card: what was read, what was left out and why. They name no folder.
        labels: text [N], the column that was named as the label, or subfolders of pictures; None without one.
        columns: names of the D numbers of a sample; None if they have none.
    """

    samples: Array
    split: NDArray[np.uint8] | None = None
    remarks: tuple[str, ...] = ()
    labels: NDArray[np.str_] | None = None
    columns: tuple[str, ...] | None = None


def join_names(names: Iterable[str]) -> str:
    """Comma-separated, at most NAMES_SHOWN of them, then how many more there are."""
    listed = list(names)
    shown = ", ".join(listed[:NAMES_SHOWN])
    return shown if len(listed) <= NAMES_SHOWN else f"{shown} and {len(listed) - NAMES_SHOWN} more"
