"""Samples of an import: a folder of pictures or an .npy, read as the service reads them, in two halves.

FOLDER | .npy | .npz | CSV -> pictures, or arrays of the model's own shape -> half for baselines, half to measure on

Splits that the data bring (folders train and test, `split` of an .npz) are kept: what is not test is for baselines.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model.files import image_samples
from service.model.files.image_samples import Picture
from service.model.manifest import Fit
from training.data.datasets import to_samples
from training.data.files import readers
from training.data.files.image_folder import list_files, read_all
from training.data.files.stored_samples import StoredSamples
from training.data.patches import EvaluationImage
from training.errors import DataError
from training.recipe import AutoencoderData

Array = NDArray[Any]
Image = NDArray[np.uint8]  # [H,W,C]

MAX_PHOTOS = 24  # of each half, for a denoiser, whose classical baselines take seconds each
PHOTO_SIDE = 384  # pixels: of a larger picture its middle
MAX_SAMPLES = 4000  # of each half
DEFAULT_SIDE = 128  # of pictures for an autoencoder of any size


@dataclass(frozen=True)
class SampleSet:
    """`reference` for baselines, `test` to measure on: [N,...] of the model's own shape."""

    reference: Array
    test: Array
    remarks: tuple[str, ...] = ()
    fit: Fit | None = None


@dataclass(frozen=True)
class Photos:
    """Pictures of any size, to which noise is added."""

    reference: tuple[EvaluationImage, ...]
    test: tuple[EvaluationImage, ...]
    remarks: tuple[str, ...] = ()


def read_photos(path: Path, channels: int, size: tuple[int, int] | None) -> Photos:
    """Pictures for a denoiser; DataError if there are fewer than two.

    Args:
        size: height and width of a model of one size, to which pictures are cut; None: any size.
    """
    images, split, remarks = _read_pictures(path, lambda page: image_samples.make_page(page, channels))
    height, width = size or (PHOTO_SIDE, PHOTO_SIDE)
    named = [(name, _crop_middle(image, height, width)) for name, image in images]
    if size is not None:
        named = [(name, image_samples.fit_image(image, height, width, "cover")) for name, image in named]
    halves = _halve([image for _, image in named], split)
    parts = [
        tuple(
            EvaluationImage(name, "all", image) for (name, image), n in zip(named, halves, strict=True) if n == number
        )
        for number in (0, 2)
    ]
    reference, test = (part[:: max(1, -(-len(part) // MAX_PHOTOS))] for part in parts)
    return Photos(reference, test, remarks)


def read_sample_set(path: Path, shape: tuple[int, ...], fit: Fit, *, is_picture: bool) -> SampleSet:
    """Samples for an autoencoder; DataError if there are too few, or none of that shape.

    Args:
        shape: (H, W, C) of pictures, to which they are resized; (D,) of vectors.
    """
    if not is_picture:
        stored = _read_vectors(path, shape)
        return _to_set(stored.samples, stored.split, stored.remarks, None)
    height, width, channels = shape
    images, split, remarks = _read_pictures(path, lambda page: image_samples.make_image(page, channels))
    _check_count(len(images))
    is_resized = any(image.shape[:2] != (height, width) for _, image in images)
    samples = np.stack([image_samples.fit_image(image, height, width, fit) for _, image in images])
    note = (f"pictures were resized to {width}x{height} by fit={fit}",) if is_resized else ()
    return _to_set(samples, split, (*remarks, *note), fit if is_resized else None)


def _to_set(samples: Array, split: NDArray[np.uint8] | None, remarks: Sequence[str], fit: Fit | None) -> SampleSet:
    halves = _halve(list(samples), split)
    reference, test = (samples[halves == number][:MAX_SAMPLES] for number in (0, 2))
    counts = f"{len(samples)} samples: {len(reference)} for baselines, {len(test)} to measure on"
    return SampleSet(reference, test, (*remarks, counts), fit)


def _read_vectors(path: Path, shape: tuple[int, ...]) -> StoredSamples:
    stored = readers.read_samples(path, AutoencoderData(source=str(path)))
    array = stored.samples
    vectors = array.reshape(len(array), -1) if array.ndim > 1 else array[:, None]
    if array.dtype.kind not in "fiu" or vectors.shape[1:] != shape or not np.isfinite(vectors).all():
        raise DataError(
            f"{path} holds {array.dtype} {list(array.shape)}; the model takes finite numbers [N,{shape[0]}]"
        )
    return replace(stored, samples=np.ascontiguousarray(vectors, np.float32))


def _read_pictures(
    path: Path, convert: Callable[[Picture], Image]
) -> tuple[list[tuple[str, Image]], NDArray[np.uint8] | None, tuple[str, ...]]:
    """Names and pictures, their split if they bring one, and what was read."""
    if path.is_dir() and not readers.is_idx_folder(path):
        listing = list_files(path)
        contents = read_all(listing, lambda _, pages: [convert(page) for page in pages], leave_out_damaged=True)
        named = [(str(file.relative_to(path)), image) for file, images in contents for image in images]
        remarks = (f"read: {len(named)} pictures in {len(contents)} files", listing.describe_left_out())
        return named, None, tuple(filter(None, remarks))
    stored = readers.read_samples(path, AutoencoderData(source=str(path)))
    pages, remark = to_samples(stored.samples, path)
    if pages.dtype != np.uint8:
        raise DataError(
            f"{path} holds vectors, {stored.samples.dtype} {list(stored.samples.shape)}; the model takes pictures: "
            "save them as [N,H,W] or [N,H,W,3], or give a folder of pictures"
        )
    named = [(f"{index:06}", convert(Picture(np.ascontiguousarray(page)))) for index, page in enumerate(pages)]
    return named, stored.split, (remark, *stored.remarks)


def _halve(samples: list[Array], split: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """uint8 [N]: 2 to measure on, 0 for baselines; by each sample's bytes, or by the split that was brought."""
    _check_count(len(samples))
    if split is None:  # elsewhere a tenth is test; here nothing is trained, and half of them can be measured on
        digests = np.array([_hash(sample) for sample in samples])
        halves = np.where(digests > np.median(digests), 2, 0)
    else:
        halves = np.where(split == 2, 2, 0)
    if not (halves == 2).any() or not (halves == 0).any():
        halves = np.where(np.arange(len(samples)) % 2, 2, 0)
    return halves.astype(np.uint8)


def _check_count(count: int) -> None:
    if count < 2:
        raise DataError(f"{count} sample{'s' * (count != 1)}: too few, at least 2 are needed, 100 tell more")


def _hash(sample: Array) -> int:
    """A number from a sample's bytes alone."""
    return int(hashlib.sha256(np.ascontiguousarray(sample).tobytes()).hexdigest()[:8], 16)


def _crop_middle(image: Image, height: int, width: int) -> Image:
    y, x = (max(0, (size - limit) // 2) for size, limit in zip(image.shape[:2], (height, width), strict=True))
    return np.ascontiguousarray(image[y : y + height, x : x + width])
