"""Folders of pictures, read as the service reads them; what is not used is counted with its reason.

folder -> list_files (pictures | left out) -> read_pages (service.model.files.image_samples) -> images of one size

A picture that the service refuses is refused here with the same sentence. All such files are named at once, or, with
`data.leave_out_damaged`, left out and counted.
"""

import mimetypes
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.model.files import image_samples
from service.model.files.image_samples import Picture, ServiceError
from service.model.files.plain_files import to_printable
from service.model.manifest import Fit
from training.data.files.stored_samples import StoredSamples, join_names
from training.errors import DataError

Image = NDArray[np.uint8]  # [H,W,C]
Content = TypeVar("Content")

MAX_CLASSES = 200  # subfolders
MIN_CLASS_SAMPLES = 5  # in a subfolder, on average
MAX_PAGES = 100_000  # of one stack
SPLIT_FOLDERS = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}
OTHER_PICTURES = {".heic", ".heif", ".avif", ".jxl", ".dng", ".psd"}  # which mimetypes may not know
HIDDEN_NAMES = {"__macosx", "thumbs.db", "desktop.ini"}  # what systems leave beside pictures
LEAVE_OUT = "--set data.leave_out_damaged=true leaves such files out"


@dataclass
class FolderListing:
    """The files below a folder: `pictures` in name order; `left_out`: reason -> how many files."""

    folder: Path
    pictures: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def describe_left_out(self) -> str:
        """ "" or "left out: 2 hidden files, 3 .heic files"."""
        return "left out: " + ", ".join(f"{n} {reason}" for reason, n in self.left_out.items()) if self.left_out else ""


def list_files(folder: Path) -> FolderListing:
    """All files below `folder`; DataError if there is no picture among them.

    A picture is a file with the suffix of a format that is read, or one that begins as a file of such a format.
    """
    listing = FolderListing(folder)
    reasons: dict[str, str] = {}  # suffix -> reason
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        suffix = path.suffix.lower()
        if any(name.startswith(".") or name.lower() in HIDDEN_NAMES for name in path.relative_to(folder).parts):
            listing.left_out["hidden or system files"] += 1
        elif suffix in image_samples.SUFFIXES or image_samples.is_picture(_read_start(path)):
            listing.pictures.append(path)
        else:
            if suffix not in reasons:
                reasons[suffix] = _describe_other_file(path)
            listing.left_out[reasons[suffix]] += 1
    if not listing.pictures:
        found = listing.describe_left_out()
        raise DataError(
            f"{folder} holds no picture that is read ({', '.join(image_samples.SUFFIXES)}){f'; {found}' * bool(found)}"
        )
    return listing


def read_all(
    listing: FolderListing, convert: Callable[[Path, Sequence[Picture]], Content], *, leave_out_damaged: bool
) -> list[tuple[Path, Content]]:
    """`convert(file, its pages)` of all pictures of the listing, in their order.

    Files that are left out are counted in `listing.left_out`.

    Raises:
        DataError: files that cannot be read, all of them in one sentence, unless they are left out.
    """
    contents: list[tuple[Path, Content]] = []
    damaged: dict[str, list[str]] = {}  # the service's sentence without the file's name -> files
    for path in listing.pictures:
        name = to_printable(str(path.relative_to(listing.folder)))
        try:
            pages = image_samples.read_pictures(path.read_bytes(), name, MAX_PAGES)
        except ServiceError as error:
            damaged.setdefault(error.detail.removeprefix(name).strip(), []).append(name)
            continue
        except OSError as error:
            damaged.setdefault(f"cannot be opened: {error.strerror or error}", []).append(name)
            continue
        contents.append((path, convert(path, pages)))
    if damaged and not (leave_out_damaged and contents):
        count = sum(len(names) for names in damaged.values())
        sentences = "; ".join(f"{join_names(names)} {reason}" for reason, names in damaged.items())
        remedy = f" ({LEAVE_OUT})" if contents else ""
        raise DataError(
            f"{listing.folder}: {count} of {len(listing.pictures)} pictures cannot be used: {sentences}{remedy}"
        )
    for reason, names in damaged.items():
        listing.left_out[f"that cannot be used ({join_names(names)} {reason})"] += len(names)
    return contents


def read_image_folder(folder: Path, size: int | None, fit: Fit, *, leave_out_damaged: bool) -> StoredSamples:
    """All pictures below `folder` in name order, uint8 [N,H,W,1 or 3]; each page of a stack is a sample.

    The split comes from subfolders train, val(idation) and test, if all pictures lie in such.

    Args:
        size: pictures are brought to `size` x `size`; None: all must have one size.
        fit: how, see service.imaging.resize.
    """

    def convert(_: Path, pages: Sequence[Picture]) -> list[Image]:
        images = [image_samples.make_image(page, 1 if page.pixels.shape[2] < 3 else 3) for page in pages]
        return images if size is None else [image_samples.fit_image(image, size, size, fit) for image in images]

    listing = list_files(folder)
    contents = read_all(listing, convert, leave_out_damaged=leave_out_damaged)
    files = [file for file, images in contents for _ in images]
    images = [image for _, images in contents for image in images]
    for file, image in zip(files, images, strict=True):
        if image.shape[:2] != images[0].shape[:2]:
            raise DataError(
                f"images have mixed sizes: {files[0].name} is {_format_size(images[0])}, {file.name} is "
                f"{_format_size(image)}; give data.size (--set data.size=64) to resize all"
            )
    channels = max(image.shape[2] for image in images)
    samples = np.stack([np.broadcast_to(image, (*image.shape[:2], channels)) for image in images])
    pages = f" in {len(contents)} files" if len(contents) != len(images) else ""
    remarks = (
        f"read: {len(images)} pictures{pages}, {_format_size(images[0])}, {'grey' if channels == 1 else 'colour'}"
        + (f", brought to that size by fit={fit}" if size else ""),
        listing.describe_left_out(),
    )
    split = _split_by_folder(folder, files)
    labels = _find_classes(folder, files, split is not None)
    classes = "" if labels is None else describe_classes(labels)
    return StoredSamples(samples, split, (*filter(None, (*remarks, classes)),), labels)


def _read_start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(image_samples.SIGNATURE_BYTES)
    except OSError:
        return b""


def _describe_other_file(path: Path) -> str:
    """ ".txt files", and for a picture of a format that is not read also the service's sentence about it."""
    suffix = to_printable(path.suffix.lower())
    reason = f"{suffix} files" if suffix else "files without a suffix"
    if suffix in OTHER_PICTURES or (mimetypes.guess_type(f"a{suffix}")[0] or "").startswith("image/"):
        try:
            image_samples.read_pictures(path.read_bytes(), path.name)
        except (ServiceError, OSError) as error:
            return f"{reason} ({error})"
    return reason


def _split_by_folder(folder: Path, files: Sequence[Path]) -> NDArray[np.uint8] | None:
    """uint8 [N] from the first folder below `folder` of each file; None if these are not the splits' names."""
    names = [file.relative_to(folder).parts[0].lower() for file in files]
    if not {"train", "test"} <= set(names) or not set(names) <= set(SPLIT_FOLDERS):
        return None
    return np.array([SPLIT_FOLDERS[name] for name in names], np.uint8)


def _find_classes(folder: Path, files: Sequence[Path], is_split: bool) -> NDArray[np.str_] | None:
    """Text [N], the subfolder of each file, below the folders of the splits if there are such.

    None where a file lies in none, and where the subfolders are too many or too few to be classes.
    """
    parts = [file.relative_to(folder).parts[is_split:-1] for file in files]
    if not all(parts):
        return None
    names = np.array([to_printable(part[0]) for part in parts])
    return names if 2 <= len(set(names.tolist())) <= min(MAX_CLASSES, len(files) // MIN_CLASS_SAMPLES) else None


def describe_classes(labels: NDArray[np.str_]) -> str:
    """ "classes: 2 subfolders (cats 120, dogs 80); they ..."."""
    names, counts = np.unique(labels, return_counts=True)
    listed = join_names(f"{name} {count}" for name, count in zip(names, counts, strict=True))
    return (
        f"classes: {len(names)} subfolders ({listed}); they colour the latent map, the latent is compared with them, "
        "and they are the labels of autoencoder-train classify"
    )


def _format_size(image: Image) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
