"""Own pictures for a denoiser: a folder of clean ones, of noisy ones, or of both, each of 8 or 16 bits.

folder -> find_layout -> pictures read as the service reads them -> partners by name -> one range of values, one depth
  -> EvaluationImage

| folder | what is learned from |
|---|---|
| `mine/*.png` | clean pictures; noise is added |
| `mine/clean/`, `mine/noisy/` | pairs |
| `mine/noisy/`, `mine/noisy-2/` | two noisy exposures of each scene |
| `mine/noisy/` | noisy pictures alone |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.model.files import image_samples
from service.model.files.image_samples import Picture
from training.data.files.image_folder import FolderListing, list_files, read_all
from training.data.files.stored_samples import join_names
from training.errors import DataError
from training.recipe import DenoiserData

Array = NDArray[Any]  # uint8, uint16, or float32 in 0..1: [H,W,C]
Content = Literal["clean", "noisy"]

CLEAN, NOISY, SECOND = "clean", "noisy", "noisy-2"  # subfolders of a folder of own pictures


@dataclass(frozen=True)
class EvaluationImage:
    """A picture to measure on: `clean` and `noisy` uint8 or uint16 [H,W,C]; without `noisy`, gaussian noise is added.

    Where there are noisy pictures alone, `clean` is another noisy version, perhaps float32 in 0..1.
    """

    name: str
    group: str
    clean: Array
    noisy: Array | None = None


@dataclass(frozen=True)
class Layout:
    """`source`: targets, of `content`; `noisy`: what is shown to the network beside each, if there is such a folder."""

    source: Path
    noisy: Path | None
    content: Content


def find_layout(data: DenoiserData, source: Path, noisy: Path | None) -> Layout:
    """The layout of a folder by its subfolders, unless the recipe says it itself.

    Raises:
        DataError: `noisy` stands beside folders, or pictures, that do not belong to a layout.
    """
    if noisy is not None or data.content == "noisy" or not (source / NOISY).is_dir():
        return Layout(source, noisy, data.content)
    names = {path.name for path in source.iterdir() if path.is_dir() and not path.name.startswith(".")}
    if others := sorted(names - {CLEAN, NOISY, SECOND}):
        raise DataError(
            f"{source} has the folders {join_names([NOISY, *others])}; beside {NOISY}/ only {CLEAN}/ or {SECOND}/ is "
            "known: name one folder with --data, or two with --data and --set data.noisy="
        )
    loose = sorted(path.name for path in source.iterdir() if path.suffix.lower() in image_samples.SUFFIXES)
    if loose:
        raise DataError(
            f"{source} has {len(loose)} pictures beside the folder {NOISY}/ ({join_names(loose)}): put them into "
            f"{CLEAN}/, {NOISY}/ or {SECOND}/"
        )
    if {CLEAN, SECOND} <= names:
        raise DataError(f"{source} has {CLEAN}/ and {SECOND}/ beside {NOISY}/: pairs need only one of them")
    if CLEAN in names:
        return Layout(source / CLEAN, source / NOISY, "clean")
    if SECOND in names:
        return Layout(source / SECOND, source / NOISY, "noisy")
    return Layout(source / NOISY, None, "noisy")


def load(
    layout: Layout, data: DenoiserData, channels: int, remarks: list[str], bits: int | None = None
) -> list[EvaluationImage]:
    """All pages of the pictures of a layout; the group of each is the first folder below, or "all".

    What was read and left out is added to `remarks`.

    Args:
        bits: 8 or 16; None: those of the recipe, else 16 if a picture has more than 8.
    Raises:
        DataError: pictures cannot be read, lack their partner, or do not fit it; all of them in one sentence.
    """
    listing = list_files(layout.source)
    targets = _read(listing, data)
    partners = None
    if layout.noisy is not None:
        partners = _read_partners(layout.noisy, listing, data)
    pairs: list[tuple[Path, int, Picture, Picture | None]] = []
    uneven: list[str] = []
    for file, pages in targets.items():
        path = file.relative_to(layout.source)
        noisy_pages: Sequence[Picture | None] = [None] * len(pages)
        if partners is not None:
            if path not in partners:
                listing.left_out["without a noisy version that can be read"] += 1
                continue
            noisy_pages = partners[path]
        if len(noisy_pages) != len(pages):
            uneven.append(f"{path} has {len(pages)} pages, its noisy version {len(noisy_pages)}")
            continue
        numbers = range(1, len(pages) + 1) if len(pages) > 1 else (0,)
        pairs += zip([path] * len(pages), numbers, pages, noisy_pages, strict=True)
    uneven += [
        f"{path} is {_size(page)}, its noisy version {_size(noisy)}"
        for path, _, page, noisy in pairs
        if noisy is not None and noisy.pixels.shape[:2] != page.pixels.shape[:2]
    ]
    if uneven:
        raise DataError(
            f"{len(uneven)} of {len(targets)} pairs differ in size: {join_names(uneven)}; both must be equal"
        )
    bits = bits or data.bits or _find_bits(pairs)
    images = [_make_image(*pair, channels, bits) for pair in pairs]
    _check_different(images, layout)
    colour = "grey" if channels == 1 else "colour"
    remarks.append(f"read: {len(images)} pictures in {len(targets)} files, {colour}{', 16 bits' * (bits == 16)}")
    if layout.content == "noisy":
        kind = "two noisy exposures of each scene" if layout.noisy is not None else "noisy pictures alone"
        remarks.append(f"learned from {kind}: {_describe_folders(layout)}")
    if listing.left_out:
        remarks.append(listing.describe_left_out())
    return images


def _read(listing: FolderListing, data: DenoiserData) -> dict[Path, list[Picture]]:
    """The pages of each picture, with the recipe's white where they have more than 8 bits."""

    def convert(_: Path, pages: Sequence[Picture]) -> list[Picture]:
        if data.white is None:
            return list(pages)
        return [page if page.pixels.dtype == np.uint8 else replace(page, white=data.white) for page in pages]

    return dict(read_all(listing, convert, leave_out_damaged=data.leave_out_damaged))


def _read_partners(folder: Path, targets: FolderListing, data: DenoiserData) -> Mapping[Path, list[Picture]]:
    """The noisy pages of each target, by the target's path; others are counted in the listing of the targets.

    A partner has the same name, or the same name but for the suffix.
    """
    listing = list_files(folder)
    by_name = {path.relative_to(folder): path for path in listing.pictures}
    by_stem: dict[Path, list[Path]] = {}
    for name, path in by_name.items():
        by_stem.setdefault(name.with_suffix(""), []).append(path)
    found: dict[Path, Path] = {}  # target's name -> partner
    for target in targets.pictures:
        name = target.relative_to(targets.folder)
        candidates = by_stem.get(name.with_suffix(""), [])
        if name in by_name:
            found[name] = by_name[name]
        elif len(candidates) == 1:
            (found[name],) = candidates
    missing = [
        str(name) for name in (path.relative_to(targets.folder) for path in targets.pictures) if name not in found
    ]
    if missing and not data.leave_out_damaged:
        raise DataError(
            f"{folder} lacks the noisy version of {join_names(missing)} ({len(missing)} of {len(targets.pictures)}); "
            f"names must be those of {targets.folder} (--set data.leave_out_damaged=true leaves pictures without a "
            "partner out)"
        )
    used = set(found.values())
    if unused := [str(path.relative_to(folder)) for path in listing.pictures if path not in used]:
        targets.left_out[f"noisy pictures without a clean version ({join_names(unused)})"] += len(unused)
    listing.pictures = [path for path in listing.pictures if path in used]
    if not listing.pictures:
        raise DataError(f"{folder} has no picture that is named as one of {targets.folder}")
    contents = _read(listing, data)
    return {name: contents[path] for name, path in found.items() if path in contents}


def _find_bits(pairs: Sequence[tuple[Path, int, Picture, Picture | None]]) -> int:
    """16 if what the network is shown has more than 8 bits."""
    shown = [page if noisy is None else noisy for _, _, page, noisy in pairs]
    return 16 if any(page.pixels.dtype != np.uint8 for page in shown) else 8


def _make_image(
    path: Path, number: int, target: Picture, noisy: Picture | None, channels: int, bits: int
) -> EvaluationImage:
    """A pair of one type has one white, that of the noisy picture: it alone is there when the model is used."""
    dtype = "uint16" if bits == 16 else "uint8"
    if noisy is not None and noisy.pixels.dtype == target.pixels.dtype:
        target = replace(target, white=noisy.white)
    return EvaluationImage(
        f"{path.stem}-{number}" if number else path.stem,
        path.parts[0] if len(path.parts) > 1 else "all",
        image_samples.make_page(target, channels, dtype),
        None if noisy is None else image_samples.make_page(noisy, channels, dtype),
    )


def _check_different(images: Sequence[EvaluationImage], layout: Layout) -> None:
    same = [image.name for image in images if image.noisy is not None and np.array_equal(image.noisy, image.clean)]
    if same and (layout.content == "noisy" or len(same) == len(images)):
        raise DataError(
            f"{len(same)} of {len(images)} pairs are the same picture twice ({join_names(same)}): from "
            f"{_describe_folders(layout)} nothing can be learned"
        )


def _describe_folders(layout: Layout) -> str:
    names = [layout.source.name] if layout.noisy is None else [layout.noisy.name, layout.source.name]
    return " and ".join(f"{name}/" for name in names)


def _size(picture: Picture) -> str:
    height, width = picture.pixels.shape[:2]
    return f"{width}x{height}"
