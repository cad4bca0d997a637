"""Datasets: clean samples as arrays, in fixed splits. Never adds noise, never shuffles.

source -> readers (folder of images | .npy | .npz | IDX | CSV | Parquet | mnist... | quickdraw/cats) -> samples, split
  -> Dataset

Data that bring their own split keep it; all others are split by content, vectors by row, see training.data.splits.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.model.manifest import Fit
from training.data.files import label_files, readers
from training.data.files.stored_samples import StoredSamples
from training.data.noise import describe_noise
from training.data.public import download, mnist, mnist_variations, quickdraw
from training.data.splits import split_by_content, split_by_row
from training.errors import DataError
from training.recipe import AutoencoderData

Array = NDArray[Any]
Modality = Literal["image", "vector"]

MIN_SAMPLES = 50  # in all; below, a held-out tenth says nothing
MIN_PICTURE = 64  # pixels of rows of numbers that may be pictures
LICENCES = {
    "quickdraw/cats": quickdraw.LICENCE,
    "mnist": mnist.LICENCE,
    **dict.fromkeys(mnist_variations.SETS, mnist.LICENCE),
}


@dataclass(frozen=True)
class Dataset:
    """uint8 [N,H,W,C] for images, float64 [N,D] for vectors, in each split.

    Args:
        remarks: lines for the user and the model card: what was read, what was left out and why.
        columns: names of the D numbers of a vector; None if they have none.
        fit: how pictures were brought to their size; None if they had it.
        train_labels, test_labels: text [N], the classes that the data name; None without any. Nothing is trained on
            them here.
    """

    source: str
    licence: str
    train: Array
    validation: Array
    test: Array
    remarks: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    fit: Fit | None = None
    train_labels: NDArray[np.str_] | None = None
    test_labels: NDArray[np.str_] | None = None

    @property
    def modality(self) -> Modality:
        return "image" if self.train.ndim == 4 else "vector"

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """(H, W, C) or (D,)."""
        return tuple(self.train.shape[1:])

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all samples and their split."""
        sha256 = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            sha256.update(str(part.shape).encode() + part.tobytes())
        return sha256.hexdigest()


@dataclass(frozen=True)
class SplitSamples:
    """`samples` uint8 [N,H,W,C] or float64 [N,D], `split` uint8 [N]: 0 train, 1 validation, 2 test; the rest as stored.

    See training.data.files.stored_samples.StoredSamples.
    """

    samples: Array
    split: NDArray[np.uint8]
    remarks: tuple[str, ...]
    labels: NDArray[np.str_] | None
    columns: tuple[str, ...] | None


def load(data: AutoencoderData) -> Dataset:
    """The samples of a recipe's section [data].

    Raises:
        DataError: which file is missing, cannot be read or holds too few samples.
        DownloadError, DiskError: a published set could not be fetched.
    """
    path = locate_source(data.source)
    stored = read_split_samples(data, path)
    samples, split = stored.samples, stored.split
    train, validation, test = (samples[split == number] for number in (0, 1, 2))
    if len(samples) < MIN_SAMPLES or not (len(train) and len(validation) and len(test)):
        raise DataError(
            f"{path}: {len(samples)} samples ({len(train)} train, {len(validation)} validation, {len(test)} test) "
            f"are too few; at least {MIN_SAMPLES} are needed, and one in each split"
        )
    counts = f"{len(samples)} samples: {len(train)} train, {len(validation)} validation, {len(test)} test"
    train_labels, test_labels = (None if stored.labels is None else stored.labels[split == number] for number in (0, 2))
    remarks = [*stored.remarks, counts, describe_noise(train) if train.ndim == 4 else ""]
    is_fitted = data.size is not None and path.is_dir() and not readers.is_idx_folder(path)
    return Dataset(
        data.source, LICENCES.get(data.source, data.licence), train, validation, test,
        remarks=tuple(filter(None, remarks)), columns=stored.columns, fit=data.fit if is_fitted else None,
        train_labels=train_labels, test_labels=test_labels,
    )  # fmt: skip


def locate_source(source: str) -> Path:
    """Where the files of `source` lie, fetched if it is a published set; DataError if nothing is there."""
    if source == "quickdraw/cats":
        return quickdraw.fetch_cats()
    return mnist.fetch_folder() if source in ("mnist", *mnist_variations.SETS) else find_path(source)


def find_path(source: str) -> Path:
    """A path as it is, or in a data folder; DataError if there is nothing."""
    for path in (Path(source), *(folder / source for folder in download.data_folders())):
        if path.exists():
            return path
    raise DataError(
        f"no data at {source}: give a folder of images, an .npy, .npz, IDX, CSV or Parquet file, or mnist, "
        "quickdraw/cats"
    )


def read_split_samples(data: AutoencoderData, path: Path) -> SplitSamples:
    """All samples of the section [data], whose files lie at `path`, and their split."""
    is_variation = data.source in mnist_variations.SETS
    if data.validation_samples is not None and (is_variation or not readers.is_idx_folder(path)):
        raise DataError(f"{path}: data.validation_samples is for mnist and folders of IDX files")
    if is_variation:
        stored = StoredSamples(*mnist_variations.load(data.source)[:2])
    else:
        stored = readers.read_samples(path, data)
    samples, words = to_samples(stored.samples, path)
    remarks = stored.remarks or (words,)  # folders and tables have said what they are
    if stored.split is not None:
        split = stored.split
    else:
        split = split_by_row(samples) if samples.ndim == 2 else split_by_content(samples)
    labels = stored.labels
    found = label_files.read_labels(path, data.source) if labels is None else None
    if found is not None and found[0].shape == split.shape:
        labels = label_files.name_labels(*found)
    return SplitSamples(samples, split, remarks, labels, stored.columns)


def to_samples(array: Array, path: Path) -> tuple[Array, str]:
    """The array as samples, and what it was taken for.

    uint8 [N,H,W] or [N,H,W,C] -> uint8 [N,H,W,C]; real [N,H,W...] in 0..1 or whole in 0..255 -> likewise; real [N,D]
    -> float64 [N,D]; DataError, with the remedy, for anything else.
    """
    if array.size == 0:
        raise DataError(f"{path} holds no samples")
    label = f"{path} holds {array.dtype} {list(array.shape)}"
    if array.dtype.kind not in "fiub":
        raise DataError(f"{label}; images are uint8 [N,H,W] or [N,H,W,3], vectors are numbers [N,D]")
    if array.ndim == 2:
        return _to_vectors(array, path)
    if array.ndim == 3 and array.shape[2] in (2, 3, 4):
        raise DataError(
            f"{label}: that is one picture with {array.shape[2]} channels, not {array.shape[0]} samples; save many as "
            "[N,H,W,3], or give a folder of pictures"
        )
    if array.ndim == 4 and array.shape[3] not in (1, 3):
        if array.shape[1] in (1, 3):
            raise DataError(f"{label}; channels come last, [N,H,W,C]: numpy.moveaxis(array, 1, -1) moves them there")
        raise DataError(f"{label}; images have 1 or 3 channels, without alpha: array[..., :3]")
    if array.ndim not in (3, 4):
        raise DataError(
            f"{label}; images are uint8 [N,H,W] or [N,H,W,3], vectors are numbers [N,D]: reshape(len(array), -1) makes "
            "vectors of any samples"
        )
    pixels, words = _to_pixels(array, label)
    samples = np.ascontiguousarray(pixels[..., None] if array.ndim == 3 else pixels)
    colour = "grey" if samples.shape[3] == 1 else "colour"
    return samples, f"read: {len(samples)} pictures, {samples.shape[2]}x{samples.shape[1]}, {colour}{words}"


def _to_pixels(array: Array, label: str) -> tuple[NDArray[np.uint8], str]:
    """Numbers in 0..1, or whole ones in 0..255, as uint8, and what was done with them."""
    if array.dtype == np.uint8:
        return array, ""
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255), ", from bool"
    if not np.isfinite(array).all():
        raise DataError(f"{label} with NaN or infinity")
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.rint(array * 255.0).astype(np.uint8), f", from {array.dtype} in 0..1"
    if low >= 0 and high <= 255 and (array.dtype.kind in "iu" or (array == np.rint(array)).all()):
        return array.astype(np.uint8), f", from {array.dtype} in 0..255"
    raise DataError(
        f"{label} from {low:.6g} to {high:.6g}; pictures are uint8, or numbers in 0..1: "
        "(array - black) / (white - black) makes them so; as vectors: reshape(len(array), -1)"
    )


def _to_vectors(array: Array, path: Path) -> tuple[Array, str]:
    """Real [N,D] -> float64 [N,D]; a square number of pixel values may be pictures, which is said."""
    vectors = np.ascontiguousarray(array, np.float64)
    if not np.isfinite(vectors).all():
        raise DataError(f"{path}: row {int(np.argmin(np.isfinite(vectors).all(axis=1)))} holds NaN or infinity")
    low, high, count = float(vectors.min()), float(vectors.max()), vectors.shape[1]
    words = f"read: {len(vectors)} rows of {count} numbers, {array.dtype} from {low:.6g} to {high:.6g}: vectors"
    side = math.isqrt(count)
    if count >= MIN_PICTURE and side * side == count and low >= 0 and high <= 255:
        words += f"; if they are pictures, save them as [N,{side},{side}]"
    return vectors, words
