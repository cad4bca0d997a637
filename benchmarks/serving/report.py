"""The table of one row, and the plot of all."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

INK, OURS, OTHER = "#1f2430", "#2a6fdb", "#b9c0cc"


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
    """Bars of every row at its middle concurrency, as shares of the best."""
    shown = result["rows"]
    figure, axes = plt.subplots(1, len(shown), figsize=(3.1 * len(shown), 3.4), squeeze=False, layout="constrained")
    for axis, row in zip(axes[0], shown, strict=True):
        clients = list(next(iter(row["servers"].values())))
        at = clients[min(1, len(clients) - 1)]
        rates = {name: found[at]["rate"] for name, found in row["servers"].items()}
        names = list(rates)[::-1]
        bars = axis.barh(names, [rates[n] for n in names], color=[OURS if n == "ours" else OTHER for n in names])
        axis.bar_label(
            bars, [f"{rates[n]:,.0f}" if rates[n] >= 10 else f"{rates[n]:.1f}" for n in names], padding=3, fontsize=8
        )
        axis.set_title(f"{row['row']}\n{at} clients", fontsize=9, color=INK)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.set_xticks([])
        axis.margins(x=0.25)
        axis.tick_params(axis="y", length=0, labelsize=8)
    figure.suptitle("requests a second", fontsize=9, color=INK)
    figure.savefig(file, dpi=110)
    plt.close(figure)
