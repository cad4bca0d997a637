"""Figures of a report, as PNG or WebP: sample rows, learning curve, error histogram, latent map.

held-out samples, histories -> matplotlib Figure -> PNG bytes, and where its words are

Samples are always the first of the test split, never selected ones.
"""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from service.model.manifest import Label
from training.engine.loop import History

Array = NDArray[Any]

COLUMNS = 10
INK, ACCENT, FAINT = "#1f2937", "#c2410c", "#9ca3af"
MAP_SAMPLES = 500
MAP_CLASSES = 20  # with a colour of their own


@dataclass(frozen=True)
class Drawing:
    """A figure's file, PNG or WebP, and its words: a page in another language writes its own over them."""

    picture: bytes
    labels: tuple[Label, ...] = ()


Figures = dict[str, tuple[str, Drawing]]
"""File name -> (caption, figure)."""


def draw_rows(rows: Sequence[tuple[str, Array]]) -> Drawing:
    """A labelled row per entry, a column per sample: images uint8 [N,H,W,C], latents float [N,...], vectors [N,D]."""
    columns = min(COLUMNS, len(rows[0][1]))
    figure = Figure(figsize=(1.35 + 0.95 * columns, 1.0 * len(rows)), dpi=100, facecolor="white")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for (label, samples), row_axes in zip(rows, axes, strict=True):
        for axis, sample in zip(row_axes, samples, strict=False):
            _draw_sample(axis, sample)
        row_axes[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=10, color=INK, labelpad=8)
    figure.subplots_adjust(
        left=1.3 / (1.35 + 0.95 * columns), right=0.995, top=0.99, bottom=0.01, wspace=0.05, hspace=0.06
    )
    return finish(figure)


def draw_grid(samples: Array, columns: int = COLUMNS) -> Drawing:
    """Samples in rows of `columns`: images uint8 [N,H,W,C] or vectors [N,D]."""
    rows = -(-len(samples) // columns)
    figure = Figure(figsize=(0.95 * columns, 0.95 * rows), dpi=100, facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis, sample in zip(axes, samples, strict=False):
        _draw_sample(axis, sample)
    for axis in list(axes)[len(samples) :]:
        axis.set_axis_off()
    figure.subplots_adjust(left=0.005, right=0.995, top=0.995, bottom=0.005, wspace=0.05, hspace=0.05)
    return finish(figure)


def draw_features(features: Array, shares: NDArray[np.float64]) -> Drawing:
    """What features add to a sample, red above 0, blue below: float [N,H,W] or [N,D]; `shares` of samples have it."""
    rows = -(-len(features) // COLUMNS)
    figure = Figure(figsize=(0.95 * COLUMNS, 1.15 * rows), dpi=100, facecolor="white")
    axes = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axis, feature, share in zip(axes, features, shares, strict=False):
        axis.set(xticks=[], yticks=[])
        for spine in axis.spines.values():
            spine.set_visible(False)
        if feature.ndim == 1:
            axis.plot(feature, color=INK, linewidth=0.9)
        else:
            limit = float(np.abs(feature).max()) or 1.0
            axis.imshow(feature, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axis.set_title(f"{100 * share:.3g} %", fontsize=7, color=FAINT, pad=2)
    for axis in axes[len(features) :]:
        axis.set_axis_off()
    figure.subplots_adjust(left=0.005, right=0.995, top=1 - 0.18 / rows, bottom=0.005, wspace=0.05, hspace=0.25)
    return finish(figure)


def draw_explained_variance(curves: Sequence[tuple[str, Sequence[tuple[int, float]]]]) -> Drawing:
    """Share of the variance against numbers used, log scale: a line for each (label, pairs); the first is accented."""
    figure = Figure(figsize=(5.6, 3.2), dpi=100, facecolor="white", layout="constrained")
    axis = figure.subplots()
    for index, (label, pairs) in enumerate(curves):
        sizes, shares = zip(*pairs, strict=True)
        marker = {} if index else {"marker": "o", "markersize": 4}
        axis.plot(sizes, shares, color=FAINT if index else ACCENT, label=label, **marker)  # type: ignore[arg-type]
    style_axis(axis, "Held-out samples", "numbers that are not 0", "explained variance")
    axis.set_xscale("log")
    axis.set_ylim(min(0.0, min(share for _, pairs in curves for _, share in pairs)), 1)
    axis.legend(frameon=False, fontsize=8)
    return finish(figure)


def draw_before_after(
    rows: Sequence[tuple[Any, ...]], height: int = 220, titles: Sequence[str] = ("noisy", "denoised", "clean")
) -> Drawing:
    """A row per image: its label, then the top left of an image uint8 [H,W,C] for each title, pixel by pixel; WebP."""
    width = max(min(row[1].shape[1], 420) for row in rows)
    columns = len(titles)
    figure = Figure(
        figsize=((columns * width + 20) / 100, (height + 18) * len(rows) / 100 + 0.2), dpi=100, facecolor="white"
    )
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for (label, *images), row_axes in zip(rows, axes, strict=True):
        for axis, image in zip(row_axes, images, strict=True):
            _draw_sample(axis, image[:height, :width])
        row_axes[0].set_title(label, fontsize=9, color=INK, loc="left", pad=3)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9, color=FAINT, loc="right", pad=3)
    figure.subplots_adjust(
        left=0.005, right=0.995, top=1 - 0.2 / len(rows) / 2.4, bottom=0.005, wspace=0.01, hspace=0.09
    )
    drawing = finish(figure)
    return Drawing(to_webp(drawing.picture), drawing.labels)


def draw_learning_curve(curves: Sequence[tuple[str, History]], unit: str) -> Drawing:
    """Training and validation error over epochs, log scale, a panel for each curve; the best epoch is marked.

    Epoch 0 is the start. A loss that falls below 0, as that of PSNR in runs from before, is not drawn; errors below 0,
    as nats can be, are on a plain scale.
    """
    figure = Figure(figsize=(4.2 * len(curves), 3.2), dpi=100, facecolor="white", layout="constrained")
    for axis, (title, history) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
        epochs = np.arange(1, len(history.loss) + 1)
        if min(history.loss, default=0) > 0:
            axis.plot(epochs, history.loss, color=FAINT, label="training error (corrupted, augmented)")
        axis.plot(epochs, history.validation, color=ACCENT, label="validation error")
        if math.isfinite(history.best_error):
            axis.plot(history.best + 1, history.best_error, "o", color=ACCENT, markersize=5)
        style_axis(axis, title, "epoch", unit)
        if min(history.validation, default=1) > 0:
            axis.set_yscale("log")
        axis.legend(frameon=False, fontsize=8)
    return finish(figure)


def draw_error_histogram(errors: NDArray[np.float64], baselines: Sequence[tuple[str, float]], unit: str) -> Drawing:
    """Histogram of the held-out samples' reconstruction errors, with their mean and the baselines as lines."""
    figure = Figure(figsize=(5.6, 3.2), dpi=100, facecolor="white", layout="constrained")
    axis = figure.subplots()
    axis.hist(errors, bins=40, color="#fdba74")
    axis.axvline(float(errors.mean()), color=ACCENT, label=f"mean {errors.mean():.4g}")
    for (name, value), dashes in zip(baselines, ("--", ":", "-."), strict=False):
        axis.axvline(value, color=INK, linestyle=dashes, linewidth=1, label=f"{name} {value:.4g}")
    style_axis(axis, f"{len(errors)} held-out samples", unit, "samples")
    axis.legend(frameon=False, fontsize=8)
    return finish(figure)


def draw_latent_map(latents: Array, samples: Array, seed: int, labels: NDArray[np.str_] | None = None) -> Drawing:
    """Held-out samples placed by their latents: t-SNE in two dimensions (van der Maaten & Hinton, JMLR 9, 2008).

    Args:
        labels: text [N], by which frames and points are coloured, with a legend; of more than MAP_CLASSES classes the
            smaller ones share a colour.
    """
    flat = latents[:MAP_SAMPLES].reshape(min(len(latents), MAP_SAMPLES), -1).astype(np.float64)
    if flat.shape[1] > 50 and len(flat) > 50:
        flat = PCA(50, random_state=seed).fit_transform(flat)
    if flat.shape[1] > 2 and len(flat) > 4:
        tsne = TSNE(2, perplexity=min(30, (len(flat) - 1) / 3), init="random", random_state=seed)
        flat = tsne.fit_transform(flat)
    elif flat.shape[1] > 2:  # too few samples for t-SNE: their first two numbers
        flat = flat[:, :2]
    elif flat.shape[1] == 1:
        flat = np.concatenate([flat, np.zeros_like(flat)], 1)
    figure = Figure(figsize=(7.2, 7.2), dpi=100, facecolor="black" if samples.ndim == 4 else "white")
    axis = figure.add_axes((0, 0, 1, 1))
    low, high = flat.min(0), flat.max(0)
    positions = (flat - low) / np.where(high > low, high - low, 1) * 0.94 + 0.03
    colours = [ACCENT] * len(flat)
    if labels is not None:
        classes = _colour_classes(labels)
        colours = [classes.get(str(label), FAINT) for label in labels[: len(flat)]]
        handles = [
            Line2D([], [], marker="o", linestyle="", color=colour, label=shorten(name, 24, placeholder=" ..."))
            for name, colour in classes.items()
        ]
        if len(set(labels.tolist())) > len(classes):
            handles.append(Line2D([], [], marker="o", linestyle="", color=FAINT, label="others"))
    if samples.ndim == 4:
        for (x, y), sample, colour in zip(positions, samples, colours, strict=False):
            extent = (x - 0.018, x + 0.018, y - 0.018, y + 0.018)
            _draw_sample(axis, sample, extent)
            if labels is not None:
                axis.add_patch(
                    Rectangle((x - 0.018, y - 0.018), 0.036, 0.036, fill=False, edgecolor=colour, linewidth=1.6)
                )
    else:
        axis.scatter(positions[:, 0], positions[:, 1], s=14, c=colours, alpha=0.7, linewidths=0)
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.set_axis_off()
    if labels is not None:
        axis.legend(handles=handles, loc="upper right", fontsize=7, framealpha=1)
    return finish(figure)


def _colour_classes(labels: NDArray[np.str_]) -> dict[str, Any]:
    """Class -> colour of the largest classes, in the order of their names."""
    names, counts = np.unique(labels, return_counts=True)
    largest = sorted(names[np.argsort(-counts, kind="stable")][:MAP_CLASSES].tolist())
    return dict(zip(largest, colormaps["tab20"].colors[::2] + colormaps["tab20"].colors[1::2], strict=False))  # type: ignore[attr-defined]


def _draw_sample(axis: Axes, sample: Array, extent: tuple[float, float, float, float] | None = None) -> None:
    """An image uint8 [H,W,C], a long vector as a curve, any other latent as a grid of coloured cells."""
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)
    if sample.dtype == np.uint8:
        image = sample[..., 0] if sample.shape[2] == 1 else sample
        axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest", extent=extent)
    elif sample.ndim == 1 and len(sample) > 64:
        axis.plot(sample, color=INK, linewidth=0.9)
    else:
        grid = _latent_grid(sample)
        limit = float(np.abs(grid).max()) or 1.0
        axis.imshow(grid, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest", aspect="auto")


def _latent_grid(latent: Array) -> Array:
    """A latent as a picture: flat numbers in rows of a near-square, channels [C,H,W] side by side."""
    if latent.ndim == 3:
        channels, height, width = latent.shape
        columns = int(np.ceil(np.sqrt(channels)))
        padded = np.zeros((columns * -(-channels // columns), height, width), latent.dtype)
        padded[:channels] = latent
        return padded.reshape(-1, columns, height, width).transpose(0, 2, 1, 3).reshape(-1, columns * width)
    flat = latent.reshape(-1)
    root = int(np.ceil(np.sqrt(len(flat))))
    columns = next((n for n in range(root, 2 * root + 1) if len(flat) % n == 0), root)  # 32 numbers: 4 rows of 8
    padded = np.zeros(columns * -(-len(flat) // columns), flat.dtype)
    padded[: len(flat)] = flat
    return padded.reshape(-1, columns)


def style_axis(axis: Axes, title: str, x: str, y: str) -> None:
    """Title and labels of the axes, in the fonts and colours of all figures."""
    axis.set_title(title, fontsize=10, color=INK)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def finish(figure: Figure) -> Drawing:
    """The figure as PNG, with the places of its words."""
    picture = encode_figure(figure, "png")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    height = figure.bbox.height
    return Drawing(picture, tuple(locate_label(text, canvas, height) for text in _find_words(figure)))


def locate_label(text: Text, canvas: FigureCanvasAgg, height: float) -> Label:
    """Where a text is on a canvas that was drawn, `height` pixels high, counted from the top left."""
    box = text.get_window_extent(canvas.get_renderer())  # type: ignore[no-untyped-call]
    return Label(
        text=text.get_text(),
        left=max(0, math.floor(box.x0)),
        top=max(0, math.floor(height - box.y1)),
        right=math.ceil(box.x1),
        bottom=math.ceil(height - box.y0),
        align=text.get_horizontalalignment(),
        turn=90 if text.get_rotation() else None,
    )


def _find_words(figure: Figure) -> Iterator[Text]:
    """Titles, legends and labels of axes and rows; not the numbers at the ticks."""
    ticks = {
        id(text)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for text in axis.findobj(Text)
        if text is not axis.label
    }
    for text in figure.findobj(Text):
        if id(text) not in ticks and text.get_visible() and any(map(str.isalpha, text.get_text())):
            yield text


def encode_figure(figure: Figure, file_format: str) -> bytes:
    """The figure's file: "png", "svg" or "pdf", the same bytes each time."""
    buffer = io.BytesIO()
    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    figure.savefig(buffer, format=file_format, metadata=metadata[file_format])
    return compress_png(buffer.getvalue()) if file_format == "png" else buffer.getvalue()


def to_webp(png: bytes) -> bytes:
    """The same pixels as lossless WebP, the same bytes each time; photographs take a fifth less than as PNG."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").save(buffer, "WEBP", lossless=True, quality=100, method=6)
    return buffer.getvalue()


def compress_png(data: bytes) -> bytes:
    """The same pixels in fewer bytes: an opaque alpha channel is dropped, and equal colours become one grey."""
    with Image.open(io.BytesIO(data)) as image:
        if image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255):
            return data
        picture = image.convert("RGB")
    red, green, blue = picture.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        picture = red
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return min(data, buffer.getvalue(), key=len)
