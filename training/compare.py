"""`autoencoder-train compare A B C`: which kind, and how large a latent? One table and one figure.

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
from service.model.package import Package
from training.engine import checkpoint
from training.errors import ComparisonError
from training.evaluation import figures
from training.export import costs
from training.export.costs import Cost

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
        ComparisonError: no package there, none that reconstructs, other data than the first, or no such format.
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
    asked = parser.parse_args(arguments)
    if asked.figure.suffix.lower() not in FORMATS:
        raise ComparisonError(f"--figure {asked.figure}: its name must end with {', '.join(FORMATS)}")
    packages = [package.read(find(folder)) for folder in asked.folders]
    _agree(packages)
    curve, rows = pca_curve(packages), [row(each) for each in packages]
    unit = packages[0].manifest.evaluation[METRIC].unit
    sys.stdout.write(table(rows))
    drawn = figures.encode_figure(figure(rows, curve, unit), asked.figure.suffix.lower()[1:])
    checkpoint.write(asked.figure, drawn, "the figure")
    sys.stdout.write(f"\n{asked.figure}: written\n")


def find(folder: Path) -> Path:
    """models/NAME/VERSION itself, the highest version of models/NAME, or the package that the run runs/NAME left."""
    folder = folder.absolute()
    if (folder / package.MANIFEST).is_file():
        return folder
    if (history := folder / "history.json").is_file():
        left = json.loads(history.read_text(encoding="utf-8")).get("package")
        if left is not None:
            return Path(left)
        raise ComparisonError(f"{folder} is a run that left no package; start it again with the same command")
    versions = [int(p.name) for p in folder.glob("*") if p.name.isdecimal() and (p / package.MANIFEST).is_file()]
    if not versions:
        raise ComparisonError(f"{folder} holds no package; give models/NAME, models/NAME/VERSION or runs/NAME")
    return folder / str(max(versions))


def row(opened: Package) -> Row:
    facts, latent = opened.manifest, _latent(opened)
    return Row(
        f"{facts.name}/{facts.version}",
        facts.kind,
        latent,
        facts.evaluation[METRIC].value,
        pca_curve([opened]).get(latent),
        costs.count_costs([opened.graphs["encoder"], opened.graphs["decoder"]]),
    )


def pca_curve(packages: Sequence[Package]) -> dict[int, float]:
    """Components -> held-out error, rising in components, from all that the manifests say."""
    known: dict[int, float] = {}
    for opened in packages:
        for name, value in opened.manifest.evaluation[METRIC].baselines.items():
            if named := re.fullmatch(r"PCA (\d+)", name):
                known[int(named[1])] = value
        known |= dict(opened.manifest.pca_error or ())
    return dict(sorted(known.items()))


def _latent(opened: Package) -> int:
    if opened.latent is None:
        raise AssertionError("This is a bug: only packages with a latent are compared")
    return int(np.prod([axis for axis in opened.latent.shape[1:] if isinstance(axis, int)]))


def _agree(packages: Sequence[Package]) -> None:
    """All reconstruct, and were trained and tested on the same samples."""
    first = packages[0].manifest
    for facts in (opened.manifest for opened in packages):
        if METRIC not in facts.evaluation:
            raise ComparisonError(f"{facts.name} does not reconstruct: it has no latent to compare")
        ours, theirs = (f.training.data.model_dump(exclude={"licence"}) for f in (facts, first))
        if ours != theirs:
            raise ComparisonError(
                f"{facts.name} was trained on other data than {first.name} "
                f"({_data(ours)}; {_data(theirs)}): their errors cannot be compared"
            )


def _data(facts: dict[str, object]) -> str:
    return "{source}, {train}/{validation}/{test} samples".format(**facts)


def table(rows: Sequence[Row]) -> str:
    """Lines for a terminal, best first."""
    cells = [("package", "kind", "latent", "error", "PCA", "of PCA's", "parameters", "MB", "multiply-adds")]
    for each in sorted(rows, key=lambda r: r.error):
        pca, share = ("", "") if each.pca is None else (f"{each.pca:.4g}", f"{each.error / each.pca:.0%}")
        cost = each.cost
        cells.append(
            (each.name, each.kind, str(each.latent), f"{each.error:.4g}", pca, share, f"{cost.parameters:,}",
             f"{cost.bytes / 1e6:.2f}", f"{cost.multiply_adds:,}")
        )  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for line in cells:
        words = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        lines.append("  ".join(words).rstrip() + "\n")
    return "".join(lines)


def figure(rows: Sequence[Row], curve: dict[int, float], unit: str) -> Figure:
    """Held-out error against the latent's size, with PCA's curve, and against multiply-adds and bytes."""
    drawn = Figure(figsize=(12, 4.2), dpi=100, facecolor="white", layout="constrained")
    by_latent, by_work, by_size = drawn.subplots(1, 3, sharey=True)
    if curve:
        by_latent.plot([*curve], [*curve.values()], "-", color=figures.FAINT, label="PCA")
        if len(curve) < 3:
            by_latent.plot([*curve], [*curve.values()], ".", color=figures.FAINT)
    for index, each in enumerate(rows):
        look = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index // len(COLOURS) % len(MARKERS)]}
        by_latent.plot(each.latent, each.error, linestyle="none", label=each.name, **look)
        by_work.plot(each.cost.multiply_adds, each.error, linestyle="none", **look)
        by_size.plot(each.cost.bytes / 1e6, each.error, linestyle="none", **look)
    figures.style_axis(by_latent, "Size of the latent", "numbers in the latent", unit)
    figures.style_axis(by_work, "Work of one sample", "multiply-adds", "")
    figures.style_axis(by_size, "Size of the package", "MB of graphs", "")
    for axis in (by_latent, by_work, by_size):
        axis.set_xscale("log")
    by_latent.set_xticks(ticks := _ticks([*curve, *(r.latent for r in rows)]), [str(t) for t in ticks])
    by_latent.minorticks_off()
    by_latent.set_ylim(bottom=0)
    drawn.legend(loc="outside lower center", ncols=min(len(rows) + bool(curve), 6), frameon=False, fontsize=8)
    return drawn


def _ticks(sizes: Sequence[int]) -> list[int]:
    """Powers of two that span `sizes`."""
    low, high = np.floor(np.log2(min(sizes))), np.ceil(np.log2(max(sizes)))
    return [int(2**n) for n in np.arange(low, high + 1)]
