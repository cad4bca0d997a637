"""`python -m benchmarks.own_data`: what `autoencoder-train --data --kind` makes of own data, beside PCA.

data sets as users have them (a folder, a CSV, IDX files) -> the command, literally -> manifest -> table

Seconds are those of the whole command; CPU seconds count all cores, and say more on a busy machine.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from training.data.public import download, idx

CLOTHES = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")

FILES = {"heartbeats": "ecg5000/ECG5000_TRAIN.csv", "mnist": "mnist", "drawings": "quickdraw/categories.npz"}
"""Sets that lie in a data folder as they are -> where."""


@dataclass(frozen=True)
class Trial:
    """One call of the command: options behind --data, --kind and --latent-dim."""

    name: str
    kind: str
    latent: int
    options: tuple[str, ...] = ()


TRIALS = (
    Trial("clothes-400", "stacked", 32),
    Trial("clothes-400", "undercomplete", 32),
    Trial("heartbeats", "undercomplete", 8, ("--set", "data.label_column=0")),
    Trial("heartbeats", "stacked", 32, ("--set", "data.label_column=0")),
    Trial("photographs-120", "undercomplete", 32, ("--set", "data.size=64")),
    Trial("photographs-120", "stacked", 32, ("--set", "data.size=64")),
    Trial("fashion-mnist", "undercomplete", 32),
    Trial("fashion-mnist", "stacked", 32),
    Trial("mnist", "undercomplete", 32),
    Trial("mnist", "stacked", 32),
    Trial("drawings", "undercomplete", 32),
    Trial("drawings", "stacked", 32),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.own_data", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clothes", type=Path, help="a folder with Fashion-MNIST's IDX files")
    parser.add_argument("--out", type=Path, default=Path("build/own-data"), help="(default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="sets, or set/kind; default: all whose data are here")
    asked = parser.parse_args(arguments)
    rows = []
    for trial in TRIALS:
        if asked.only and not {trial.name, f"{trial.name}/{trial.kind}"} & set(asked.only):
            continue
        source = prepare(trial.name, asked.clothes, asked.out / "data")
        if source is None:
            print(f"{trial.name}: its data are not here", file=sys.stderr)
            continue
        rows.append(run(trial, source, asked.out))
        print(format_table(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    print(format_table(rows))
    return 0


def prepare(name: str, clothes: Path | None, folder: Path) -> Path | None:
    """Where the set lies, made if it has to be; None without its source."""
    if name in FILES:
        return _find(FILES[name])
    if name == "photographs-120":
        return _choose_photographs(folder / name)
    if clothes is None:
        return None
    return clothes if name == "fashion-mnist" else _draw_clothes(clothes, folder / name)


def _find(name: str) -> Path | None:
    return next((path for path in (folder / name for folder in download.data_folders()) if path.exists()), None)


def _draw_clothes(source: Path, folder: Path) -> Path:
    """The first 400 training pictures as PNG, in a subfolder for each class."""
    images = idx.read_images(idx.find_file(source, "train-images*idx3*"))
    labels = idx.read_labels(idx.find_file(source, "train-labels*idx1*"))
    for index, (image, label) in enumerate(zip(images[:400], labels[:400], strict=True)):
        path = folder / CLOTHES[label] / f"{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(image)).save(path)
    return folder


def _choose_photographs(folder: Path) -> Path | None:
    """Every third of the free photographs, 120 of them, in colour."""
    source = _find("photos-free")
    if source is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.rglob("*.jpg"))[::3][:120]:
        shutil.copyfile(path, folder / path.name)
    return folder


def run(trial: Trial, source: Path, out: Path) -> dict[str, str]:
    """The command as a user types it; a row of the table."""
    model = f"{trial.name}-{trial.kind}"
    command = [
        *(sys.executable, "-m", "training", "--data", str(source), "--kind", trial.kind),
        *("--latent-dim", str(trial.latent), *trial.options),
        *("--out", str(out / "models" / model), "--runs", str(out / "runs"), "--fresh"),
    ]
    start, before = time.monotonic(), os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.monotonic() - start, os.times()
    cpu = sum(getattr(after, name) - getattr(before, name) for name in ("children_user", "children_system"))
    newest = max((out / "models" / model).iterdir(), key=lambda path: int(path.name) if path.name.isdigit() else -1)
    manifest = json.loads((newest / "manifest.json").read_text())
    metric = manifest["evaluation"]["reconstruction_mse"]
    pca = min(value for name, value in metric["baselines"].items() if name.startswith("PCA"))
    neighbours = manifest["evaluation"].get("nearest_neighbour_accuracy")
    return {
        "data": trial.name,
        "kind": trial.kind,
        "training samples": f"{manifest['training']['data']['train']:,}",
        "latent": str(trial.latent),
        "mean": f"{metric['baselines']['mean of train']:.4f}",
        "PCA": f"{pca:.4f}",
        "model": f"{metric['value']:.4f}",
        "of PCA's": f"{metric['value'] / pca:.3f}",
        "nearest neighbour": "" if neighbours is None else f"{neighbours['value']:.3f}",
        "seconds": f"{seconds:.0f}",
        "CPU seconds": f"{cpu:.0f}",
    }


def format_table(rows: Sequence[dict[str, str]]) -> str:
    """Markdown."""
    if not rows:
        return ""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return "\n".join([*lines, *("| " + " | ".join(row.values()) + " |" for row in rows)])


if __name__ == "__main__":
    sys.exit(main())
