"""Clean data in, arrays out, with fixed splits. Never adds noise, never shuffles.

source -> read (folder of images | .npy | .npz | IDX | CSV | mnist... | quickdraw/cats) -> samples -> split -> Dataset

A sample's split depends on its own bytes alone (SHA-256 modulo 100: 0-79 train, 80-89 validation, 90-99 test), so
duplicates never stand on both sides and adding data moves nothing. Data that bring their own split keep it.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from training.data import download, idx, mnist, mnist_variations, quickdraw
from training.errors import DataError
from training.recipe import Data

Array = NDArray[Any]
Modality = Literal["image", "vector"]

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}
FEWEST = 50  # samples in all; below, a held-out tenth says nothing


@dataclass(frozen=True)
class Dataset:
    """uint8 [N,H,W,C] for images, float32 [N,D] for vectors, in each split."""

    source: str
    licence: str
    train: Array
    validation: Array
    test: Array

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
        whole = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            whole.update(str(part.shape).encode() + part.tobytes())
        return whole.hexdigest()


def load(data: Data) -> Dataset:
    """Read the data line of a recipe; DataError names the file and what was wrong with it."""
    path = locate(data.source)
    samples, split = split_samples(data, path)
    licence = {
        "quickdraw/cats": quickdraw.LICENCE,
        "mnist": mnist.LICENCE,
        **dict.fromkeys(mnist_variations.SETS, mnist.LICENCE),
    }
    train, validation, test = (samples[split == number] for number in (0, 1, 2))
    if len(samples) < FEWEST or not (len(train) and len(validation) and len(test)):
        raise DataError(
            f"{path}: {len(samples)} samples ({len(train)} train, {len(validation)} validation, {len(test)} test) "
            f"are too few; at least {FEWEST} are needed, and one in each split"
        )
    return Dataset(data.source, licence.get(data.source, data.licence), train, validation, test)


def locate(source: str) -> Path:
    """Where the files of a data line's `source` lie; DataError if there is nothing."""
    if source == "quickdraw/cats":
        return quickdraw.cats()
    return mnist.folder() if source in ("mnist", *mnist_variations.SETS) else find(source)


def split_samples(data: Data, path: Path) -> tuple[Array, NDArray[np.uint8]]:
    """All samples of the data line, whose files lie at `path`, as stored, and their split: 0, 1, 2."""
    made = data.source in mnist_variations.SETS
    if data.validation_samples is not None and (made or not _is_idx_folder(path)):
        raise DataError(f"{path}: data.validation_samples is for mnist and folders of IDX files")
    samples, split = mnist_variations.load(data.source)[:2] if made else _read(path, data)
    samples = _as_samples(samples, path)
    return samples, split_by_content(samples) if split is None else split


def split_by_content(samples: Array | Sequence[Array]) -> NDArray[np.uint8]:
    """0 train, 1 validation, 2 test for each sample, from the SHA-256 of its bytes; uint8 [N]."""
    numbers = [int(hashlib.sha256(np.ascontiguousarray(s).tobytes()).hexdigest()[:8], 16) % 100 for s in samples]
    return np.digitize(numbers, [80, 90]).astype(np.uint8)


def find(source: str) -> Path:
    """A path as it is, or in a data folder; DataError if there is nothing."""
    for path in (Path(source), *(folder / source for folder in download.data_folders())):
        if path.exists():
            return path
    raise DataError(
        f"no data at {source}: give a folder of images, an .npy, .npz, IDX or CSV file, or mnist, quickdraw/cats"
    )


def _read(path: Path, data: Data) -> tuple[Array, Array | None]:
    if path.is_dir():
        if _is_idx_folder(path):
            return _read_idx_folder(path, data.validation_samples)
        return _read_images(path, data.size)
    suffix = path.suffix.lower()
    if suffix in {".npy", ".npz"}:
        return _read_numpy(path)
    if suffix in {".csv", ".txt", ".tsv"}:
        return _read_csv(path, data.label_column), None
    if "idx" in path.name or suffix == ".gz":
        return idx.read_images(path), None
    raise DataError(f"{path}: not a known kind of data; give a folder of images, .npy, .npz, IDX (.gz) or .csv")


# --- images ----------------------------------------------------------------------------------------------


def _read_images(folder: Path, size: int | None) -> tuple[Array, Array | None]:
    """All images below `folder`, in name order. Subfolders train, val(idation), test are the splits, if there."""
    files = image_files(folder)
    images = [open_image(file, size) for file in files]
    colour = any(image.mode == "RGB" for image in images)
    arrays: list[Array] = []
    for file, image in zip(files, images, strict=True):
        if image.size != images[0].size:
            raise DataError(
                f"images have mixed sizes: {files[0].name} is {_wxh(images[0])}, {file.name} is {_wxh(image)}; "
                f"give data.size (--set data.size=64) to resize all"
            )
        array = np.asarray(image.convert("RGB") if colour else image)
        arrays.append(array if colour else array[:, :, None])
    return np.stack(arrays), _split_by_folder(folder, files)


def image_files(folder: Path) -> list[Path]:
    """All images below `folder`, in name order; DataError if there is none."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    if not files:
        raise DataError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return files


def open_image(file: Path, size: int | None) -> Image.Image:
    """Upright, 8 bits, mode L or RGB; alpha over white."""
    try:
        with Image.open(file, formats=("PNG", "JPEG", "WEBP", "TIFF", "BMP")) as opened:
            image: Image.Image = ImageOps.exif_transpose(opened)
            image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as broken:
        raise DataError(f"{file} cannot be read as an image: {broken}") from broken
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
    number = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}
    tops = [file.relative_to(folder).parts[0].lower() for file in files]
    if not {"train", "test"} <= set(tops) or not set(tops) <= set(number):
        return None
    return np.array([number[top] for top in tops], np.uint8)


def _wxh(image: Image.Image) -> str:
    return f"{image.width}x{image.height}"


# --- arrays ----------------------------------------------------------------------------------------------


_BROKEN = (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile)


def _read_numpy(path: Path) -> tuple[Array, Array | None]:
    """.npy: one array; .npz: `images`, `vectors` or its only array, and optionally `split` (0, 1, 2)."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded, None
            arrays = {name: loaded[name] for name in loaded.files if name not in {"labels", "names"}}
    except _BROKEN as broken:
        raise DataError(f"{path} cannot be read as numpy data: {broken}") from broken
    split = arrays.pop("split", None)
    name = next((n for n in ("images", "vectors", *arrays) if n in arrays), None)
    if name is None or (name not in {"images", "vectors"} and len(arrays) > 1):
        raise DataError(f"{path} holds {', '.join(arrays) or 'nothing'}; one must be named images or vectors")
    if split is not None and (split.shape != (len(arrays[name]),) or not np.isin(split, (0, 1, 2)).all()):
        raise DataError(f"{path}: split must hold 0 (train), 1 (validation) or 2 (test) for each sample")
    return arrays[name], split


def _is_idx_folder(path: Path) -> bool:
    return path.is_dir() and any(path.glob("*images*idx3*"))


def _read_idx_folder(folder: Path, validation_samples: int | None) -> tuple[Array, Array | None]:
    """The usual files of MNIST: train-images* (its validation part by content), t10k-images* as test."""
    train, test = idx.read_folder(folder)
    if validation_samples is None:
        split = np.minimum(split_by_content(train[..., None]), 1)  # 80 train, 20 validation of 100
    elif validation_samples < len(train):
        digests = [hashlib.sha256(sample.tobytes()).digest() for sample in train]
        split = np.zeros(len(train), np.uint8)
        split[sorted(range(len(train)), key=digests.__getitem__)[:validation_samples]] = 1
    else:
        raise DataError(f"{folder}: data.validation_samples is {validation_samples}, of {len(train)} training samples")
    return np.concatenate([train, test]), np.concatenate([split, np.full(len(test), 2, np.uint8)])


def _read_csv(path: Path, label_column: int | None) -> Array:
    """Numbers, one sample a line; commas, semicolons, tabs or blanks; a first line of words is a header."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as broken:
        raise DataError(f"{path} cannot be read as text: {broken}") from broken
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


def _as_samples(array: Array, path: Path) -> Array:
    """uint8 [N,H,W] or [N,H,W,C] -> uint8 [N,H,W,C]; real [N,D] -> float32 [N,D]; anything else is refused."""
    if array.size == 0:
        raise DataError(f"{path} holds no samples")
    if array.dtype == np.uint8 and array.ndim == 3:
        return np.ascontiguousarray(array[..., None])
    if array.dtype == np.uint8 and array.ndim == 4 and array.shape[3] in (1, 3):
        return np.ascontiguousarray(array)
    if array.dtype.kind in "fiu" and array.ndim == 2:
        vectors = array.astype(np.float32)
        if not np.isfinite(vectors).all():
            raise DataError(f"{path}: row {int(np.argmin(np.isfinite(vectors).all(axis=1)))} holds NaN or infinity")
        return np.ascontiguousarray(vectors)
    raise DataError(
        f"{path} holds {array.dtype} {list(array.shape)}; images are uint8 [N,H,W] or [N,H,W,1 or 3], "
        f"vectors are numbers [N,D]"
    )
