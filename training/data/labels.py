"""Labels to a data line: one whole number per sample, in the splits of its Dataset.

mnist, sets of training.data.mnist_variations, a folder of IDX files | .npz with `labels` (and `names`) -> Labelled
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data import datasets, idx, mnist_variations
from training.data.datasets import Dataset
from training.errors import DataError
from training.recipe import Data

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """A dataset and the classes of its samples: int64 [N] each, 0..len(names)-1."""

    data: Dataset
    train: Labels
    validation: Labels
    test: Labels
    names: tuple[str, ...]


def load(data: Data) -> Labelled:
    """The samples of a recipe's data line with their labels.

    Raises:
        DataError: as datasets.load, and: data without labels, or labels that do not fit.
    """
    path, dataset = datasets.locate(data.source), datasets.load(data)
    labels, names = _read(path, data.source)
    split = datasets.split_samples(data, path)[1]
    if labels.shape != split.shape or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise DataError(f"{path}: labels must be one whole number from 0 for each of the {len(split)} samples")
    classes = int(labels.max()) + 1
    if names and len(names) < classes:
        raise DataError(f"{path}: {len(names)} names for {classes} classes")
    train, validation, test = (labels[split == number].astype(np.int64) for number in (0, 1, 2))
    shown = tuple(names) or tuple(str(label) for label in range(classes))
    return Labelled(dataset, train, validation, test, shown)


def few(labels: Labels, each: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Which samples to take for `each` labels of every class; all of a class that has fewer. Sorted, int64."""
    drawn = [generator.permutation(np.flatnonzero(labels == label))[:each] for label in np.unique(labels)]
    return np.sort(np.concatenate(drawn))


def _read(path: Path, source: str) -> tuple[NDArray[Any], Sequence[str]]:
    """Labels of all samples in their order, and the classes' names, if the file has them."""
    if source in mnist_variations.SETS:
        return mnist_variations.load(source)[2], ()
    if path.is_dir() and any(path.glob("*labels*idx1*")):
        parts = [idx.read_labels(idx.only(path, f"{part}-labels*idx1*")) for part in ("train", "t10k")]
        return np.concatenate(parts), ()
    if path.suffix.lower() == ".npz":
        with np.load(path, allow_pickle=False) as file:  # datasets.load has read it: it is whole
            if "labels" in file.files:
                return file["labels"], [str(name) for name in file["names"]] if "names" in file.files else ()
    raise DataError(f"{path} has no labels; give mnist, a folder of IDX files, or an .npz with images and labels")
