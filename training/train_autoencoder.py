"""One training run, top to bottom.

recipe -> dataset -> architecture -> [pretraining, layer by layer] -> loop -> evaluation -> export -> package
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from service.model import package
from service.model.manifest import Metric
from training.architectures import autoencoder as architectures
from training.data.datasets import Dataset
from training.engine import checkpoint, distributed
from training.engine.augmentation import Augmenter
from training.engine.corruption import Corruptor
from training.engine.loop import History, autocast, fit
from training.engine.pretraining import pretrain
from training.evaluation import autoencoders, figures, pca
from training.export import card, float16, provenance
from training.export import package as export
from training.recipe import Recipe, with_changes


@dataclass
class Trained:
    """An autoencoder with the weights of its best epoch, on the CPU, and how it got there."""

    autoencoder: architectures.Autoencoder
    history: History
    pretraining: list[History]


def train(recipe: Recipe, data: Dataset, folder: Path, device: torch.device) -> Trained:
    """Fit the recipe's autoencoder; checkpoints lie in `folder`, and a run that was killed goes on from them."""
    images = data.modality == "image"
    with torch.random.fork_rng(devices=[]):  # initial weights: torch's own initialisers know only the global generator
        torch.manual_seed(recipe.seed)
        autoencoder = architectures.build(recipe.architecture, data.train).to(device)
    if images:
        autoencoder = autoencoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator(device).manual_seed(recipe.seed)
    fingerprint = f"{recipe.digest} {data.digest}"
    samples, validation = (torch.from_numpy(part).to(device) for part in (data.train, data.validation))
    augment = Augmenter(recipe.augmentation) if images else None
    corrupt = Corruptor(
        recipe.corruption, pixels=images, mean=autoencoders.mean_sample(recipe.corruption, autoencoder, data)
    )
    error = F.binary_cross_entropy if recipe.optimization.loss == "bce" and images else F.mse_loss
    emphasis = recipe.optimization.emphasis

    layers = []
    if recipe.pretraining is not None and recipe.pretraining.epochs:
        layers = pretrain(
            autoencoder, samples, validation, recipe.pretraining, augment,
            generator=generator, folder=folder, fingerprint=fingerprint,
        )  # fmt: skip

    def objective(module: nn.Module, batch: Tensor, progress: float, generator: torch.Generator) -> Tensor:
        clean = autoencoder.scaling(batch)
        if augment is not None:
            clean = augment(clean, progress, generator).contiguous(memory_format=torch.channels_last)
        corrupted, marked = corrupt.corrupt_with_mask(clean, generator)
        output = module(corrupted).float()
        return (
            _emphasised(error(output, clean, reduction="none"), marked, emphasis) if emphasis else error(output, clean)
        )

    held_out = autoencoder.scaling(validation)
    held_out_noisy, held_out_marked = corrupt.corrupt_with_mask(
        held_out, torch.Generator(device).manual_seed(recipe.seed)
    )

    def validate(module: nn.Module) -> float:
        with autocast(device, "fp32"):
            outputs = [module(part) for part in torch.split(held_out_noisy, autoencoders.BATCH)]
        output = torch.cat(outputs).float()
        output = output.clamp(0, 1) if images else output
        if emphasis:
            return float(_emphasised(F.mse_loss(output, held_out, reduction="none"), held_out_marked, emphasis))
        return float(F.mse_loss(output, held_out))

    history = fit(
        autoencoder, samples, objective, validate, recipe.optimization,
        generator=generator, file=folder / "checkpoint.pt", fingerprint=fingerprint, title=recipe.name,
    )  # fmt: skip
    if recipe.weights == "float16":
        float16.round_to_float16(
            autoencoder
        )  # before anything is measured: numbers are those of the weights that are served
    return Trained(autoencoder.cpu().eval(), history, layers)


def _emphasised(errors: Tensor, marked: Tensor, emphasis: float) -> Tensor:
    """Mean of `errors`, in which those that are not `marked` count 1 - `emphasis`."""
    weights = torch.where(marked, 1.0, 1 - emphasis)
    return (errors * weights).sum() / weights.sum().clamp_min(1)


def run(recipe: Recipe, data: Dataset, out: Path, runs: Path, device: torch.device) -> Path:
    """Train, measure, export; returns the directory of the new package, <out>/<version>/.

    Of several processes the first alone measures and exports; the others end when all is trained.

    Args:
        out: the model's folder: its name is the model's name, the version is the next free one.
        runs: where checkpoints and history lie.
    """
    models, name = out.parent, out.name
    folder = runs / name
    trained = train(recipe, data, folder, device)
    ablations = {
        ablation.name: train(
            with_changes(recipe, {**ablation.set, "name": f"{recipe.name}-ablation"}),
            data,
            folder / _slug(ablation.name),
            device,
        )
        for ablation in recipe.ablation
    }
    distributed.exit_unless_main()
    components = pca.fit(data.train, autoencoders.latent_size(trained.autoencoder, data))
    metrics = dict(autoencoders.measure(trained.autoencoder, data, recipe.corruption, components))
    for ablation, other in ablations.items():
        others = dict(autoencoders.measure(other.autoencoder, data, recipe.corruption, None))
        metrics = _beside(metrics, ablation, others)

    version = package.next_version(models, name)
    onnx_graphs = export.graphs(trained.autoencoder, data.train, recipe.weights)
    errors = export.held_out_errors(trained.autoencoder, data)
    pca_error = None if components is None else pca.error_curve(components, data.test)
    facts = export.manifest(
        name, version, recipe.kind, recipe.description, onnx_graphs, provenance.training_facts(recipe, data), metrics,
        errors, pca_error,
    )  # fmt: skip
    _, parity = export.open_checked(trained.autoencoder, data, facts, onnx_graphs)
    unit = "grey levels" if data.modality == "image" else "(absolute)"
    sentence = (
        f"onnxruntime and torch differ on the whole test split by at most {parity.output:.3g} {unit} in the "
        f"reconstruction and {parity.latent:.2g} in the latent."
    )
    drawn = draw(trained, recipe, data, errors, metrics)
    text = card.render(facts, {file: caption for file, (caption, _) in drawn.items()}, recipe.notes, sentence)
    files = {"README.md": text.encode(), **{file: png for file, (_, png) in drawn.items()}}
    _write_history(folder, trained, None)
    written = export.write(models, facts, onnx_graphs, files)
    _write_history(folder, trained, written)
    return written


def draw(
    trained: Trained,
    recipe: Recipe,
    data: Dataset,
    errors: np.ndarray,
    metrics: dict[str, Metric],
) -> dict[str, tuple[str, bytes]]:
    """The report's pictures: file name -> (caption, PNG)."""
    model, some = trained.autoencoder, data.test[: figures.COLUMNS]
    latents = autoencoders.encode(model, data.test)
    unit = metrics["reconstruction_mse"].unit
    baselines = [(n, v) for n, v in metrics["reconstruction_mse"].baselines.items() if n != "identity"]
    size = " x ".join(str(n) for n in latents.shape[1:])
    drawn = {
        "reconstructions.png": (
            f"Held-out samples, their latents ({size} numbers) and reconstructions",
            figures.draw_rows(
                [
                    ("original", some),
                    ("latent", latents[: len(some)]),
                    ("reconstruction", autoencoders.reconstruct(model, some)),
                ]
            ),
        )
    }
    for corruption in autoencoders.first_of_each_kind(recipe.corruption):
        noisy = autoencoders.corrupt_samples(data, some, corruption, 0.25, model)
        drawn[f"denoising-{corruption.kind}.png"] = (
            f"Held-out samples, with {corruption.kind} noise of level 0.25, and denoised",
            figures.draw_rows(
                [("original", some), ("noisy", noisy), ("denoised", autoencoders.reconstruct(model, noisy))]
            ),
        )
    curves = [(f"pretraining, layer {i}", h) for i, h in enumerate(trained.pretraining, 1)]
    title = "fine-tuning" if curves else "training"
    drawn["learning_curve.png"] = (
        "Learning curve; the marked epoch was kept",
        figures.draw_learning_curve([*curves, (title, trained.history)], "error"),
    )
    drawn["error_histogram.png"] = (
        "Reconstruction errors of the held-out samples",
        figures.draw_error_histogram(errors, baselines, unit),
    )
    drawn["latent_map.png"] = (
        "Held-out samples placed by their latents (t-SNE)",
        figures.draw_latent_map(latents, data.test, recipe.seed),
    )
    return drawn


def _beside(metrics: dict[str, Metric], name: str, others: dict[str, Metric]) -> dict[str, Metric]:
    return {
        key: metric.model_copy(update={"baselines": {**metric.baselines, name: others[key].value}})
        for key, metric in metrics.items()
    }


def _write_history(folder: Path, trained: Trained, written: Path | None) -> None:
    """Errors of each epoch, and the package that came of it, for `autoencoder-train compare`."""
    said = {f"layer-{i}": vars(h) for i, h in enumerate(trained.pretraining, 1)} | {
        "training": vars(trained.history),
        "package": None if written is None else str(written.absolute()),
    }
    checkpoint.write(folder / "history.json", json.dumps(said, indent=1).encode(), "the history")


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower())
