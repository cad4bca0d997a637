"""Readers of data files: .npy, .npz and IDX become arrays; the table of what is read by which reader.

path -> read_samples -> StoredSamples

Every reader raises DataError, which names the file and what is wrong with it.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.files import numpy_files
from training.data.files.image_folder import read_image_folder
from training.data.files.stored_samples import StoredSamples
from training.data.files.tables import CSV_SUFFIXES, PARQUET_SUFFIXES, WORKBOOK_SUFFIXES, read_table
from training.data.public import idx
from training.data.splits import split_by_content, split_by_rank
from training.errors import DataError
from training.recipe import AutoencoderData

Array = NDArray[Any]

PACKED_SUFFIXES = {".gz", ".bz2", ".xz", ".zst", ".zip"}  # around a CSV


def read_samples(path: Path, data: AutoencoderData) -> StoredSamples:
    """All samples of a file or folder, and their split, if the data bring one.

    Returns:
        uint8 [N,H,W] or [N,H,W,C] of images and IDX files; .npy, .npz and tables as they are.
    """
    if path.is_dir():
        if is_idx_folder(path):
            return StoredSamples(*read_idx_folder(path, data.validation_samples))
        return read_image_folder(path, data.size, data.fit, leave_out_damaged=data.leave_out_damaged)
    if not path.is_file():
        raise DataError(f"{path} is a pipe or a device; give a file or a folder")
    suffix = path.suffix.lower()
    if suffix in {".npy", ".npz"}:
        return StoredSamples(*read_numpy(path))
    if suffix in WORKBOOK_SUFFIXES:
        raise DataError(f"{path} is a workbook of a spreadsheet; save the sheet as CSV")
    inner_suffix = path.with_suffix("").suffix.lower() if suffix in PACKED_SUFFIXES else suffix
    if inner_suffix in CSV_SUFFIXES | PARQUET_SUFFIXES:
        return read_table(path, data)
    if "idx" in path.name or idx.is_packed_idx(path):
        return StoredSamples(idx.read_images(path))
    if suffix in PACKED_SUFFIXES and not inner_suffix:
        return read_table(path, data)
    raise DataError(
        f"{path}: not a known kind of data; give a folder of images, .npy, .npz, IDX (.gz), CSV or Parquet (.parquet)"
    )


# --- arrays ----------------------------------------------------------------------------------------------


def read_numpy(path: Path) -> tuple[Array, Array | None]:
    """.npy: one array; .npz: `images`, `vectors` or its only array, and optionally `split` (0, 1, 2)."""
    if not numpy_files.is_npz(path):
        return numpy_files.read_npy(path), None
    members = numpy_files.list_npz(path)
    names = [name for name in members if name not in {"labels", "names", "split"}]
    name = next((n for n in ("images", "vectors", *names) if n in names), None)
    if name is None or (name not in {"images", "vectors"} and len(names) > 1):
        raise DataError(f"{path} holds {', '.join(names) or 'nothing'}; one must be named images or vectors")
    arrays = numpy_files.read_npz(path, [name, *(["split"] if "split" in members else [])])
    split = arrays.get("split")
    if split is not None and (split.shape != arrays[name].shape[:1] or not np.isin(split, (0, 1, 2)).all()):
        raise DataError(f"{path}: split must hold 0 (train), 1 (validation) or 2 (test) for each sample")
    return arrays[name], split


def is_idx_folder(path: Path) -> bool:
    """Whether `path` is a folder with images in IDX files, as MNIST has them."""
    return path.is_dir() and any(path.glob("*images*idx3*"))


def read_idx_folder(folder: Path, validation_samples: int | None) -> tuple[Array, Array | None]:
    """The usual files of MNIST: train-images* (its validation part by content), t10k-images* as test; uint8 [N,H,W].

    `validation_samples` of the training samples are validation; without it, a fifth.
    """
    train, test = idx.read_folder(folder)
    if validation_samples is None:
        split = np.minimum(split_by_content(train[..., None]), 1)  # 80 train, 20 validation of 100
    elif validation_samples < len(train):
        split = split_by_rank(train, validation_samples)
    else:
        raise DataError(f"{folder}: data.validation_samples is {validation_samples}, of {len(train)} training samples")
    return np.concatenate([train, test]), np.concatenate([split, np.full(len(test), 2, np.uint8)])
