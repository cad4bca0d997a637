"""Labels that lie beside samples in a file: of .npz, of folders of IDX files, and of sets made from MNIST.

path -> read_labels -> whole numbers [N] in the order of the samples, names of the classes
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.files import numpy_files
from training.data.public import idx, mnist_variations


def read_labels(path: Path, source: str) -> tuple[NDArray[Any], Sequence[str]] | None:
    """Labels [N] of all samples, as stored, and the classes' names, if the file has them; None: there are no labels.

    Args:
        source: of the recipe's section [data], of which `path` holds the files.
    """
    if source in mnist_variations.SETS:
        return mnist_variations.load(source)[2], ()
    if path.is_dir() and any(path.glob("*labels*idx1*")):
        parts = [idx.read_labels(idx.find_file(path, f"{part}-labels*idx1*")) for part in ("train", "t10k")]
        return np.concatenate(parts), ()
    if path.is_file() and path.suffix.lower() == ".npz":
        members = numpy_files.list_npz(path)
        if "labels" in members:
            arrays = numpy_files.read_npz(path, [name for name in ("labels", "names") if name in members])
            return arrays["labels"], [str(name) for name in np.atleast_1d(arrays.get("names", np.array([])))]
    return None


def name_labels(labels: NDArray[Any], names: Sequence[str]) -> NDArray[np.str_]:
    """Text [N]: the names of the labels, or the labels themselves."""
    if labels.dtype.kind in "iu" and names and labels.min(initial=0) >= 0 and labels.max(initial=0) < len(names):
        named: NDArray[np.str_] = np.array(names, np.str_)[labels]
        return named
    return labels.astype(np.str_)
