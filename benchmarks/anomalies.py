"""`python -m benchmarks.anomalies`: finding what is unusual by autoencoders, PCA, isolation forest, one-class SVM.

drawings (cats; 16 other categories) | ECG5000 (class 1; others) | NAB (windows of series)
  -> fit on normal samples alone -> score of each test sample, higher is more unusual -> AUROC -> table, JSON

AUROC is the share of pairs of an anomaly and a normal sample whose scores stand in the right order: 0.5 is a coin. The
relative error is the reconstruction error divided by the sample's mean square, its energy. On
drawings the number of PCA's components is chosen on validation; all else was fixed beforehand. Test is scored once.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import OneClassSVM

from service.model import package
from service.model.manifest import Data, Metric, ScoreFile, Training
from service.model.measures import scores
from service.model.runtime import Model
from training import compare
from training.architectures.autoencoder import Autoencoder
from training.data.datasets import Dataset
from training.data.public.download import data_folders
from training.evaluation import scores as choice
from training.evaluation.autoencoders import reconstruct
from training.export import graphs
from training.export.package import build_manifest, describe_columns
from training.recipe import AutoencoderRecipe
from training.train_autoencoder import train

Array = NDArray[Any]
Score = Callable[[Array], Array]
"""samples float64 [N,D] -> how unusual each is, [N]"""

CATS = ("cats-undercomplete", "cats-stacked", "cats-convolutional")
COMPONENTS = (8, 16, 32, 64, 128)
WINDOW = 32  # NAB: records of a window, which is scored at its last
LEARNED = 750  # NAB: at most so many records, and 15 %, are the part that is learned from


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.anomalies", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=Path, default=Path("models"), help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/anomalies.json"), help="(default: %(default)s)")
    asked = parser.parse_args(arguments)
    data = next((folder for folder in data_folders() if (folder / "nab").is_dir()), None)
    if data is None:
        sys.stderr.write("benchmarks.anomalies: no data folder with quickdraw, ecg5000 and nab; set AUTOENCODER_DATA\n")
        return 2
    found = {
        "drawings": drawings(data / "quickdraw", asked.models),
        "ECG5000": ecg(data / "ecg5000" / "ECG5000_TRAIN.csv"),
        "NAB": nab(data / "nab"),
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(found, indent=1))
    print("\n\n".join(f"{name}\n\n{table(rows)}" for name, rows in found.items()))
    return 0


Found = dict[str, dict[str, float]]
"""method -> what is told apart -> AUROC on test"""


def drawings(folder: Path, models: Path) -> Found:
    """Cats against each other category; the shipped packages, and others fitted on the same training cats."""
    with np.load(folder / "cats.npz") as file:
        cats = [_flat(file["images"][file["split"] == number]) for number in (0, 1, 2)]
    with np.load(folder / "categories.npz") as file:
        names = [str(name) for name in file["names"]]
        others = [
            {
                name: _flat(file["images"][(file["labels"] == label) & (file["split"] == number)])
                for label, name in enumerate(names)
                if name not in ("cat", "cats")
            }
            for number in (0, 1, 2)
        ]

    def on_validation(score: Score) -> float:
        return float(np.mean([*against(score, cats[1], others[1]).values()]))

    methods: dict[str, Score] = {}
    for name in CATS:
        opened = Model(package.read(compare.find_package(models / name)), "cpu")
        methods |= both(name, lambda x, m=opened: _flat(m.reconstruct(_drawn(x)).output))  # type: ignore[misc]
        methods[f"{name}, its score {opened.score_name}"] = lambda x, m=opened: _package_score(m, _drawn(x))  # type: ignore[misc]
    fitted = [both(f"PCA {n}", _pca(cats[0], n)) for n in COMPONENTS]
    for kind in ("raw", "relative"):
        candidates = {n: s for pair in fitted for n, s in pair.items() if n.endswith(kind)}
        best = max(candidates, key=lambda n: on_validation(candidates[n]))
        methods[best] = candidates[best]
    methods |= classical(cats[0])
    return {name: against(score, cats[2], others[2]) for name, score in methods.items()}


def ecg(path: Path) -> Found:
    """Learned from the first 200 heartbeats of class 1; all other rows are test, anomalies those of other classes."""
    rows = np.loadtxt(path, delimiter=",")
    normal, other = rows[rows[:, 0] == 1, 1:], rows[rows[:, 0] != 1, 1:]
    methods = learned(normal[:200], 200)
    return {name: against(score, normal[200:], {"other classes": other}) for name, score in methods.items()}


def nab(folder: Path) -> Found:
    """The first 15 % of a series (at most 750 records) are learned from; then labelled windows are anomalies."""
    windows = json.loads((folder / "anomaly_windows.json").read_text())
    found: Found = {}
    for file in sorted(folder.glob("*.csv")):
        table = np.genfromtxt(file, delimiter=",", skip_header=1, dtype=None, encoding="utf-8")
        times, values = (np.array([row[column] for row in table]) for column in (0, 1))
        labelled = next(spans for name, spans in windows.items() if Path(name).name == file.name)
        start = min(int(0.15 * len(values)), LEARNED)
        unusual = np.zeros(len(values), bool)
        for begin, end in labelled:
            unusual |= (times >= begin[:19]) & (times <= end[:19])
        scaled = (values - values[:start].mean()) / (values[:start].std() or 1)
        series = np.lib.stride_tricks.sliding_window_view(scaled.astype(float), WINDOW)
        first = start - WINDOW + 1  # windows that end within what is learned from
        for name, score in learned(np.ascontiguousarray(series[:first]), 100).items():
            scored, truth = score(np.ascontiguousarray(series[first:])), unusual[start:]
            found.setdefault(name, {})[file.stem] = float(roc_auc_score(truth, scored))
    return found


def learned(normal: Array, epochs: int) -> dict[str, Score]:
    """Every method fitted on `normal` [N,D]; autoencoder and PCA leave an eighth of D."""
    size = max(2, normal.shape[1] // 8)
    reconstructed, chosen = _autoencoder(normal, size, epochs)
    methods = {**both("autoencoder", reconstructed), **chosen, **both("PCA", _pca(normal, size))}
    return methods | classical(normal)


def classical(normal: Array) -> dict[str, Score]:
    """Isolation forest (Liu et al. 2008) and one-class SVM (Schölkopf et al. 2001), scikit-learn's usual settings."""
    forest = IsolationForest(n_estimators=200, random_state=0).fit(normal)
    machine = OneClassSVM(nu=0.1, gamma="scale").fit(normal)
    return {
        "isolation forest": lambda x: -forest.score_samples(x),
        "one-class SVM": lambda x: -machine.score_samples(x),
        "nearest neighbours": neighbours(normal),
    }


def neighbours(normal: Array) -> Score:
    """Mean distance to the five nearest training samples (Ramaswamy et al. 2000)."""
    searched = NearestNeighbors(n_neighbors=5).fit(normal)
    return lambda x: np.asarray(searched.kneighbors(x)[0].mean(axis=1))


def both(name: str, reconstructed: Callable[[Array], Array]) -> dict[str, Score]:
    """The reconstruction error as it is, and divided by the sample's mean square."""

    def raw(x: Array) -> Array:
        return np.asarray(((x - reconstructed(x)) ** 2).mean(1))

    return {f"{name}, raw": raw, f"{name}, relative": lambda x: raw(x) / np.maximum((x**2).mean(1), 1e-6)}


def against(score: Score, normal: Array, others: Mapping[str, Array]) -> dict[str, float]:
    """AUROC of telling `normal` from each of `others`."""
    usual = score(normal)
    found = {}
    for name, samples in others.items():
        scored = np.concatenate([usual, score(samples)])
        truth = np.repeat([0, 1], [len(usual), len(samples)])
        found[name] = float(roc_auc_score(truth, scored))
    return found


def table(found: Found) -> str:
    """Markdown: a row for each method, the mean first."""
    columns = list(next(iter(found.values())))
    several = len(columns) > 1
    heads = [*(["mean", "least"] if several else []), *columns]
    lines = ["| AUROC on test | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for name, row in found.items():
        values = [row[column] for column in columns]
        shown = [*([float(np.mean(values)), min(values)] if several else []), *values]
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in shown) + " |")
    return "\n".join(lines)


def _pca(normal: Array, components: int) -> Callable[[Array], Array]:
    fitted = PCA(components, random_state=0).fit(normal)
    return lambda x: np.asarray(fitted.inverse_transform(fitted.transform(x)))


def _autoencoder(normal: Array, latent: int, epochs: int) -> tuple[Callable[[Array], Array], dict[str, Score]]:
    """A small dense denoiser, and its score; the last fifth of `normal` chooses its best epoch and the score."""
    samples = normal.astype(np.float32)
    held = len(samples) // 5
    data = Dataset("normal samples", "", samples[:-held], samples[-held:], samples[-held:])
    document = {
        "name": "small",
        "kind": "denoising",
        "description": "Small.",
        "data": {"source": "normal"},
        "corruption": [{"kind": "gaussian", "level": (0.0, 0.3)}],
        "architecture": {"type": "dense", "hidden": [64], "latent_dim": latent, "activation": "silu"},
        "optimization": {"epochs": epochs, "batch_size": 32, "learning_rate": 2e-3, "schedule": "cosine"},
    }
    with tempfile.TemporaryDirectory() as folder:
        trained = train(AutoencoderRecipe.model_validate(document), data, Path(folder), torch.device("cpu")).network
    model = _export(trained, data)
    entry, file = choice.choose(model, data.train, data.validation, data.validation)
    chosen = replace_score(model, entry, file)
    sys.stderr.write(f"score {entry.name}: {entry.auroc}\n")
    return (
        lambda x: reconstruct(trained, x.astype(np.float32)).astype(float),
        {"autoencoder, its score": lambda x: _package_score(chosen, x)},
    )


def _export(trained: Autoencoder, data: Dataset) -> Model:
    """The autoencoder as the service runs it."""
    onnx_graphs = graphs.export_autoencoder(trained, data.train, "float32")
    held_out = Data(source="normal", licence="", train=len(data.train), validation=0, test=len(data.test))
    versions: dict[str, str] = {}
    origin = Training(
        recipe="small", recipe_sha256="0" * 64, data=held_out, seed=0, date="", code_revision="", versions=versions
    )
    facts = build_manifest(
        "small", 1, "denoising", "Small.", onnx_graphs, origin,
        {"reconstruction_mse": Metric(value=0, unit="none", split="validation")},
        reconstruction_errors=np.zeros(1), columns=describe_columns(trained.units, None),
    )  # fmt: skip
    return Model(package.verify(facts, onnx_graphs, label="small/1"), "cpu")


def replace_score(model: Model, entry: ScoreFile, file: bytes) -> Model:
    """The model, with that score."""
    model.score = scores.read(entry, file, model.sample.shape[1:], model.latent_size)
    return model


def _package_score(model: Model, samples: Array) -> Array:
    """The score of a package, of samples as stored; of one without a score the error."""
    pathway = choice.trace(model, samples)
    return pathway.error if model.score is None else model.score.compute(pathway)


def _flat(images: Array) -> Array:
    """uint8 [N,28,28(,1)] -> float64 [N,784] in 0..1."""
    return images.reshape(len(images), -1) / 255.0


def _drawn(x: Array) -> NDArray[np.uint8]:
    return np.asarray(np.rint(x * 255), np.uint8).reshape(-1, 28, 28, 1)


if __name__ == "__main__":
    sys.exit(main())
