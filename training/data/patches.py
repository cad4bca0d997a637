"""Images of any size to learn restoration from: patches to train on, whole images to measure on.

pages/mixed | pages/noisy-office | .npz of `clean` and `noisy` | a folder of clean images [and one of noisy ones]
  -> patches uint8 [N,P,P,C], or [N,P,P,2C] with the noisy image behind the clean one -> Patches
  -> validation and test: whole images, each with its group and, if it has one, its noisy version

Images of a folder fall into splits by their own bytes, as samples do (see .datasets), or the recipe names other
folders for validation and test.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data import debian_photos
from training.data.datasets import find, image_files, open_image, split_by_content
from training.data.download import cache
from training.errors import DataError
from training.recipe import Recipe, Unet
from training.synthetic_pages import generate, noisyoffice
from training.synthetic_pages.fonts import FontBook
from training.synthetic_pages.text import Prose

Image = NDArray[np.uint8]  # [H,W,C]
Array = NDArray[Any]

OFFICE_LICENCE = "freely available (UCI data set 216; NoisyOffice, Castro-Bleda et al. 2019)"
PAGES = {"pages/mixed": 9000, "pages/noisy-office": 3000}  # generated sources: how many patches
OWN_HELD_OUT = 24  # pages set and degraded here, for validation and for test
OWN_SIZE = 400  # pixels a side
OWN = "own pages"  # the group of those
EXAMPLE_SIZE = "-4"  # of the copies of photographs that are shown: 500 pixels
FLAT = 0.03  # with data.detail: share of patches without any detail that is kept


@dataclass(frozen=True)
class Whole:
    """An image to measure on; `noisy` is None where noise is drawn."""

    name: str
    group: str
    clean: Image
    noisy: Image | None = None


@dataclass(frozen=True)
class Patches:
    """`train` uint8 [N,P,P,C], or [N,P,P,2C] if it is `paired`."""

    source: str
    licence: str
    train: NDArray[np.uint8]
    paired: bool
    validation: Sequence[Whole]
    test: Sequence[Whole]
    examples: Sequence[Whole] = ()  # to be shown in place of test images, whose licence may not allow it

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all pixels."""
        whole = hashlib.sha256(str(self.train.shape).encode() + self.train.tobytes())
        for image in (*self.validation, *self.test):
            whole.update(image.clean.tobytes() + (b"" if image.noisy is None else image.noisy.tobytes()))
        return whole.hexdigest()


def load(recipe: Recipe) -> Patches:
    """The data line of a recipe whose architecture is a unet; DataError names what was wrong with which file."""
    architecture, data = recipe.architecture, recipe.data
    if not isinstance(architecture, Unet):
        raise TypeError("This is a bug: patches are for denoisers of any size")
    if data.source in PAGES:
        return _pages(data.source, recipe)
    licence, path = data.licence, None
    examples: list[Whole] = []
    if data.source == "photos/debian":
        licence, path = debian_photos.licence(), debian_photos.photographs()
        examples = _examples(architecture.channels)
    path = path or find(data.source)
    if path.suffix == ".npz":
        train, validation, test = _split(_npz(path), path)
    else:
        noisy = find(data.noisy) if data.noisy else None
        everything = _folder(path, noisy, architecture.channels)
        if data.validation and data.test:
            train = everything
            validation, test = (
                _folder(find(named), None, architecture.channels) for named in (data.validation, data.test)
            )
        else:
            train, validation, test = _split(everything, path)
    patches = _cut(train, recipe)
    return Patches(data.source, licence, patches, train[0].noisy is not None, validation, test, examples)


# --- pages -----------------------------------------------------------------------------------------------


def _pages(source: str, recipe: Recipe) -> Patches:
    """NoisyOffice's own splits; its train pages recombined, and for pages/mixed with pages set and degraded here."""
    office = find("noisy-office")
    train = _generated(source, recipe.data.patch, recipe.seed, office)
    stacked = np.stack([train["clean"], train["noisy"]], -1)
    validation, test = (_office(office, split) for split in ("val", "test"))
    licence = OFFICE_LICENCE
    if source == "pages/mixed":
        validation += _own("validation")
        test += _own("test")
        licence += "; text of installed manual pages and fonts, drawn as pictures"
    return Patches(source, licence, stacked, True, validation, test)


def _generated(source: str, size: int, seed: int, office: Path) -> dict[str, Array]:
    file = cache() / "pages" / f"{source.split('/')[1]}-{PAGES[source]}-{size}-{seed}-{generate.fingerprint()}.npz"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        only = ["--only"] if source == "pages/noisy-office" else []
        generate.make(PAGES[source], size, seed, "train", file, noisy_office=office, only=bool(only))
    with np.load(file, allow_pickle=False) as arrays:
        return {"clean": arrays["clean"], "noisy": arrays["noisy"]}


def _office(folder: Path, split: Literal["val", "test"]) -> list[Whole]:
    return [
        Whole(pair.id, pair.noise, pair.clean[..., None], pair.noisy[..., None])
        for pair in noisyoffice.load(folder, split)
    ]


def _own(split: Literal["validation", "test"]) -> list[Whole]:
    writer = FontBook.installed(split), Prose(split)
    made = generate.pairs(OWN_HELD_OUT, OWN_SIZE, 0, *writer)
    return [Whole(f"own-{n}", OWN, clean[..., None], noisy[..., None]) for n, (clean, noisy) in enumerate(made)]


# --- files -----------------------------------------------------------------------------------------------


def _examples(channels: int) -> list[Whole]:
    """One copy of each free photograph that is only shown; its author is its group."""
    return [
        replace(image, group=image.name.removesuffix(EXAMPLE_SIZE).replace("_", " "))
        for image in _folder(debian_photos.examples(), None, channels)
        if image.name.endswith(EXAMPLE_SIZE)
    ]


def _npz(path: Path) -> list[Whole]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            clean, noisy = arrays["clean"], arrays["noisy"]
    except (OSError, ValueError, KeyError) as broken:
        raise DataError(
            f"{path} must hold the arrays clean and noisy, uint8 [N,H,W] or [N,H,W,C]: {broken}"
        ) from broken
    if clean.shape != noisy.shape or clean.dtype != np.uint8 or noisy.dtype != np.uint8 or clean.ndim not in (3, 4):
        raise DataError(
            f"{path}: clean is {clean.dtype} {list(clean.shape)}, noisy {noisy.dtype} {list(noisy.shape)}; "
            f"both must be uint8 of one shape, [N,H,W] or [N,H,W,C]"
        )
    if clean.ndim == 3:
        clean, noisy = clean[..., None], noisy[..., None]
    return [Whole(str(n), "all", c, d) for n, (c, d) in enumerate(zip(clean, noisy, strict=True))]


def _folder(folder: Path, noisy: Path | None, channels: int) -> list[Whole]:
    files = image_files(folder)
    images = []
    for file in files:
        clean = _array(file, channels)
        other = None
        if noisy is not None:
            other = _array(noisy / file.relative_to(folder), channels)
            if other.shape != clean.shape:
                raise DataError(f"{noisy / file.name} is {other.shape[:2]}, its clean version {clean.shape[:2]} (H, W)")
        inside = file.relative_to(folder).parts[:-1]
        images.append(Whole(file.stem, inside[0] if inside else "all", clean, other))
    return images


def _array(file: Path, channels: int) -> Image:
    image = open_image(file, None).convert("L" if channels == 1 else "RGB")
    array = np.asarray(image, np.uint8)
    return array[:, :, None] if channels == 1 else array


def _split(images: list[Whole], path: Path) -> tuple[list[Whole], list[Whole], list[Whole]]:
    numbers = [int(split_by_content([image.clean])[0]) for image in images]
    train, validation, test = ([i for i, n in zip(images, numbers, strict=True) if n == split] for split in range(3))
    if not (train and validation and test):
        raise DataError(
            f"{path}: {len(images)} images ({len(train)} train, {len(validation)} validation, {len(test)} test) are "
            f"too few: one is needed in each split, or name folders as data.validation and data.test"
        )
    return train, validation, test


def _cut(images: Sequence[Whole], recipe: Recipe) -> NDArray[np.uint8]:
    """The patches that cover the images, the last of each row and column shifted back; smooth ones if drawn."""
    size, detail = recipe.data.patch, recipe.data.detail
    rng = np.random.default_rng(recipe.seed)
    patches = []
    for image in images:
        pixels = image.clean if image.noisy is None else np.concatenate([image.clean, image.noisy], -1)
        if min(pixels.shape[:2]) < size:
            continue
        starts = [sorted({*range(0, there - size, size), there - size}) for there in pixels.shape[:2]]
        for y in starts[0]:
            for x in starts[1]:
                patch = pixels[y : y + size, x : x + size]
                if not detail or rng.random() < FLAT + _detail(patch) / detail:
                    patches.append(patch)
    if not patches:
        raise DataError(
            f"{recipe.data.source} holds no image of at least {size} x {size} pixels; lower data.patch and data.crop"
        )
    return np.stack(patches)


def _detail(patch: Image) -> float:
    """Mean absolute Laplacian of [P,P,C], in grey levels; about 20 in photographs of 480 x 320 pixels."""
    return float(np.abs(cv2.Laplacian(patch.mean(-1).astype(np.float32), cv2.CV_32F)).mean())
