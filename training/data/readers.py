"""Readers of data files: image folders, .npy, .npz, IDX and CSV become arrays.

path -> samples as stored [, split uint8 [N]: 0 train, 1 validation, 2 test, where the data bring one]

Every reader raises DataError, which names the file and what is wrong with it.
"""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from training.data import idx
from training.data.splits import split_by_content, split_by_rank
from training.errors import DataError
from training.recipe import AutoencoderData

Array = NDArray[Any]

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}
SPLIT_FOLDERS = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}


def read_samples(path: Path, data: AutoencoderData) -> tuple[Array, Array | None]:
    """All samples of a file or folder, and their split, if the data bring one.

    Args:
        data: its `size`, `label_column` and `validation_samples` apply.
    Returns:
        uint8 [N,H,W] or [N,H,W,C] of images and IDX files; .npy, .npz and .csv as they are; split uint8 [N] or None.
    """
    if path.is_dir():
        if is_idx_folder(path):
            return read_idx_folder(path, data.validation_samples)
        return read_image_folder(path, data.size)
    suffix = path.suffix.lower()
    if suffix in {".npy", ".npz"}:
        return read_numpy(path)
    if suffix in {".csv", ".txt", ".tsv"}:
        return read_csv(path, data.label_column), None
    if "idx" in path.name or suffix == ".gz":
        return idx.read_images(path), None
    raise DataError(f"{path}: not a known kind of data; give a folder of images, .npy, .npz, IDX (.gz) or .csv")


# --- images ----------------------------------------------------------------------------------------------


def read_image_folder(folder: Path, size: int | None) -> tuple[Array, Array | None]:
    """All images below `folder` in name order, uint8 [N,H,W,1 or 3], resized to `size` x `size` if it is given.

    The split comes from subfolders train, val(idation) and test, if all images lie in such.
    """
    files = list_images(folder)
    images = [open_image(file, size) for file in files]
    has_colour = any(image.mode == "RGB" for image in images)
    arrays: list[Array] = []
    for file, image in zip(files, images, strict=True):
        if image.size != images[0].size:
            raise DataError(
                f"images have mixed sizes: {files[0].name} is {_format_size(images[0])}, {file.name} is "
                f"{_format_size(image)}; give data.size (--set data.size=64) to resize all"
            )
        array = np.asarray(image.convert("RGB") if has_colour else image)
        arrays.append(array if has_colour else array[:, :, None])
    return np.stack(arrays), _split_by_folder(folder, files)


def list_images(folder: Path) -> list[Path]:
    """All images below `folder`, in name order; DataError if there is none."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    if not files:
        raise DataError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return files


def open_image(path: Path, size: int | None) -> Image.Image:
    """Upright, 8 bits, mode L or RGB, alpha over white; resized to `size` x `size` if it is given."""
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP", "TIFF", "BMP")) as file:
            image: Image.Image = ImageOps.exif_transpose(file)
            image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error
    if image.mode.startswith("I;16") or image.mode == "I":
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    if image.mode != "L":
        image = image.convert("L" if image.mode in {"1", "LA"} else "RGB")
    return image.resize((size, size), Image.Resampling.LANCZOS) if size else image


def _split_by_folder(folder: Path, files: list[Path]) -> Array | None:
    """uint8 [N] from the first folder below `folder` of each file; None if these are not the splits' names."""
    names = [file.relative_to(folder).parts[0].lower() for file in files]
    if not {"train", "test"} <= set(names) or not set(names) <= set(SPLIT_FOLDERS):
        return None
    return np.array([SPLIT_FOLDERS[name] for name in names], np.uint8)


def _format_size(image: Image.Image) -> str:
    return f"{image.width}x{image.height}"


# --- arrays ----------------------------------------------------------------------------------------------


def read_numpy(path: Path) -> tuple[Array, Array | None]:
    """.npy: one array; .npz: `images`, `vectors` or its only array, and optionally `split` (0, 1, 2)."""
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return content, None
            arrays = {name: content[name] for name in content.files if name not in {"labels", "names"}}
    except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as numpy data: {error}") from error
    split = arrays.pop("split", None)
    name = next((n for n in ("images", "vectors", *arrays) if n in arrays), None)
    if name is None or (name not in {"images", "vectors"} and len(arrays) > 1):
        raise DataError(f"{path} holds {', '.join(arrays) or 'nothing'}; one must be named images or vectors")
    if split is not None and (split.shape != (len(arrays[name]),) or not np.isin(split, (0, 1, 2)).all()):
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


def read_csv(path: Path, label_column: int | None) -> Array:
    """float32 [N,D], one sample a line; commas, semicolons, tabs or blanks; a first line of words is a header.

    `label_column`, counted from 0, is left out.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error
    separator = next((s for s in (",", ";", "\t") if lines and s in lines[0]), None)
    rows: list[list[float]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        cells = line.split(separator)
        try:
            row = [float(cell) for cell in cells]
        except ValueError as error:
            if number == 1:
                continue
            raise DataError(f"{path}, line {number}: {error}") from error
        if rows and len(row) != len(rows[0]):
            raise DataError(f"{path}, line {number}: {len(row)} numbers, the lines before have {len(rows[0])}")
        rows.append(row)
    array = np.array(rows, np.float32)
    if label_column is not None:
        if array.ndim != 2 or label_column >= array.shape[1]:
            raise DataError(f"{path} has no column {label_column}")
        array = np.delete(array, label_column, axis=1)
    return array
