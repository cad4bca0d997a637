"""Class labels of a dataset: one whole number per sample, in the splits of its Dataset.

training.data.files.label_files | the column of a table | subfolders of pictures -> LabelledDataset
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data import datasets
from training.data.datasets import Dataset
from training.data.files import label_files
from training.errors import DataError
from training.recipe import AutoencoderData

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class LabelledDataset:
    """A dataset and the classes of its samples: int64 [N] of each split, 0..len(names)-1."""

    dataset: Dataset
    train: Labels
    validation: Labels
    test: Labels
    names: tuple[str, ...]


def load(data: AutoencoderData) -> LabelledDataset:
    """The samples of a recipe's section [data] with their labels.

    Raises:
        DataError: as datasets.load, and: data without labels, or labels that do not fit.
    """
    path, dataset = datasets.locate_source(data.source), datasets.load(data)
    stored = datasets.read_split_samples(data, path)
    found = label_files.read_labels(path, data.source)
    if found is None and stored.labels is not None:
        found = _number_classes(stored.labels)
    if found is None:
        raise DataError(
            f"{path} has no labels; give mnist, a folder of IDX files, an .npz with images and labels, a table and its "
            "data.label_column, or a folder of pictures with a subfolder for each class"
        )
    labels, names = found
    split = stored.split
    if labels.shape != split.shape or labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
        raise DataError(f"{path}: labels must be one whole number from 0 for each of the {len(split)} samples")
    classes = int(labels.max()) + 1
    if names and len(names) < classes:
        raise DataError(f"{path}: {len(names)} names for {classes} classes")
    train, validation, test = (labels[split == number].astype(np.int64) for number in (0, 1, 2))
    class_names = tuple(names) or tuple(str(label) for label in range(classes))
    return LabelledDataset(dataset, train, validation, test, class_names)


def sample_per_class(labels: Labels, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Sorted indices, int64, of `count` random samples of every class; of a smaller class, of all its samples."""
    indices = [generator.permutation(np.flatnonzero(labels == label))[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(indices))


def _number_classes(words: NDArray[np.str_]) -> tuple[Labels, Sequence[str]]:
    """Words [N] of a table's column -> classes 0, 1, ... in the order of their names, numbers in theirs."""
    names = sorted(set(words.tolist()), key=lambda name: (float(name) if _is_number(name) else np.inf, name))
    order = {name: number for number, name in enumerate(names)}
    return np.array([order[word] for word in words.tolist()], np.int64), names


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
