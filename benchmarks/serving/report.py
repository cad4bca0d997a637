"""The table of one row, and the plot of all."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

INK, OURS, OTHER = "#1f2430", "#2a6fdb", "#b9c0cc"
HTTP_FLOOR = "HTTP floor"


def table(row: dict[str, Any]) -> str:
    """Requests a second, beside ours; errors and p99 where a person looks for them."""
    clients = list(next(iter(row["servers"].values())))
    lines = [f"\n{row['row']}   (work alone: {row['work floor']:.1f}/s)"]
    lines.append(
        f"{'':18}" + "".join(f"{f'c={c}':>12}{'p99 ms':>9}{'/ours':>7}" for c in clients) + f"{'MiB':>8}{'errors':>8}"
    )
    for name, found in row["servers"].items():
        cells = ""
        for c in clients:
            at = found[c]
            ratio = at["rate"] / max(1e-9, row["servers"]["ours"][c]["rate"])
            cells += f"{at['rate']:12.1f}{at['p99'] * 1e3:9.1f}{ratio:7.2f}"
        errors = sum(at["errors"] for at in found.values())
        lines.append(f"{name:18}{cells}{row['memory'].get(name, 0) / 2**20:8.0f}{errors:8d}")
    return "\n".join(lines)


def plot(result: dict[str, Any], file: Path) -> None:
    """Bars of every row at its middle concurrency, in requests a second; lines for the floors that are in sight."""
    shown = result["rows"]
    columns = min(3, len(shown))
    figure, axes = plt.subplots(
        -(-len(shown) // columns), columns, figsize=(3.6 * columns, 6), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(shown) :]:
        axis.set_axis_off()
    for axis, row in zip(axes.flat, shown, strict=False):
        clients = list(next(iter(row["servers"].values())))
        at = clients[min(1, len(clients) - 1)]
        rates = {name: found[at]["rate"] for name, found in row["servers"].items()}
        floors = {"work alone": row["work floor"], HTTP_FLOOR: rates.pop(HTTP_FLOOR, 0.0)}
        names = list(rates)[::-1]
        bars = axis.barh(names, [rates[n] for n in names], color=[OURS if n == "ours" else OTHER for n in names])
        axis.bar_label(
            bars, [f"{rates[n]:,.0f}" if rates[n] >= 10 else f"{rates[n]:.1f}" for n in names], padding=3, fontsize=8
        )
        axis.set_title(f"{row['row']}, {at} clients", fontsize=9, color=INK, loc="left")
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.set_xticks([])
        axis.margins(x=0.25)
        axis.tick_params(axis="y", length=0, labelsize=8)
        for name, rate in floors.items():
            if 0 < rate < 4 * max(rates.values()):
                axis.axvline(rate, color=INK, linewidth=0.8, linestyle="--" if name == HTTP_FLOOR else ":", zorder=0)
                box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
                axis.text(
                    rate,
                    0.02,
                    f"{name} {rate:,.0f}",
                    fontsize=7,
                    color=INK,
                    rotation=90,
                    ha="center",
                    bbox=box,
                    zorder=0.5,
                    transform=axis.get_xaxis_transform(),
                )
    figure.suptitle("Requests a second", fontsize=10, color=INK)
    figure.savefig(file, dpi=110)
    plt.close(figure)
