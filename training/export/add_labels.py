"""Adds the places of the words in its figures to a package that has none: `python -m training.export.add_labels
models/NAME/VERSION`.

manifest -> words that its figures can hold -> each drawn alone -> found in the pixels -> manifest.json

Figures stay as they are. Words that are not found stay in English on the page.
"""

import io
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from service.model import package
from service.model.manifest import Label, Manifest
from training.evaluation import figures
from training.export import package_changes

BLUR = 1.0  # standard deviation, pixels: letters lie between pixels, and look different at each place
TOLERANCE = 0.1  # squared difference of a word's pixels to those of the word alone, by the squares of its ink
MARGIN = 3  # white pixels around a word: "training" is not a part of "pretraining"
TAIL = 4  # pixels at a word's foot that are not compared: the tail of a "y" touches the picture below

Pixels = NDArray[np.uint8]  # [H,W,3]


class Style(NamedTuple):
    """How a figure writes some of its words: see training.evaluation.figures."""

    size: float
    colour: str
    align: Literal["left", "center", "right"]
    turn: Literal[90] | None = None


ROW = Style(10, figures.INK, "right")
TITLE, AXIS, AXIS_UP, LEGEND = (
    Style(10, figures.INK, "center"),
    Style(9, "black", "center"),
    Style(9, "black", "center", 90),
    Style(8, "black", "left"),
)
GROUP, COLUMN = Style(9, figures.INK, "left"), Style(9, figures.FAINT, "right")


def add(directory: Path) -> int | None:
    """Add the places of words to the package in `directory`; how many were found, None if it has some already.

    Raises:
        PackageError, OSError: the package cannot be read.
        DiskError: the manifest cannot be written; the package stays as it was.
    """
    facts = package.read(directory).manifest
    if facts.labels is not None:
        return None
    found = {path.name: find_labels(path, facts) for path in sorted(directory.iterdir()) if _is_figure(path)}
    labels = {name: words for name, words in found.items() if words}
    facts = facts.model_copy(update={"labels": labels})
    package_changes.write(directory, facts)
    return sum(map(len, labels.values()))


def find_labels(path: Path, facts: Manifest) -> tuple[Label, ...]:
    """The words that were found in a figure's file, by their places."""
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        picture = _blur(np.asarray(image.convert("RGB")))
    words = dict.fromkeys(_list_words(path.name, facts))
    found = [place for text, style in words for place in _find_word(picture, text, style)]
    labels: list[Label] = []
    for _, label in sorted(
        found, key=lambda place: place[0]
    ):  # "layer 1" looks much as "layer 2": the nearer one is it
        if not any(_overlap(label, other) for other in labels):
            labels.append(label)
    return tuple(sorted(labels, key=lambda label: (label.top, label.left)))


def _blur(pixels: Pixels) -> Pixels:
    return cv2.GaussianBlur(pixels, (0, 0), BLUR)  # type: ignore[return-value]


def _is_figure(path: Path) -> bool:
    return path.suffix in {".png", ".webp"} and path.is_file()


def _list_words(name: str, facts: Manifest) -> Iterator[tuple[str, Style]]:
    """The words that a figure of this name can hold."""
    match Path(name).stem:
        case "before-after" | "failures":
            yield from _pair(("noisy", "denoised", "clean", "the other exposure"), COLUMN)
            yield from _pair(_list_groups(facts), GROUP)
        case "learning_curve":
            layers = [f"pretraining, layer {number}" for number in range(1, 10)]
            yield from _pair(("training", "fine-tuning", *layers), TITLE)
            yield from (("epoch", AXIS), ("error", AXIS_UP))
            parts = ("training error (corrupted, augmented)", "training loss (corrupted, augmented)")
            yield from _pair((*parts, "validation error"), LEGEND)
        case "error_histogram":
            yield f"{facts.held_out_samples} held-out samples", TITLE
            yield "samples", AXIS_UP
            if (metric := facts.evaluation.get("reconstruction_mse")) is not None:
                yield metric.unit, AXIS
                values = {"mean": metric.value, **metric.baselines}
                yield from _pair((f"{key} {value:.4g}" for key, value in values.items()), LEGEND)
        case "explained_variance":
            yield from (("Held-out samples", TITLE), ("numbers that are not 0", AXIS), ("explained variance", AXIS_UP))
            yield "this model", LEGEND
        case _:
            baselines = {key for metric in facts.evaluation.values() for key in metric.baselines}
            yield from _pair(
                ("original", "latent", "reconstruction", "noisy", "denoised", "walk", "this model", *baselines), ROW
            )


def _pair(texts: Iterable[str], style: Style) -> Iterator[tuple[str, Style]]:
    return ((text, style) for text in texts)


def _list_groups(facts: Manifest) -> list[str]:
    """Names of groups of held-out images that metrics are about: denoising_rmse_coffee_stains -> coffee stains."""
    names = (re.sub(r"^denoising_[a-z]+_", "", metric) for metric in facts.evaluation)
    return [name.replace("_", " ") for name in names]


def _find_word(picture: Pixels, text: str, style: Style) -> Iterator[tuple[float, Label]]:
    """Each place in a blurred picture that looks as the word alone does: (difference, label), the nearest first."""
    word, label = _draw_word(text, style)
    height, width = word.shape[:2]
    if height > picture.shape[0] or width > picture.shape[1]:
        return
    differences = np.asarray(cv2.matchTemplate(picture, word, cv2.TM_SQDIFF), np.float32)
    distances: NDArray[np.float32] = differences / np.float32(np.square(255.0 - word).sum())
    while True:
        _, _, (x, y), _ = cv2.minMaxLoc(distances)
        if distances[y, x] > TOLERANCE:
            return
        yield float(distances[y, x]), _move(label, x, y, picture.shape)
        distances[max(0, y - height + 1) : y + height, max(0, x - width + 1) : x + width] = np.inf


def _overlap(one: Label, other: Label) -> bool:
    return one.left < other.right and other.left < one.right and one.top < other.bottom and other.top < one.bottom


def _move(label: Label, x: int, y: int, shape: tuple[int, ...]) -> Label:
    """The label of a word alone, where the corner of its pixels is at (x, y) in a picture."""
    moved: Mapping[str, Any] = {
        "left": max(0, label.left + x),
        "top": max(0, label.top + y),
        "right": min(shape[1], label.right + x),
        "bottom": min(shape[0], label.bottom + y),
    }
    return label.model_copy(update=moved)


def _draw_word(text: str, style: Style) -> tuple[Pixels, Label]:
    """A word alone, cut to its ink and MARGIN; its label, with coordinates from the corner of this cut."""
    figure = Figure(figsize=(8, 8), dpi=100, facecolor="white")
    word = figure.text(0.5, 0.5, text, size=style.size, color=style.colour, ha="center", rotation=style.turn or 0)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
    rows, columns = (np.flatnonzero((pixels < 255).any((2, axis))) for axis in (1, 0))
    top, left = int(rows[0]) - MARGIN, int(columns[0]) - MARGIN
    label = figures.locate_label(word, canvas, figure.bbox.height)
    places = {"left": label.left - left, "right": label.right - left}
    places |= {"top": label.top - top, "bottom": label.bottom - top}
    cut = np.ascontiguousarray(pixels[top : rows[-1] + 1 + MARGIN, left : columns[-1] + 1 + MARGIN])
    shown = slice(None) if style.turn else slice(-MARGIN - TAIL)
    return _blur(cut)[shown], label.model_copy(update={**places, "align": style.align})


def main(arguments: list[str] | None = None) -> int:
    def change(directory: Path) -> str:
        count = add(directory)
        return "has places of words already" if count is None else f"places of {count} words added"

    description = "Adds the places of the words in its figures to a package that has none."
    asked = package_changes.build_parser("training.export.add_labels", description).parse_args(arguments)
    return package_changes.run("training.export.add_labels", asked.packages, change)


if __name__ == "__main__":
    sys.exit(main())
