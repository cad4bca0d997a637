"""Comparison of packages, `autoencoder-train compare A B C`: which kind, and how large a latent? A table and a figure.

folders -> package.read -> Row: held-out error beside PCA's, and cost -> table | figure

Errors are those in the manifests, measured on the test split at export; costs are counted in the graphs.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from service.model import package
from service.model.manifest import Manifest
from service.model.package import Package
from training.engine import checkpoint
from training.errors import ComparisonError
from training.evaluation import figures
from training.export.costs import Cost, count_costs

FORMATS = (".png", ".svg", ".pdf")
METRIC = "reconstruction_mse"
COLOURS = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#a16207", "#0e7490", "#be185d", "#374151")
MARKERS = "osD^vP*X"


@dataclass(frozen=True)
class Row:
    """One package: `error` and `pca` in the units of the metric; `pca` is None where the manifest does not say it."""

    name: str
    kind: str
    latent: int
    error: float
    pca: float | None
    cost: Cost


def main(arguments: Sequence[str]) -> None:
    """Print the table, write the figure.

    Raises:
        ComparisonError: no package in a folder, none that reconstructs, other data than the first, or no such format.
        PackageError: a package that cannot be read.
        DiskError: the figure cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog="autoencoder-train compare",
        description="Packages trained on the same data, beside each other and PCA: one table, one figure.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="models/NAME[/VERSION] or runs/NAME")
    parser.add_argument(
        "--figure", type=Path, default=Path("comparison.png"), help="default: %(default)s; or .svg, .pdf"
    )
    options = parser.parse_args(arguments)
    suffix = options.figure.suffix.lower()
    if suffix not in FORMATS:
        raise ComparisonError(f"--figure {options.figure}: its name must end with {', '.join(FORMATS)}")
    packages = [package.read(find_package(folder)) for folder in options.folders]
    _check_comparable(packages)
    curve, rows = pca_curve(packages), [make_row(entry) for entry in packages]
    unit = packages[0].manifest.evaluation[METRIC].unit
    sys.stdout.write(format_table(rows))
    image = figures.encode_figure(draw_figure(rows, curve, unit), suffix[1:])
    checkpoint.write_atomically(options.figure, image, "the figure")
    sys.stdout.write(f"\n{options.figure}: written\n")


def find_package(folder: Path) -> Path:
    """The directory of a package: models/NAME/VERSION itself, the highest version of models/NAME, or runs/NAME's.

    Raises:
        ComparisonError: there is none.
    """
    folder = folder.absolute()
    if (folder / package.MANIFEST).is_file():
        return folder
    if (history := folder / "history.json").is_file():
        try:
            directory = json.loads(history.read_bytes()).get("package")
        except (OSError, ValueError, RecursionError, AttributeError) as error:
            raise ComparisonError(f"{history} is damaged; give the package's folder, models/NAME/VERSION") from error
        if isinstance(directory, str):
            return Path(directory)
        raise ComparisonError(f"{folder} is a run that left no package; start it again with the same command")
    versions = [int(p.name) for p in folder.glob("*") if p.name.isdecimal() and (p / package.MANIFEST).is_file()]
    if not versions:
        raise ComparisonError(f"{folder} holds no package; give models/NAME, models/NAME/VERSION or runs/NAME")
    return folder / str(max(versions))


def make_row(entry: Package) -> Row:
    """The row of one package."""
    facts, latent = entry.manifest, _latent_size(entry)
    return Row(
        facts.key,
        facts.kind,
        latent,
        facts.evaluation[METRIC].value,
        pca_curve([entry]).get(latent),
        count_costs([entry.graphs["encoder"], entry.graphs["decoder"]]),
    )


def pca_curve(packages: Sequence[Package]) -> dict[int, float]:
    """Components -> held-out error, rising in components, from all that the manifests say."""
    errors: dict[int, float] = {}
    for entry in packages:
        for name, value in entry.manifest.evaluation[METRIC].baselines.items():
            if match := re.fullmatch(r"PCA (\d+)", name):
                errors[int(match[1])] = value
        errors |= dict(entry.manifest.pca_error or ())
    return dict(sorted(errors.items()))


def _latent_size(entry: Package) -> int:
    """How many numbers the latent holds."""
    if entry.latent is None:
        raise AssertionError("This is a bug: only packages with a latent are compared")
    return int(np.prod([axis for axis in entry.latent.shape[1:] if isinstance(axis, int)]))


def _check_comparable(packages: Sequence[Package]) -> None:
    """ComparisonError unless all reconstruct, and were trained and tested on the same samples."""
    reference = packages[0].manifest
    reference_data = _training_data(reference)
    for facts in (entry.manifest for entry in packages):
        if METRIC not in facts.evaluation:
            raise ComparisonError(f"{facts.name} does not reconstruct: it has no latent to compare")
        data = _training_data(facts)
        if data != reference_data:
            raise ComparisonError(
                f"{facts.name} was trained on other data than {reference.name} "
                f"({_describe_data(data)}; {_describe_data(reference_data)}): their errors cannot be compared"
            )


def _training_data(facts: Manifest) -> dict[str, object]:
    """Source and sizes of the splits; ComparisonError for an imported package."""
    if facts.training is None:
        raise ComparisonError(
            f"{facts.name} was imported: what it was trained on is not known, so its error cannot be compared"
        )
    return facts.training.data.model_dump(exclude={"licence"})


def _describe_data(data: dict[str, object]) -> str:
    return "{source}, {train}/{validation}/{test} samples".format(**data)


def format_table(rows: Sequence[Row]) -> str:
    """Lines for a terminal, best first."""
    cells = [("package", "kind", "latent", "error", "PCA", "of PCA's", "parameters", "MB", "multiply-adds")]
    for row in sorted(rows, key=lambda row: row.error):
        pca, share = ("", "") if row.pca is None else (f"{row.pca:.4g}", f"{row.error / row.pca:.0%}")
        cost = row.cost
        cells.append(
            (row.name, row.kind, str(row.latent), f"{row.error:.4g}", pca, share, f"{cost.parameters:,}",
             f"{cost.bytes / 1e6:.2f}", f"{cost.multiply_adds:,}")
        )  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for line in cells:
        padded = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        lines.append("  ".join(padded).rstrip() + "\n")
    return "".join(lines)


def draw_figure(rows: Sequence[Row], curve: dict[int, float], unit: str) -> Figure:
    """Held-out error against the latent's size, with PCA's curve, and against multiply-adds and bytes."""
    figure = Figure(figsize=(12, 4.2), dpi=100, facecolor="white", layout="constrained")
    latent_axis, work_axis, size_axis = figure.subplots(1, 3, sharey=True)
    if curve:
        latent_axis.plot([*curve], [*curve.values()], "-", color=figures.FAINT, label="PCA")
        if len(curve) < 3:
            latent_axis.plot([*curve], [*curve.values()], ".", color=figures.FAINT)
    for index, row in enumerate(rows):
        style = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index // len(COLOURS) % len(MARKERS)]}
        latent_axis.plot(row.latent, row.error, linestyle="none", label=row.name, **style)
        work_axis.plot(row.cost.multiply_adds, row.error, linestyle="none", **style)
        size_axis.plot(row.cost.bytes / 1e6, row.error, linestyle="none", **style)
    figures.style_axis(latent_axis, "Size of the latent", "numbers in the latent", unit)
    figures.style_axis(work_axis, "Work of one sample", "multiply-adds", "")
    figures.style_axis(size_axis, "Size of the package", "MB of graphs", "")
    for axis in (latent_axis, work_axis, size_axis):
        axis.set_xscale("log")
    ticks = _powers_of_two([*curve, *(row.latent for row in rows)])
    latent_axis.set_xticks(ticks, [str(tick) for tick in ticks])
    latent_axis.minorticks_off()
    latent_axis.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=min(len(rows) + bool(curve), 6), frameon=False, fontsize=8)
    return figure


def _powers_of_two(sizes: Sequence[int]) -> list[int]:
    """Powers of two that span `sizes`."""
    low, high = np.floor(np.log2(min(sizes))), np.ceil(np.log2(max(sizes)))
    return [int(2**n) for n in np.arange(low, high + 1)]
