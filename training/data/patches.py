"""Restoration data: patches to train a denoiser on, whole images to measure it on.

pages/mixed | pages/noisy-office | photos-free | .npz of `clean` and `noisy` | clean images [and noisy ones]
  -> patches uint8 or uint16 [N,P,P,C], or [N,P,P,2C] with the noisy image behind the clean one -> RestorationData
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

from service.model.files import image_samples
from training.data import own_pictures, photographs
from training.data.datasets import find_path
from training.data.files import numpy_files
from training.data.noise import describe_noise
from training.data.own_pictures import NOISY, EvaluationImage, Layout
from training.data.public.download import cache
from training.data.splits import split_by_content
from training.errors import DataError
from training.recipe import DenoiserRecipe
from training.synthetic_pages import generate, noisyoffice, pool, scenes
from training.synthetic_pages.sampler import PageSampler, to_channels
from training.synthetic_pages.writing.fonts import Split

__all__ = ["EvaluationImage", "RestorationData", "load"]

Image = NDArray[np.uint8]  # [H,W,C]
Array = NDArray[Any]

OFFICE_LICENCE = "freely available (UCI data set 216; NoisyOffice, Castro-Bleda et al. 2019)"
PAGE_COUNTS = {"pages/mixed": 4000, "pages/noisy-office": 3000}  # generated sources: how many patches in an epoch
POOL_PAGES = {"train": 3000, "validation": 60, "test": 60}  # drawn to draw scenes from
SCENE_GROUPS = {
    "own pages": ("paper",),
    "own figures": ("photograph", "drawing"),
    "own colours": ("fills", "chart", "highlighter"),
    "own dark slides": ("dark", "screen"),
}  # held-out scenes: group -> grounds
SCENES = 12  # of each group; twice as many of the first, whose paler half has a group of its own
PALE = 0.6  # contrast below which ink is pale
SCENE_SIZE = 192  # pixels a side
EXAMPLES = (
    "ibm-max-city",
    "ibm-max-7-action-athlete-896567",
    "solus-twigonometry",
    "animal-orangutan",
)  # shown, held out
MIN_IMAGES = 4  # of a folder that is split
SMOOTH_SHARE = 0.03  # with data.detail: share of patches without any detail that are used


@dataclass(frozen=True)
class RestorationData:
    """`train` [N,P,P,C], or [N,P,P,2C] if it `is_paired`: clean channels, then noisy ones; or a sampler of pairs.

    Pixels are uint8 or uint16. `content` "noisy": the targets of pairs, or all pictures, have noise themselves.
    `subsets`: suffix of a metric's name -> the groups that it is averaged over; without it, one metric over all groups.
    """

    source: str
    licence: str
    train: Array | PageSampler
    is_paired: bool
    validation: Sequence[EvaluationImage]
    test: Sequence[EvaluationImage]
    examples: Sequence[EvaluationImage] = ()  # shown in place of test images, whose licence may not allow it
    subsets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    credit_table: Sequence[tuple[str, str, str, str]] = ()  # source, number of images, licences, authors
    remarks: Sequence[str] = ()  # lines for the user and the model card: what was read, what was left out and why
    content: own_pictures.Content = "clean"

    @property
    def is_noisy_alone(self) -> bool:
        """Whether there is nothing but one noisy picture of each scene."""
        return self.content == "noisy" and not self.is_paired

    @property
    def bits(self) -> int:
        """Of a pixel: 8 or 16."""
        return 16 if not isinstance(self.train, PageSampler) and self.train.dtype == np.uint16 else 8

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all pixels, or of what training pairs are drawn from."""
        is_drawn = isinstance(self.train, PageSampler)
        pixels = self.train.digest.encode() if isinstance(self.train, PageSampler) else self.train.tobytes()
        sha256 = hashlib.sha256((b"" if is_drawn else str(self.train.shape).encode()) + pixels)
        for image in (*self.validation, *self.test):
            sha256.update(image.clean.tobytes() + (b"" if image.noisy is None else image.noisy.tobytes()))
        return sha256.hexdigest()


def load(recipe: DenoiserRecipe) -> RestorationData:
    """The data of a recipe whose architecture is a unet.

    Raises:
        DataError: which file is missing, cannot be read or does not fit.
        DownloadError, DiskError: photographs could not be fetched.
    """
    data = recipe.data
    if data.source in PAGE_COUNTS:
        return _load_pages(data.source, recipe)
    if data.source == photographs.NAME:
        return _load_photographs(recipe)
    path = find_path(data.source)
    remarks: list[str] = []
    content: own_pictures.Content = "clean"
    if path.suffix == ".npz":
        train, validation, test = _split(_load_npz(path), path)
    else:
        if (data.validation is None) != (data.test is None):
            raise DataError(
                "give both data.validation and data.test, or neither: then a part of data.source is held out"
            )
        layout = own_pictures.find_layout(data, path, find_path(data.noisy) if data.noisy else None)
        content = layout.content
        images = own_pictures.load(layout, data, recipe.architecture.channels, remarks)
        if data.validation and data.test:
            train = images
            bits = 8 * images[0].clean.itemsize
            validation, test = (
                own_pictures.load(
                    Layout(find_path(name), None, "clean"), data, recipe.architecture.channels, remarks, bits
                )
                for name in (data.validation, data.test)
            )
        else:
            train, validation, test = _split(images, path)
    patches = _cut_patches(train, recipe, remarks)
    if content == "clean" and train and train[0].noisy is None and train[0].clean.dtype == np.uint8:
        noise = describe_noise([image.clean for image in train])
        if noise:
            remarks.append(f"{noise}, or put them into a subfolder {NOISY}/, to learn from noisy pictures")
    remarks.append(f"images: {len(train)} train, {len(validation)} validation, {len(test)} test")
    return RestorationData(
        data.source, data.licence, patches, train[0].noisy is not None, validation, test, remarks=remarks,
        content=content,
    )  # fmt: skip


# --- pages -----------------------------------------------------------------------------------------------


def _load_pages(source: str, recipe: DenoiserRecipe) -> RestorationData:
    """NoisyOffice's own splits, its train pages recombined; for pages/mixed also scenes of pages (synthetic_pages)."""
    office, channels, licence = find_path("noisy-office"), recipe.architecture.channels, OFFICE_LICENCE
    validation, test = (_load_office(office, split, channels) for split in ("val", "test"))
    subsets = _office_subsets(test)
    if source == "pages/noisy-office":
        corpus = _load_corpus_pairs(recipe.data.patch, recipe.seed, office)
        train = np.concatenate([np.repeat(corpus[key][..., None], channels, -1) for key in ("clean", "noisy")], -1)
        return RestorationData(source, licence, train, True, validation, test, subsets=subsets)
    pictures = {split: _load_pictures(is_validation=split != "train") for split in ("train", "validation")}
    sampler = PageSampler(
        _open_pool("train", recipe.seed), pictures["train"], noisyoffice.load(office, "train"),
        count=PAGE_COUNTS[source], size=recipe.data.crop, channels=channels,
    )  # fmt: skip
    validation += _draw_held_out("validation", pictures["validation"], channels)
    test += _draw_held_out("test", pictures["validation"], channels)
    licence += f"; text of installed manual pages and fonts, drawn as pictures; photographs: {photographs.licence()}"
    return RestorationData(
        source, licence, sampler, True, validation, test, subsets=subsets, credit_table=photographs.credit_table()
    )


def _office_subsets(test: Sequence[EvaluationImage]) -> dict[str, list[str]]:
    """The corpus's groups, and those of them whose background is not in the training pages."""
    groups = list(dict.fromkeys(image.group for image in test))
    unseen = [group for group in groups if not noisyoffice.is_background_shared(group)]
    return {"": groups, **({"_without_wrinkled": unseen} if 0 < len(unseen) < len(groups) else {})}


def _load_corpus_pairs(size: int, seed: int, office: Path) -> dict[str, Array]:
    """`clean` and `noisy` uint8 [N,size,size] of the corpus, generated once and cached."""
    count = PAGE_COUNTS["pages/noisy-office"]
    file = cache() / "pages" / f"noisy-office-{count}-{size}-{seed}-{generate.fingerprint()}.npz"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        generate.write_pages(count, size, seed, "train", file, noisy_office=office, corpus_only=True)
    return numpy_files.read_npz(file, ("clean", "noisy"))


def _load_office(folder: Path, split: Literal["val", "test"], channels: int) -> list[EvaluationImage]:
    return [
        EvaluationImage(pair.id, pair.noise, to_channels(pair.clean, channels), to_channels(pair.noisy, channels))
        for pair in noisyoffice.load(folder, split)
    ]


def _open_pool(split: Split, seed: int) -> pool.Pool:
    return pool.open_pool(cache() / "pages", POOL_PAGES[split], seed, split)


def _load_pictures(*, is_validation: bool) -> list[Image]:
    """The free photographs of one split, uint8 [h,w,3]."""
    folder = photographs.find_folder()
    listed = [photo for photo in photographs.list_photographs() if photo.is_validation == is_validation]
    return [page for photo in listed for page in _read_pages(folder / photo.file, 3)]


def _draw_held_out(split: Split, pictures: Sequence[Image], channels: int) -> list[EvaluationImage]:
    """Scenes of fonts, text and photographs that no training pair has, the same in every run."""
    held_out, images = _open_pool(split, 0), []
    for row, (group, grounds) in enumerate(SCENE_GROUPS.items()):
        for number in range(SCENES * (2 if grounds == ("paper",) else 1)):
            rng = np.random.default_rng([row, number])
            scene = scenes.draw_scene(rng, SCENE_SIZE, held_out, pictures, grounds[number % len(grounds)])
            name = "own pale pages" if grounds == ("paper",) and scene.contrast < PALE else group
            clean, noisy = (to_channels(page, channels) for page in (scene.clean, scene.noisy))
            images.append(EvaluationImage(f"{group}-{number}", name, clean, noisy))
    return images


# --- files -----------------------------------------------------------------------------------------------


def _load_photographs(recipe: DenoiserRecipe) -> RestorationData:
    """Free photographs, split by their originals' bytes; the recipe may name another folder for test."""
    channels, folder = recipe.architecture.channels, photographs.find_folder()
    listed = {photograph.file: photograph for photograph in photographs.list_photographs()}
    train: list[EvaluationImage] = []
    validation: list[EvaluationImage] = []
    for file, photograph in listed.items():
        (clean,) = _read_pages(folder / file, channels)
        image = EvaluationImage(Path(file).stem, "all", clean)
        (validation if photograph.is_validation else train).append(image)
    remarks: list[str] = []
    test = validation
    if recipe.data.test:
        layout = Layout(find_path(recipe.data.test), None, "clean")
        test = own_pictures.load(layout, recipe.data, channels, remarks)
    examples = [
        replace(image, group=listed[f"{image.name}.jpg"].author or image.name)
        for image in validation
        if image.name in EXAMPLES
    ]
    return RestorationData(
        photographs.NAME, photographs.licence(), _cut_patches(train, recipe, remarks), False, validation, test,
        examples, credit_table=photographs.credit_table(), remarks=remarks,
    )  # fmt: skip


def _load_npz(path: Path) -> list[EvaluationImage]:
    if missing := [name for name in ("clean", "noisy") if name not in numpy_files.list_npz(path)]:
        raise DataError(
            f"{path} must hold the arrays clean and noisy, uint8 or uint16 [N,H,W] or [N,H,W,C]; it lacks "
            f"{', '.join(missing)}"
        )
    arrays = numpy_files.read_npz(path, ("clean", "noisy"))
    clean, noisy = arrays["clean"], arrays["noisy"]
    if (
        clean.shape != noisy.shape
        or clean.dtype != noisy.dtype
        or clean.dtype not in (np.uint8, np.uint16)
        or clean.ndim not in (3, 4)
    ):
        raise DataError(
            f"{path}: clean is {clean.dtype} {list(clean.shape)}, noisy {noisy.dtype} {list(noisy.shape)}; "
            f"both must be uint8, or uint16, of one shape, [N,H,W] or [N,H,W,C]"
        )
    if clean.ndim == 3:
        clean, noisy = clean[..., None], noisy[..., None]
    return [EvaluationImage(str(n), "all", c, d) for n, (c, d) in enumerate(zip(clean, noisy, strict=True))]


def _read_pages(file: Path, channels: int) -> list[Image]:
    """uint8 [H,W,channels] of each page; DataError if the file cannot be read."""
    try:
        pictures = image_samples.read_pictures(file.read_bytes(), str(file))
    except (image_samples.ServiceError, OSError) as error:
        raise DataError(str(error)) from error
    return [image_samples.make_page(picture, channels) for picture in pictures]


def _split(
    images: list[EvaluationImage], path: Path
) -> tuple[list[EvaluationImage], list[EvaluationImage], list[EvaluationImage]]:
    """Train, validation and test by the bytes of the clean images.

    Where that leaves one of them empty, a tenth, and at least one, of the lowest SHA-256 is test, the next validation.

    Raises:
        DataError: fewer than MIN_IMAGES.
    """
    numbers = [int(split_by_content([image.clean])[0]) for image in images]
    if len(images) >= MIN_IMAGES and len(set(numbers)) < 3:
        digests = [hashlib.sha256(image.clean.tobytes()).digest() for image in images]
        share = max(1, len(images) // 10)
        for rank, index in enumerate(sorted(range(len(images)), key=digests.__getitem__)):
            numbers[index] = 2 if rank < share else 1 if rank < 2 * share else 0
    train, validation, test = ([i for i, n in zip(images, numbers, strict=True) if n == split] for split in range(3))
    if not (train and validation and test):
        raise DataError(
            f"{path}: {len(images)} images ({len(train)} train, {len(validation)} validation, {len(test)} test) are "
            f"too few: {MIN_IMAGES} are needed at least, or name folders as data.validation and data.test"
        )
    return train, validation, test


def _cut_patches(images: Sequence[EvaluationImage], recipe: DenoiserRecipe, remarks: list[str]) -> Array:
    """Patches that cover the images, the last of each row and column shifted back; smooth ones only by chance.

    With data.detail a patch is kept with probability SMOOTH_SHARE + its detail / data.detail. What is left out is
    added to `remarks`.
    """
    size, detail = recipe.data.patch, recipe.data.detail
    rng = np.random.default_rng(recipe.seed)
    patches = []
    small_count = smooth_count = 0
    for image in images:
        pixels = image.clean if image.noisy is None else np.concatenate([image.clean, image.noisy], -1)
        if min(pixels.shape[:2]) < size:
            small_count += 1
            continue
        starts = [sorted({*range(0, length - size, size), length - size}) for length in pixels.shape[:2]]
        for y in starts[0]:
            for x in starts[1]:
                patch = pixels[y : y + size, x : x + size]
                if not detail or rng.random() < SMOOTH_SHARE + _mean_detail(patch) / detail:
                    patches.append(patch)
                else:
                    smooth_count += 1
    if small_count and patches:
        remarks.append(
            f"left out of training: {small_count} of {len(images)} pictures, smaller than data.patch = {size}; a lower "
            "data.patch, with data.crop no larger, uses them"
        )
    if smooth_count:
        remarks.append(f"left out of training: {smooth_count} smooth patches, by data.detail = {detail:g}")
    if not patches:
        raise DataError(
            f"{recipe.data.source} holds no image of at least {size} x {size} pixels; lower data.patch and data.crop"
        )
    return np.stack(patches)


def _mean_detail(patch: Array) -> float:
    """Mean absolute Laplacian of [P,P,C], in grey levels of 255; about 20 in photographs of 480 x 320 pixels."""
    grey = patch.mean(-1) / (np.iinfo(patch.dtype).max // 255)
    return float(np.abs(cv2.Laplacian(grey.astype(np.float32), cv2.CV_32F)).mean())
