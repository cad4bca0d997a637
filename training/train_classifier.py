"""`autoencoder-train classify RECIPE`: is a trained encoder a better start of a classifier than random weights?

recipe -> autoencoder (trained, or resumed from its checkpoint) -> encoder.safetensors
       -> labels x {random, frozen, fine-tuned} x seeds -> error on test -> table, report.json, [curve.png]
       -> the one of least validation error -> classifier.onnx, in parity with torch
"""

import argparse
import copy
import itertools
import json
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from service.model import package
from training import compare, train_autoencoder
from training.architectures import autoencoder as architectures
from training.architectures.autoencoder import Autoencoder
from training.architectures.classifier import Classifier
from training.data import labels
from training.data.labels import LabelledDataset
from training.engine import checkpoint
from training.engine.loop import History, count_steps, fit
from training.errors import DataError, RecipeError
from training.evaluation import autoencoders, figures
from training.export import package as export
from training.recipe import Classification, Recipe, Start


@dataclass(frozen=True)
class Outcome:
    """One classifier: how it started, and the share of wrong answers. `labels` of each class; 0: all there are."""

    start: Start
    labels: int
    seed: int
    validation: float
    test: float | None


def main(asked: argparse.Namespace, recipe: Recipe, device: torch.device) -> None:
    """Train, print the table, leave report.json, encoder.safetensors, classifier.onnx in the folder --out.

    Raises:
        RecipeError: the recipe has no section [classification], or --encoder does not fit it.
        DataError: the data has no labels.
        ParityError: the exported classifier does not answer as torch does; it is not written.
        DiskError: a file could not be written.
    """
    plan = recipe.classification
    if plan is None:
        raise RecipeError(f"recipe {recipe.name} has no section [classification]: it says nothing of classifiers")
    data = labels.load(recipe.data)
    folder = Path(asked.runs) / recipe.name
    autoencoder = (
        train_autoencoder.train(recipe, data.dataset, folder, device).autoencoder
        if asked.encoder is None
        else read(recipe, data, asked.encoder)
    )
    out = Path(asked.out or Path("classifiers") / recipe.name)
    weights = stored(autoencoder, recipe)
    checkpoint.write(out / "encoder.safetensors", weights, "the encoder's weights")
    fingerprint = f"{recipe.digest} {plan.model_dump_json()} {data.dataset.digest} {package.sha256(weights)}"
    outcomes: list[Outcome] = []
    best: tuple[float, Classifier] | None = None
    for each, start, seed in itertools.product(plan.labels or (0,), plan.starts, range(plan.seeds)):
        trained, outcome = fit_one(
            recipe, plan, data, autoencoder, start, each, seed, folder, fingerprint, device, test=not asked.tune
        )
        outcomes.append(outcome)
        if best is None or outcome.validation < best[0]:
            best = (outcome.validation, trained)
        report = {"recipe": recipe.name, "classes": data.names, "outcomes": [vars(o) for o in outcomes]}
        checkpoint.write(out / "report.json", json.dumps(report, indent=1).encode(), "the report")
    sys.stdout.write(table(outcomes, len(data.test)))
    if best is not None and not asked.tune:
        graph, difference = export.classifier(
            best[1].cpu(), data.dataset.test, predict_probabilities(best[1], data.dataset.test)
        )
        checkpoint.write(out / "classifier.onnx", graph, "the classifier")
        if len(plan.labels) > 1:
            drawn = figures.encode_figure(figure(outcomes), "png")
            checkpoint.write(out / "curve.png", drawn, "the curve")
        sys.stdout.write(
            f"\n{out}: written; onnxruntime and torch differ by at most {difference:.2g} on the test split\n"
        )


def fit_one(
    recipe: Recipe, plan: Classification, data: LabelledDataset, autoencoder: Autoencoder, start: Start, each: int,
    seed: int, folder: Path, fingerprint: str, device: torch.device, *, test: bool,
) -> tuple[Classifier, Outcome]:  # fmt: skip
    """Fit and measure one classifier; `seed` decides its initial weights, which labels it has, and their order."""
    generator = np.random.default_rng(seed)
    sets = data.dataset
    train, held_out = np.arange(len(data.train)), np.arange(len(data.validation))
    if each:  # who has few labels has few to choose by, too
        train, held_out = (labels.sample_per_class(known, each, generator) for known in (data.train, data.validation))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = (
            architectures.build(recipe.architecture, sets.train) if start == "random" else copy.deepcopy(autoencoder)
        )
        latent = autoencoders.latent_size(first, sets)
        module = Classifier(first, latent, len(data.names), plan, frozen=start == "frozen").to(device)
    name = f"{start}, {each or 'all'} labels, seed {seed}"
    history = fit_classifier(
        module,
        (sets.train[train], data.train[train]),
        (sets.validation[held_out], data.validation[held_out]),
        plan,
        seed=seed,
        file=folder / "classifier" / f"{start}-{each}-{seed}.pt",
        fingerprint=f"{fingerprint} {start} {each} {seed}",
        title=name,
    )
    wrong = wrong_share(module, sets.test, data.test) if test else None
    return module, Outcome(start, each, seed, history.validation[history.best], wrong)


def wrong_share(module: Classifier, samples: np.ndarray, truth: labels.Labels) -> float:
    return float((predict_probabilities(module, samples).argmax(1) != truth).mean())


def fit_classifier(
    classifier: Classifier,
    train: tuple[NDArray[np.generic], labels.Labels],
    validation: tuple[NDArray[np.generic], labels.Labels],
    plan: Classification,
    *,
    seed: int,
    file: Path,
    fingerprint: str,
    title: str,
) -> History:
    """Fit in place on samples as stored and their labels; the kept epoch is the one of least validation error.

    The error is the share of wrong answers and, smaller than any such, the cross-entropy, which decides between equals.
    """
    device = next(classifier.parameters()).device
    samples, classes = (torch.from_numpy(part).to(device) for part in train)
    held_out, truth = (torch.from_numpy(part).to(device) for part in validation)

    def objective(module: nn.Module, indices: Tensor, _progress: float, generator: torch.Generator) -> Tensor:
        scores = module(classifier.scaling(samples[indices]), generator)
        return F.cross_entropy(scores.float(), classes[indices])

    def validate(module: nn.Module) -> float:
        parts = [module(classifier.scaling(part)).float() for part in torch.split(held_out, autoencoders.BATCH)]
        scores = torch.cat(parts)
        wrong = float((scores.argmax(1) != truth).float().mean())
        tie = float(F.cross_entropy(scores, truth))
        return wrong + tie / (1 + tie) / (10 * len(truth))

    steps = count_steps(len(samples), plan.optimization.batch_size)
    epochs = max(plan.optimization.epochs, math.ceil(plan.steps / steps))
    optimization = plan.optimization.model_copy(update={"epochs": epochs})
    return fit(
        classifier, torch.arange(len(samples), device=device), objective, validate, optimization,
        generator=torch.Generator(device).manual_seed(seed), file=file, fingerprint=fingerprint, title=title,
    )  # fmt: skip


def predict_probabilities(classifier: Classifier, samples: NDArray[np.generic]) -> NDArray[np.float32]:
    """Probabilities float32 [N,classes] of samples as stored."""
    device = next(classifier.parameters()).device
    with torch.inference_mode():
        parts = [
            classifier.probabilities(part.to(device)).cpu()
            for part in torch.split(torch.from_numpy(samples), autoencoders.BATCH)
        ]
    return torch.cat(parts).numpy()


def stored(autoencoder: Autoencoder, recipe: Recipe) -> bytes:
    """The encoder's weights as safetensors: names as in torch, the recipe's architecture in the metadata."""
    facts = {"recipe": recipe.name, "architecture": recipe.architecture.model_dump_json(exclude_none=True)}
    weights = {name: tensor.contiguous() for name, tensor in autoencoder.encoder.state_dict().items()}
    return safetensors.torch.save(weights, facts)


def read(recipe: Recipe, data: LabelledDataset, source: str) -> Autoencoder:
    """The recipe's autoencoder, its encoder from `source`, a .safetensors file or a package's folder; its decoder new.

    A package has batch norm folded into its weights, so the recipe must be of the dense architecture without it.

    Raises:
        RecipeError: the encoder is of another architecture.
        DataError: the file cannot be read.
        PackageError: the package cannot be read.
    """
    with torch.random.fork_rng(devices=[]):
        autoencoder = architectures.build(recipe.architecture, data.dataset.train)
    path = Path(source)
    try:
        weights = _of_package(path) if path.is_dir() else safetensors.torch.load(path.read_bytes())
    except (OSError, safetensors.SafetensorError) as broken:
        raise DataError(f"--encoder {source} cannot be read as safetensors: {broken}") from broken
    try:
        autoencoder.encoder.load_state_dict(weights)
    except RuntimeError as different:
        raise RecipeError(
            f"--encoder {source} is not an encoder of the architecture of recipe {recipe.name}"
            + (" (of a package: dense, batch_norm = false)" if path.is_dir() else "")
        ) from different
    return autoencoder.eval()


def _of_package(folder: Path) -> dict[str, Tensor]:
    """The encoder's parameters by their names in torch, float32."""
    graph = onnx.load_model_from_string(package.read(compare.find(folder)).graphs["encoder"]).graph
    named = {tensor.name.removesuffix(".float16"): tensor for tensor in graph.initializer}
    prefix = "autoencoder.encoder."
    return {
        name.removeprefix(prefix): torch.from_numpy(numpy_helper.to_array(tensor).astype(np.float32))
        for name, tensor in named.items()
        if name.startswith(prefix)
    }


def table(outcomes: Sequence[Outcome], samples: int) -> str:
    """Markdown: a row for each number of labels; wrong answers in percent, mean and standard deviation over seeds."""
    tested = outcomes[0].test is not None
    starts = list(dict.fromkeys(o.start for o in outcomes))
    seeds = len({o.seed for o in outcomes})
    measured = f"{samples} test samples" if tested else "validation"
    lines = [
        f"wrong answers, % of {measured}, {seeds} seeds: mean ± standard deviation",
        "",
        "| labels of each class | " + " | ".join(starts) + " |",
        "|---|" + "---|" * len(starts),
    ]
    for each, row in _rows(outcomes).items():
        cells = [f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in (row[start] for start in starts)]
        lines.append(f"| {each or 'all'} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def figure(outcomes: Sequence[Outcome]) -> Figure:
    """Error on test over labels of each class, a curve for each start, with bars of a standard deviation."""
    drawn = Figure(figsize=(6, 4), dpi=100, facecolor="white", layout="constrained")
    axis = drawn.subplots()
    rows = _rows(outcomes)
    for start, colour in zip(dict.fromkeys(o.start for o in outcomes), compare.COLOURS, strict=False):
        means, deviations = zip(*(row[start] for row in rows.values()), strict=True)
        axis.errorbar([*rows], means, deviations, marker="o", capsize=3, color=colour, label=start)
    figures.style_axis(
        axis, "A classifier by how its encoder started", "labels of each class", "wrong answers, % of test"
    )
    axis.set_xscale("log")
    axis.set_xticks([*rows], [str(each) for each in rows])
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=8)
    return drawn


def _rows(outcomes: Sequence[Outcome]) -> dict[int, dict[Start, tuple[float, float]]]:
    """Labels -> start -> mean and standard deviation over seeds of the errors, in percent."""
    found: dict[int, dict[Start, list[float]]] = {}
    for o in outcomes:
        error = o.validation if o.test is None else o.test
        found.setdefault(o.labels, {}).setdefault(o.start, []).append(100 * error)
    return {
        each: {start: (statistics.mean(e), statistics.stdev(e) if len(e) > 1 else 0.0) for start, e in row.items()}
        for each, row in found.items()
    }
