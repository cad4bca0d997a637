"""`python -m benchmarks.pretraining`: what greedy layer-wise pretraining still buys, and when.

recipe digits-deep -> {sigmoid, SiLU, SiLU + batch norm} x {without, with pretraining} x passes x seeds -> table

The paper's units (Hinton & Salakhutdinov, Science 313, 2006) are logistic in every layer but for a linear latent. Its
pretraining is a stack of Boltzmann machines; here each layer is an autoencoder of its own (Bengio et al., NIPS 2006).
Errors are squared errors per image of the validation split; test is never looked at. The first seed tries both learning
rates, the others take the better one. Passes are those of fine-tuning; pretraining has its own passes on top.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from training import recipe
from training.data import datasets
from training.data.datasets import Dataset
from training.train_autoencoder import train

Found = dict[str, dict[str, list[float]]]
"""units | passes | pretraining's passes -> learning rate -> error of each seed"""

UNITS: Mapping[str, Mapping[str, Any]] = {
    "sigmoid": {"architecture.activation": "sigmoid", "architecture.batch_norm": False},
    "SiLU": {"architecture.activation": "silu", "architecture.batch_norm": False},
    "SiLU + batch norm": {"architecture.activation": "silu", "architecture.batch_norm": True},
}
RATES = (5e-4, 2e-3)
PLAIN: Mapping[str, Any] = {"augmentation": {}, "weights": "float32", "optimization.batch_size": 128}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pretraining", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--passes", type=int, nargs="+", default=[5, 20], help="of fine-tuning (default: %(default)s)")
    parser.add_argument("--pretraining", type=int, default=4, help="passes over each layer (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--samples", type=int, default=20_000, help="training images (default: %(default)s)")
    parser.add_argument("--units", nargs="+", choices=[*UNITS], default=[*UNITS])
    parser.add_argument("--out", type=Path, default=Path("build/pretraining.json"), help="(default: %(default)s)")
    asked = parser.parse_args(arguments)
    whole = datasets.load(recipe.load_autoencoder("digits-deep").data)
    data = replace(whole, train=whole.train[: asked.samples])
    found: Found = json.loads(asked.out.read_text()) if asked.out.is_file() else {}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    for passes, units, epochs, seed in itertools.product(
        asked.passes, asked.units, (0, asked.pretraining), range(asked.seeds)
    ):
        tried = found.setdefault(f"{units} | {passes} | {epochs}", {})
        for rate in RATES if seed == 0 else [float(_better(tried))]:
            errors = tried.setdefault(f"{rate:g}", [])
            if len(errors) == seed:  # else it is there from a run before
                errors.append(error(data, units, passes, epochs, rate, seed))
                sys.stderr.write(f"{units} | {passes} | {epochs} | rate {rate:g} | seed {seed}: {errors[-1]:.2f}\n")
                asked.out.write_text(json.dumps(found, indent=1))
    print(table(found))
    return 0


def error(data: Dataset, units: str, passes: int, pretraining: int, rate: float, seed: int) -> float:
    """Squared error per validation image after training once."""
    changes = {**PLAIN, **UNITS[units], "seed": seed, "optimization.epochs": passes, "optimization.learning_rate": rate}
    if pretraining:
        changes["pretraining"] = {"epochs": pretraining, "batch_size": 128, "learning_rate": 1e-3}
    with tempfile.TemporaryDirectory() as folder:
        history = train(
            recipe.load_autoencoder("digits-deep", changes), data, Path(folder), torch.device("cpu")
        ).history
    return float(history.validation[history.best]) * int(data.train[0].size)


def _better(tried: Mapping[str, list[float]]) -> str:
    """The learning rate whose first seed ended lower."""
    return min(tried, key=lambda rate: tried[rate][0])


def table(found: Found) -> str:
    """Markdown: a row for each kind of units and passes; the mean over seeds at the better rate, and their range."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for key, tried in found.items():
        units, passes, pretraining = key.split(" | ")
        rate = _better(tried)
        errors = tried[rate]
        cell = f"{statistics.mean(errors):.2f} ({min(errors):.2f} to {max(errors):.2f}; rate {rate})"
        rows.setdefault((units, passes), {})[pretraining] = cell
    columns = sorted({column for row in rows.values() for column in row}, key=int)
    heads = [f"pretrained, {c} passes a layer" if int(c) else "not pretrained" for c in columns]
    lines = ["| units | passes | " + " | ".join(heads) + " |", "|---|---|" + "---|" * len(columns)]
    for (units, passes), row in rows.items():
        lines.append(f"| {units} | {passes} | " + " | ".join(row.get(c, "") for c in columns) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
