"""Restoration data: patches to train a denoiser on, whole images to measure it on.

pages/mixed | pages/noisy-office | photos-free | .npz of `clean` and `noisy` | clean images [and noisy ones]
  -> patches uint8 [N,P,P,C], or [N,P,P,2C] with the noisy image behind the clean one -> RestorationData
  -> validation and test: whole images, each with its group and, if it has one, its noisy version

Images of a folder are split by content (training.data.splits), or the recipe names other folders for validation and
test.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data import photographs
from training.data.datasets import find_path
from training.data.download import cache
from training.data.readers import list_images, open_image
from training.data.splits import split_by_content
from training.errors import DataError
from training.recipe import DenoiserRecipe
from training.synthetic_pages import generate, noisyoffice
from training.synthetic_pages.fonts import FontBook
from training.synthetic_pages.text import TextCorpus

Image = NDArray[np.uint8]  # [H,W,C]
Array = NDArray[Any]

OFFICE_LICENCE = "freely available (UCI data set 216; NoisyOffice, Castro-Bleda et al. 2019)"
PAGE_COUNTS = {"pages/mixed": 9000, "pages/noisy-office": 3000}  # generated sources: how many patches
GENERATED_GROUP = "own pages"  # held-out pages that are typeset and degraded here
GENERATED_COUNT = 24  # of them, for validation and for test
GENERATED_SIZE = 400  # pixels a side
EXAMPLES = (
    "ibm-max-city",
    "ibm-max-7-action-athlete-896567",
    "solus-twigonometry",
    "animal-orangutan",
)  # shown, held out
SMOOTH_SHARE = 0.03  # with data.detail: share of patches without any detail that are used


@dataclass(frozen=True)
class EvaluationImage:
    """An image to measure on: `clean` and `noisy` uint8 [H,W,C]; without `noisy`, gaussian noise is added."""

    name: str
    group: str
    clean: Image
    noisy: Image | None = None


@dataclass(frozen=True)
class RestorationData:
    """`train` uint8 [N,P,P,C], or [N,P,P,2C] if it `is_paired`: clean channels, then noisy ones.

    `subsets`: suffix of a metric's name -> the groups that it is averaged over; without it, one metric over all groups.
    """

    source: str
    licence: str
    train: NDArray[np.uint8]
    is_paired: bool
    validation: Sequence[EvaluationImage]
    test: Sequence[EvaluationImage]
    examples: Sequence[EvaluationImage] = ()  # shown in place of test images, whose licence may not allow it
    subsets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    credit_table: Sequence[tuple[str, str, str, str]] = ()  # source, number of images, licences, authors

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all pixels."""
        sha256 = hashlib.sha256(str(self.train.shape).encode() + self.train.tobytes())
        for image in (*self.validation, *self.test):
            sha256.update(image.clean.tobytes() + (b"" if image.noisy is None else image.noisy.tobytes()))
        return sha256.hexdigest()


def load(recipe: DenoiserRecipe) -> RestorationData:
    """The data of a recipe whose architecture is a unet.

    Raises:
        DataError: which file is missing, cannot be read or does not fit.
        DownloadError, DiskError: photographs could not be fetched.
    """
    architecture, data = recipe.architecture, recipe.data
    if data.source in PAGE_COUNTS:
        return _load_pages(data.source, recipe)
    if data.source == photographs.NAME:
        return _load_photographs(recipe)
    path = find_path(data.source)
    if path.suffix == ".npz":
        train, validation, test = _split(_load_npz(path), path)
    else:
        noisy_folder = find_path(data.noisy) if data.noisy else None
        images = _load_folder(path, noisy_folder, architecture.channels)
        if data.validation and data.test:
            train = images
            validation, test = (
                _load_folder(find_path(source), None, architecture.channels) for source in (data.validation, data.test)
            )
        else:
            train, validation, test = _split(images, path)
    patches = _cut_patches(train, recipe)
    return RestorationData(data.source, data.licence, patches, train[0].noisy is not None, validation, test)


# --- pages -----------------------------------------------------------------------------------------------


def _load_pages(source: str, recipe: DenoiserRecipe) -> RestorationData:
    """NoisyOffice's own splits, its train pages recombined; for pages/mixed also pages typeset and degraded here."""
    office = find_path("noisy-office")
    train = _load_generated(source, recipe.data.patch, recipe.seed, office)
    patches = np.stack([train["clean"], train["noisy"]], -1)
    validation, test = (_load_office(office, split) for split in ("val", "test"))
    licence, subsets = OFFICE_LICENCE, _office_subsets(test)
    if source == "pages/mixed":
        validation += _generate_held_out("validation")
        test += _generate_held_out("test")
        licence += "; text of installed manual pages and fonts, drawn as pictures"
    return RestorationData(source, licence, patches, True, validation, test, subsets=subsets)


def _office_subsets(test: Sequence[EvaluationImage]) -> dict[str, list[str]]:
    """The corpus's groups, and those of them whose background is not in the training pages."""
    groups = list(dict.fromkeys(image.group for image in test))
    unseen = [group for group in groups if not noisyoffice.is_background_shared(group)]
    return {"": groups, **({"_without_wrinkled": unseen} if 0 < len(unseen) < len(groups) else {})}


def _load_generated(source: str, size: int, seed: int, office: Path) -> dict[str, Array]:
    """`clean` and `noisy` uint8 [N,size,size], generated once and cached."""
    name = f"{source.split('/')[1]}-{PAGE_COUNTS[source]}-{size}-{seed}-{generate.fingerprint()}.npz"
    file = cache() / "pages" / name
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        corpus_only = source == "pages/noisy-office"
        generate.write_pages(
            PAGE_COUNTS[source], size, seed, "train", file, noisy_office=office, corpus_only=corpus_only
        )
    with np.load(file, allow_pickle=False) as arrays:
        return {"clean": arrays["clean"], "noisy": arrays["noisy"]}


def _load_office(folder: Path, split: Literal["val", "test"]) -> list[EvaluationImage]:
    return [
        EvaluationImage(pair.id, pair.noise, pair.clean[..., None], pair.noisy[..., None])
        for pair in noisyoffice.load(folder, split)
    ]


def _generate_held_out(split: Literal["validation", "test"]) -> list[EvaluationImage]:
    """Pages of fonts and text that no training page has."""
    pairs = generate.draw_pairs(GENERATED_COUNT, GENERATED_SIZE, 0, FontBook.installed(split), TextCorpus(split))
    return [
        EvaluationImage(f"own-{n}", GENERATED_GROUP, clean[..., None], noisy[..., None])
        for n, (clean, noisy) in enumerate(pairs)
    ]


# --- files -----------------------------------------------------------------------------------------------


def _load_photographs(recipe: DenoiserRecipe) -> RestorationData:
    """Free photographs, split by their originals' bytes; the recipe may name another folder for test."""
    channels, folder = recipe.architecture.channels, photographs.find_folder()
    listed = {photograph.file: photograph for photograph in photographs.list_photographs()}
    train: list[EvaluationImage] = []
    validation: list[EvaluationImage] = []
    for file, photograph in listed.items():
        image = EvaluationImage(Path(file).stem, "all", _read_image(folder / file, channels))
        (validation if photograph.is_validation else train).append(image)
    test = _load_folder(find_path(recipe.data.test), None, channels) if recipe.data.test else validation
    examples = [
        replace(image, group=listed[f"{image.name}.jpg"].author or image.name)
        for image in validation
        if image.name in EXAMPLES
    ]
    return RestorationData(
        photographs.NAME, photographs.licence(), _cut_patches(train, recipe), False, validation, test, examples,
        credit_table=photographs.credit_table(),
    )  # fmt: skip


def _load_npz(path: Path) -> list[EvaluationImage]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            clean, noisy = arrays["clean"], arrays["noisy"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} must hold the arrays clean and noisy, uint8 [N,H,W] or [N,H,W,C]: {error}") from error
    if clean.shape != noisy.shape or clean.dtype != np.uint8 or noisy.dtype != np.uint8 or clean.ndim not in (3, 4):
        raise DataError(
            f"{path}: clean is {clean.dtype} {list(clean.shape)}, noisy {noisy.dtype} {list(noisy.shape)}; "
            f"both must be uint8 of one shape, [N,H,W] or [N,H,W,C]"
        )
    if clean.ndim == 3:
        clean, noisy = clean[..., None], noisy[..., None]
    return [EvaluationImage(str(n), "all", c, d) for n, (c, d) in enumerate(zip(clean, noisy, strict=True))]


def _load_folder(folder: Path, noisy_folder: Path | None, channels: int) -> list[EvaluationImage]:
    """All images below `folder`; their group is the first folder below it, or "all"."""
    images = []
    for file in list_images(folder):
        clean = _read_image(file, channels)
        noisy = None
        if noisy_folder is not None:
            noisy = _read_image(noisy_folder / file.relative_to(folder), channels)
            if noisy.shape != clean.shape:
                raise DataError(
                    f"{noisy_folder / file.name} is {noisy.shape[:2]}, its clean version {clean.shape[:2]} (H, W)"
                )
        subfolders = file.relative_to(folder).parts[:-1]
        images.append(EvaluationImage(file.stem, subfolders[0] if subfolders else "all", clean, noisy))
    return images


def _read_image(file: Path, channels: int) -> Image:
    """uint8 [H,W,channels]."""
    image = open_image(file, None).convert("L" if channels == 1 else "RGB")
    array = np.asarray(image, np.uint8)
    return array[:, :, None] if channels == 1 else array


def _split(
    images: list[EvaluationImage], path: Path
) -> tuple[list[EvaluationImage], list[EvaluationImage], list[EvaluationImage]]:
    """Train, validation and test by the bytes of the clean images; DataError if one of them is empty."""
    numbers = [int(split_by_content([image.clean])[0]) for image in images]
    train, validation, test = ([i for i, n in zip(images, numbers, strict=True) if n == split] for split in range(3))
    if not (train and validation and test):
        raise DataError(
            f"{path}: {len(images)} images ({len(train)} train, {len(validation)} validation, {len(test)} test) are "
            f"too few: one is needed in each split, or name folders as data.validation and data.test"
        )
    return train, validation, test


def _cut_patches(images: Sequence[EvaluationImage], recipe: DenoiserRecipe) -> NDArray[np.uint8]:
    """Patches that cover the images, the last of each row and column shifted back; smooth ones only by chance.

    With data.detail a patch is kept with probability SMOOTH_SHARE + its detail / data.detail.
    """
    size, detail = recipe.data.patch, recipe.data.detail
    rng = np.random.default_rng(recipe.seed)
    patches = []
    for image in images:
        pixels = image.clean if image.noisy is None else np.concatenate([image.clean, image.noisy], -1)
        if min(pixels.shape[:2]) < size:
            continue
        starts = [sorted({*range(0, length - size, size), length - size}) for length in pixels.shape[:2]]
        for y in starts[0]:
            for x in starts[1]:
                patch = pixels[y : y + size, x : x + size]
                if not detail or rng.random() < SMOOTH_SHARE + _mean_detail(patch) / detail:
                    patches.append(patch)
    if not patches:
        raise DataError(
            f"{recipe.data.source} holds no image of at least {size} x {size} pixels; lower data.patch and data.crop"
        )
    return np.stack(patches)


def _mean_detail(patch: Image) -> float:
    """Mean absolute Laplacian of [P,P,C], in grey levels; about 20 in photographs of 480 x 320 pixels."""
    return float(np.abs(cv2.Laplacian(patch.mean(-1).astype(np.float32), cv2.CV_32F)).mean())
