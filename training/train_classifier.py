"""Training of classifiers, `autoencoder-train classify`: do trained encoders start better than random weights?

recipe -> autoencoder (trained, or resumed from its checkpoint) -> encoder.safetensors
       -> labels x {random, frozen, fine-tuned} x seeds -> error on test -> table, report.json, [curve.png]
       -> the classifier of least validation error -> parity with torch -> classifier.onnx
"""

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
from training.data.labels import LabelledDataset, Labels
from training.engine import checkpoint
from training.engine.loop import History, count_steps, fit
from training.engine.losses import LossAndError
from training.errors import DataError, RecipeError
from training.evaluation import autoencoders, figures
from training.export import graphs, parity
from training.recipe import AutoencoderRecipe, Classification, Start


@dataclass(frozen=True)
class Outcome:
    """One classifier: its start, labels of each class (0: all there are), seed, and shares of wrong answers.

    `validation` includes the tie-breaking term of `fit_classifier`; `test` is None where the test split is not used.
    """

    start: Start
    labels: int
    seed: int
    validation: float
    test: float | None


def run(
    recipe: AutoencoderRecipe,
    out: Path,
    runs: Path,
    device: torch.device,
    *,
    encoder: str | None = None,
    use_test: bool = True,
) -> None:
    """Train, print the table, write report.json, encoder.safetensors and classifier.onnx to `out`.

    Args:
        runs: folder of the checkpoints.
        encoder: encoder.safetensors or a package's folder; without it the recipe's autoencoder is trained.
        use_test: False shows errors on the validation split, and writes neither classifier nor curve.
    Raises:
        RecipeError: the recipe has no section [classification], or `encoder` does not fit it.
        DataError: the data has no labels.
        ParityError: the exported classifier does not answer as torch does; it is not written.
        DiskError: a file could not be written.
    """
    classification = recipe.classification
    if classification is None:
        raise RecipeError(f"recipe {recipe.name} has no section [classification], which describes the classifiers")
    data = labels.load(recipe.data)
    folder = runs / recipe.name
    if encoder is None:
        autoencoder = train_autoencoder.train(recipe, data.dataset, folder, device).network
    else:
        autoencoder = load_encoder(recipe, data, encoder)
    weights = serialize_encoder(autoencoder, recipe)
    checkpoint.write_atomically(out / "encoder.safetensors", weights, "the encoder's weights")
    fingerprint = f"{recipe.digest} {classification.model_dump_json()} {data.dataset.digest} {package.sha256(weights)}"
    outcomes: list[Outcome] = []
    best: tuple[float, Classifier] | None = None
    for label_count, start, seed in itertools.product(
        classification.labels or (0,), classification.starts, range(classification.seeds)
    ):
        classifier, history = fit_one(
            recipe, classification, data, autoencoder, start, label_count, seed,
            folder=folder, fingerprint=fingerprint, device=device,
        )  # fmt: skip
        error = history.validation[history.best]
        test = error_rate(classifier, data.dataset.test, data.test) if use_test else None
        outcomes.append(Outcome(start, label_count, seed, error, test))
        if best is None or error < best[0]:
            best = (error, classifier)
        report = {"recipe": recipe.name, "classes": data.names, "outcomes": [vars(outcome) for outcome in outcomes]}
        checkpoint.write_atomically(out / "report.json", json.dumps(report, indent=1).encode(), "the report")
    sys.stdout.write(format_table(outcomes, len(data.test)))
    if best is not None and use_test:
        classifier, samples = best[1].cpu(), data.dataset.test
        expected = predict_probabilities(classifier, samples)
        graph = graphs.export_classifier(classifier, samples)
        difference = parity.verify_classifier(classifier, graph, samples, expected)
        checkpoint.write_atomically(out / "classifier.onnx", graph, "the classifier")
        if len(classification.labels) > 1:
            png = figures.encode_figure(draw_curve(outcomes), "png")
            checkpoint.write_atomically(out / "curve.png", png, "the curve")
        sys.stdout.write(
            f"\n{out}: written; onnxruntime and torch differ by at most {difference:.2g} on the test split\n"
        )


def fit_one(
    recipe: AutoencoderRecipe, classification: Classification, data: LabelledDataset, autoencoder: Autoencoder,
    start: Start, label_count: int, seed: int, *, folder: Path, fingerprint: str, device: torch.device,
) -> tuple[Classifier, History]:  # fmt: skip
    """Fit one classifier; `seed` decides its initial weights, which labels it gets, and the order of its samples."""
    generator = np.random.default_rng(seed)
    samples = data.dataset
    train, held_out = np.arange(len(data.train)), np.arange(len(data.validation))
    if label_count:  # with few labels there are few for validation, too
        train, held_out = (
            labels.sample_per_class(classes, label_count, generator) for classes in (data.train, data.validation)
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if start == "random":
            network = architectures.build(recipe.architecture, samples.train)
        else:
            network = copy.deepcopy(autoencoder)
        latent_size = autoencoders.latent_size(network, samples)
        classifier = Classifier(network, latent_size, len(data.names), classification, frozen=start == "frozen")
        classifier = classifier.to(device)
    history = fit_classifier(
        classifier,
        (samples.train[train], data.train[train]),
        (samples.validation[held_out], data.validation[held_out]),
        classification,
        seed=seed,
        file=folder / "classifier" / f"{start}-{label_count}-{seed}.pt",
        fingerprint=f"{fingerprint} {start} {label_count} {seed}",
        title=f"{start}, {label_count or 'all'} labels, seed {seed}",
    )
    return classifier, history


def error_rate(classifier: Classifier, samples: NDArray[np.generic], classes: Labels) -> float:
    """Share of wrong answers on samples as stored; `classes` int64 [N] are the right ones."""
    return float((predict_probabilities(classifier, samples).argmax(1) != classes).mean())


def fit_classifier(
    classifier: Classifier,
    train: tuple[NDArray[np.generic], Labels],
    validation: tuple[NDArray[np.generic], Labels],
    classification: Classification,
    *,
    seed: int,
    file: Path,
    fingerprint: str,
    title: str,
) -> History:
    """Fit in place on samples as stored and their labels; the kept epoch is the one of least validation error.

    The error is the share of wrong answers plus a term smaller than one wrong answer, from the cross-entropy, which
    decides between epochs of equal shares.
    """
    device = next(classifier.parameters()).device
    samples, classes = (torch.from_numpy(array).to(device) for array in train)
    held_out, held_out_classes = (torch.from_numpy(array).to(device) for array in validation)

    def objective(module: nn.Module, indices: Tensor, _progress: float, generator: torch.Generator) -> LossAndError:
        scores = module(classifier.scaling(samples[indices]), generator)
        is_wrong = scores.detach().argmax(1) != classes[indices]
        return LossAndError(F.cross_entropy(scores.float(), classes[indices]), is_wrong.float().mean())

    def validate(module: nn.Module) -> float:
        batches = torch.split(held_out, autoencoders.BATCH)
        scores = torch.cat([module(classifier.scaling(batch)).float() for batch in batches])
        errors = float((scores.argmax(1) != held_out_classes).float().mean())
        entropy = float(F.cross_entropy(scores, held_out_classes))
        return errors + entropy / (1 + entropy) / (10 * len(held_out_classes))

    steps = count_steps(len(samples), classification.optimization.batch_size)
    epochs = max(classification.optimization.epochs, math.ceil(classification.steps / steps))
    optimization = classification.optimization.model_copy(update={"epochs": epochs})
    return fit(
        classifier, torch.arange(len(samples), device=device), objective, validate, optimization,
        generator=torch.Generator(device).manual_seed(seed), file=file, fingerprint=fingerprint, title=title,
    )  # fmt: skip


def predict_probabilities(classifier: Classifier, samples: NDArray[np.generic]) -> NDArray[np.float32]:
    """Probabilities float32 [N,classes] of samples as stored."""
    device = next(classifier.parameters()).device
    with torch.inference_mode():
        batches = torch.split(torch.from_numpy(samples), autoencoders.BATCH)
        outputs = [classifier.probabilities(batch.to(device)).cpu() for batch in batches]
    return torch.cat(outputs).numpy()


def serialize_encoder(autoencoder: Autoencoder, recipe: AutoencoderRecipe) -> bytes:
    """The encoder's weights as safetensors: names as in torch, the recipe's architecture in the metadata."""
    metadata = {"recipe": recipe.name, "architecture": recipe.architecture.model_dump_json(exclude_none=True)}
    weights = {name: tensor.contiguous() for name, tensor in autoencoder.encoder.state_dict().items()}
    return safetensors.torch.save(weights, metadata)


def load_encoder(recipe: AutoencoderRecipe, data: LabelledDataset, source: str) -> Autoencoder:
    """The recipe's autoencoder with the encoder of `source`, a .safetensors file or a package's folder.

    The decoder has new weights. A package has batch norm folded into its weights, so for a package the recipe must be
    of the dense architecture without batch norm.

    Raises:
        RecipeError: the encoder is of another architecture.
        DataError: the file cannot be read.
        PackageError: the package cannot be read.
    """
    with torch.random.fork_rng(devices=[]):
        autoencoder = architectures.build(recipe.architecture, data.dataset.train)
    path = Path(source)
    try:
        weights = _read_package_weights(path) if path.is_dir() else safetensors.torch.load(path.read_bytes())
    except (OSError, safetensors.SafetensorError) as error:
        raise DataError(f"--encoder {source} cannot be read as safetensors: {error}") from error
    try:
        autoencoder.encoder.load_state_dict(weights)
    except RuntimeError as error:
        raise RecipeError(
            f"--encoder {source} is not an encoder of the architecture of recipe {recipe.name}"
            + (" (of a package: dense, batch_norm = false)" if path.is_dir() else "")
        ) from error
    return autoencoder.eval()


def _read_package_weights(folder: Path) -> dict[str, Tensor]:
    """The encoder's parameters by their names in torch, float32."""
    graph = onnx.load_model_from_string(package.read(compare.find_package(folder)).graphs["encoder"]).graph
    tensors = {tensor.name.removesuffix(".float16"): tensor for tensor in graph.initializer}
    prefix = "autoencoder.encoder."
    return {
        name.removeprefix(prefix): torch.from_numpy(numpy_helper.to_array(tensor).astype(np.float32))
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def format_table(outcomes: Sequence[Outcome], samples: int) -> str:
    """Markdown: a row for each number of labels; wrong answers in percent, mean and standard deviation over seeds."""
    split = "validation" if outcomes[0].test is None else f"{samples} test samples"
    starts = list(dict.fromkeys(outcome.start for outcome in outcomes))
    seeds = len({outcome.seed for outcome in outcomes})
    lines = [
        f"wrong answers, % of {split}, {seeds} seeds: mean ± standard deviation",
        "",
        "| labels of each class | " + " | ".join(starts) + " |",
        "|---|" + "---|" * len(starts),
    ]
    for label_count, row in _summarize(outcomes).items():
        cells = [f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in (row[start] for start in starts)]
        lines.append(f"| {label_count or 'all'} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw_curve(outcomes: Sequence[Outcome]) -> Figure:
    """Error on test over labels of each class, a curve for each start, with bars of a standard deviation."""
    figure = Figure(figsize=(6, 4), dpi=100, facecolor="white", layout="constrained")
    axis = figure.subplots()
    rows = _summarize(outcomes)
    starts = dict.fromkeys(outcome.start for outcome in outcomes)
    for start, colour in zip(starts, compare.COLOURS, strict=False):
        means, deviations = zip(*(row[start] for row in rows.values()), strict=True)
        axis.errorbar([*rows], means, deviations, marker="o", capsize=3, color=colour, label=start)
    figures.style_axis(
        axis, "A classifier by how its encoder started", "labels of each class", "wrong answers, % of test"
    )
    axis.set_xscale("log")
    axis.set_xticks([*rows], [str(label_count) for label_count in rows])
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=8)
    return figure


def _summarize(outcomes: Sequence[Outcome]) -> dict[int, dict[Start, tuple[float, float]]]:
    """Labels of each class -> start -> mean and standard deviation over seeds of the errors, in percent."""
    groups: dict[int, dict[Start, list[float]]] = {}
    for outcome in outcomes:
        error = outcome.validation if outcome.test is None else outcome.test
        groups.setdefault(outcome.labels, {}).setdefault(outcome.start, []).append(100 * error)
    return {
        label_count: {
            start: (statistics.mean(errors), statistics.stdev(errors) if len(errors) > 1 else 0.0)
            for start, errors in row.items()
        }
        for label_count, row in groups.items()
    }
