"""Training of an autoencoder: one run, top to bottom.

recipe -> dataset -> architecture -> [pretraining, layer by layer] -> loop -> evaluation -> export -> parity -> score
  -> package
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from service.model.manifest import Metric
from service.model.package import next_version
from training.architectures import kinds
from training.architectures.autoencoder import Autoencoder
from training.architectures.linear_path import start_at_components
from training.architectures.sparse import Sparse
from training.data.datasets import Dataset
from training.engine import checkpoint, distributed, objectives
from training.engine.loop import History, TrainingResult, autocast, fit
from training.engine.losses import LossAndError
from training.engine.pretraining import pretrain
from training.engine.progress import stage
from training.engine.step_inputs.augmentation import Augmenter
from training.engine.step_inputs.corruption import Corruptor
from training.evaluation import autoencoders, figures, neighbours, scores
from training.evaluation.baselines import pca
from training.evaluation.kind_metrics import kinds as kind_evaluation
from training.evaluation.shortfalls import find_shortfalls
from training.export import examples, float16, graphs, package, parity, provenance, recipe_file
from training.recipe import AutoencoderRecipe, with_changes

PRETRAINING_SHARE = 0.25  # of the minutes
MARGIN = 0.3  # by this, over the root of the validation samples, PCA's error must be beaten: less may be chance
EXPORT_MINUTES = 0.5  # what measuring and export take, about


def train(
    recipe: AutoencoderRecipe,
    data: Dataset,
    folder: Path,
    device: torch.device,
    minutes: float | None = None,
    log_folder: Path | None = None,
) -> TrainingResult[Autoencoder]:
    """Fit the recipe's autoencoder; a run that was interrupted resumes from the checkpoints in `folder`.

    Args:
        minutes: the run ends after so many, whatever its epochs say; a quarter of them is for pretraining, if any.
        log_folder: for the learning curve while it grows, see training.engine.curve_log.
    """
    is_image = data.modality == "image"
    with torch.random.fork_rng(devices=[]):  # torch's initialisers of weights know only the global generator
        torch.manual_seed(recipe.seed)
        autoencoder = kinds.build(recipe, data.train)
    if recipe.architecture.linear_path:
        start_at_components(autoencoder, *pca.fit_for_linear_path(data.train, recipe.architecture.latent_dim or 0))
    autoencoder = autoencoder.to(device)
    if is_image:
        autoencoder = autoencoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator(device).manual_seed(recipe.seed)
    fingerprint = f"{recipe.digest} {data.digest}"
    samples, validation = (torch.from_numpy(split).to(device) for split in (data.train, data.validation))
    augment = Augmenter(recipe.augmentation) if is_image else None
    mean = autoencoders.mean_sample(recipe.corruption, autoencoder, data)
    corrupt = Corruptor(recipe.corruption, pixels=is_image, mean=mean)

    layer_histories = []
    if recipe.pretraining is not None and recipe.pretraining.epochs:
        pretraining_minutes = None if minutes is None else PRETRAINING_SHARE * minutes
        minutes = None if pretraining_minutes is None else (minutes or 0) - pretraining_minutes
        layer_histories = pretrain(
            autoencoder, samples, validation, recipe.pretraining, augment,
            generator=generator, folder=folder, fingerprint=fingerprint, minutes=pretraining_minutes,
            log_folder=log_folder,
        )  # fmt: skip

    def objective(
        module: nn.Module, batch: Tensor, progress: float, generator: torch.Generator
    ) -> Tensor | LossAndError:
        clean = autoencoder.scaling(batch)
        if augment is not None:
            clean = augment(clean, progress, generator).contiguous(memory_format=torch.channels_last)
        corrupted, mask = corrupt.corrupt_with_mask(clean, generator)
        return goal.loss(module, objectives.Samples(corrupted, clean, mask), progress, generator)

    held_out = autoencoder.scaling(validation)
    validation_generator = torch.Generator(device).manual_seed(recipe.seed)
    corrupted, mask = corrupt.corrupt_with_mask(held_out, validation_generator)
    held_out_samples = objectives.Samples(corrupted, held_out, mask)
    goal = objectives.build(recipe, autoencoder, tuple(held_out.shape[1:]))

    def validate(module: nn.Module) -> float:
        """Error of the corrupted validation split, the same noise after every epoch."""
        with autocast(device, "fp32"):
            same_noise = torch.Generator(device).manual_seed(recipe.seed)
            return goal.validate(module, held_out_samples, same_noise)

    history = fit(
        goal.network, samples, objective, validate, recipe.optimization,
        generator=generator, file=folder / "checkpoint.pt", fingerprint=fingerprint, title=recipe.name,
        start_margin=MARGIN / math.sqrt(len(validation)) if recipe.architecture.linear_path else None,
        minutes=minutes,
        log_folder=None if log_folder is None else log_folder / "training",
    )  # fmt: skip
    if isinstance(autoencoder, Sparse):
        autoencoder.fold()
    if recipe.weights == "float16":  # before evaluation, which thus measures the weights that are served
        float16.round_to_float16(autoencoder)
    return TrainingResult(autoencoder.cpu().eval(), history, layer_histories)


def run(
    recipe: AutoencoderRecipe,
    data: Dataset,
    out: Path,
    runs: Path,
    device: torch.device,
    minutes: float | None = None,
    log_folder: Path | None = None,
) -> Path:
    """Train, measure, export; returns the directory of the new package, <out>/<version>/.

    Of several processes the main one alone measures and exports; the others exit after training.

    Args:
        out: the model's folder: its name is the model's name, the version is the next free one.
        runs: folder of the checkpoints and of history.json.
        minutes: the whole takes about so many; EXPORT_MINUTES of them are for measuring and export.
        log_folder: see `train`.
    Raises:
        NotFinite, DiskError, ParityError: see training.errors; no package is written.
    """
    name = out.name
    folder = runs / name
    if minutes is not None:
        minutes = max(minutes / 2, minutes - EXPORT_MINUTES) / (1 + len(recipe.ablation))
    result = train(recipe, data, folder, device, minutes, log_folder)
    variants = {
        ablation.name: with_changes(recipe, {**ablation.set, "name": f"{recipe.name}-ablation"})
        for ablation in recipe.ablation
    }
    ablations = {
        label: train(
            variant, data, folder / _slug(label), device, minutes,
            None if log_folder is None else log_folder / _slug(label),
        )
        for label, variant in variants.items()
    }  # fmt: skip
    distributed.exit_unless_main()
    with stage(f"{name}: measuring, exporting and drawing"):
        return _export(recipe, data, result, variants, ablations, out, folder)


def _export(
    recipe: AutoencoderRecipe,
    data: Dataset,
    result: TrainingResult[Autoencoder],
    variants: Mapping[str, AutoencoderRecipe],
    ablations: Mapping[str, TrainingResult[Autoencoder]],
    out: Path,
    folder: Path,
) -> Path:
    """Measure, export, draw; returns the directory of the new package. `folder` gets history.json.

    Args:
        variants, ablations: recipe and result of each ablation, by its name.
    """
    models, name = out.parent, out.name
    autoencoder = result.network
    components = pca.fit(data.train, autoencoders.latent_size(autoencoder, data))
    is_contractive = recipe.optimization.contraction > 0
    metrics = kind_evaluation.measure(recipe, autoencoder, data, components, is_contractive=is_contractive)
    shortfalls = find_shortfalls(recipe, metrics, autoencoders.encode(autoencoder, data.test))
    for ablation, ablation_result in ablations.items():
        values = kind_evaluation.measure(
            variants[ablation], ablation_result.network, data, None, is_contractive=is_contractive
        )
        metrics = _add_baseline(metrics, ablation, values)
    known = (
        autoencoders.encode(autoencoder, data.train[: neighbours.MAX_TRAIN]) if data.test_labels is not None else None
    )
    if known is not None:
        asked = autoencoders.encode(autoencoder, data.test[: neighbours.MAX_TEST])
        metrics |= neighbours.measure_neighbours(known, asked, data, components, autoencoder.units)

    onnx_graphs = graphs.export_autoencoder(autoencoder, data.train, recipe.weights)
    errors = autoencoders.reconstruction_errors(autoencoder, data)
    facts = package.build_manifest(
        name, next_version(models, name), recipe.kind, recipe.description, onnx_graphs,
        provenance.training_facts(recipe, data), metrics, reconstruction_errors=errors,
        pca_error=None if components is None else pca.error_curve(components, data.test), fit=data.fit,
        columns=package.describe_columns(autoencoder.units, data.columns), shortfalls=shortfalls,
    )  # fmt: skip
    model, differences = parity.verify_autoencoder(autoencoder, data, facts, onnx_graphs)
    unit = "grey levels" if data.modality == "image" else "standard deviations"
    sentence = (
        f"onnxruntime and torch differ on the whole test split by at most {differences.output:.3g} {unit} in the "
        f"reconstruction and {differences.latent:.2g} in the latent."
    )
    drawings = draw_figures(result, recipe, data, errors, metrics)
    others = {name: ablation.network for name, ablation in ablations.items()}
    drawings = {**kind_evaluation.draw(autoencoder, data, recipe.seed, others, components), **drawings}
    _write_history(folder, recipe, result, None)
    score = scores.choose(model, data.train, data.validation, data.test, recipe.seed)
    directory = package.publish(
        models, facts, onnx_graphs, drawings, recipe.notes, sentence, remarks=data.remarks, recipe=recipe, score=score,
        examples=examples.make_file(data.test, data.test_labels),
    )  # fmt: skip
    _write_history(folder, recipe, result, directory)
    return directory


def draw_figures(
    result: TrainingResult[Autoencoder],
    recipe: AutoencoderRecipe,
    data: Dataset,
    errors: np.ndarray,
    metrics: dict[str, Metric],
) -> figures.Figures:
    """The model card's figures: file name -> (caption, PNG); `errors` float64 [N], of the held-out samples."""
    autoencoder, samples = result.network, data.test[: figures.COLUMNS]
    latents = autoencoders.encode(autoencoder, data.test)
    unit = metrics["reconstruction_mse"].unit
    baselines = [(n, v) for n, v in metrics["reconstruction_mse"].baselines.items() if n != "identity"]
    size = " x ".join(str(n) for n in latents.shape[1:])
    rows = [
        ("original", samples),
        ("latent", latents[: len(samples)]),
        ("reconstruction", autoencoders.reconstruct(autoencoder, samples)),
    ]
    drawings = {
        "reconstructions.png": (
            f"Held-out samples, their latents ({size} numbers) and reconstructions",
            figures.draw_rows(rows),
        )
    }
    for corruption in autoencoders.first_of_each_kind(recipe.corruption):
        noisy = autoencoders.corrupt_samples(data, samples, corruption, 0.25, autoencoder)
        denoised = autoencoders.reconstruct(autoencoder, noisy)
        drawings[f"denoising-{corruption.kind}.png"] = (
            f"Held-out samples, with {corruption.kind} noise of level 0.25, and denoised",
            figures.draw_rows([("original", samples), ("noisy", noisy), ("denoised", denoised)]),
        )
    curves = [(f"pretraining, layer {i}", history) for i, history in enumerate(result.layer_histories, 1)]
    title = "fine-tuning" if curves else "training"
    drawings["learning_curve.png"] = (
        "Learning curve; the marked epoch was kept",
        figures.draw_learning_curve([*curves, (title, result.history)], "error"),
    )
    drawings["error_histogram.png"] = (
        "Reconstruction errors of the held-out samples",
        figures.draw_error_histogram(errors, baselines, unit),
    )
    drawings["latent_map.png"] = (
        "Held-out samples placed by their latents (t-SNE)" + ", coloured by class" * (data.test_labels is not None),
        figures.draw_latent_map(latents, data.test, recipe.seed, data.test_labels),
    )
    return drawings


def _add_baseline(metrics: dict[str, Metric], name: str, values: dict[str, Metric]) -> dict[str, Metric]:
    """`metrics`, each with its value in `values`, if it has one, as the baseline `name`."""
    return {
        key: metric.model_copy(update={"baselines": {**metric.baselines, name: values[key].value}})
        if key in values
        else metric
        for key, metric in metrics.items()
    }


def _write_history(
    folder: Path, recipe: AutoencoderRecipe, result: TrainingResult[Autoencoder], package_folder: Path | None
) -> None:
    """Errors of each epoch; the directory of the package, which `autoencoder-train compare` reads; where the data lie,
    which the recipe in the package does not say.
    """
    histories = {f"layer-{i}": history for i, history in enumerate(result.layer_histories, 1)}
    document = {name: _describe_history(history) for name, history in histories.items()} | {
        "training": _describe_history(result.history),
        "data": {key: str(Path(path).absolute()) for key, path in recipe_file.paths(recipe).items()},
        "package": None if package_folder is None else str(package_folder.absolute()),
    }
    checkpoint.write_atomically(folder / "history.json", json.dumps(document, indent=1).encode(), "the history")


def _describe_history(history: History) -> dict[str, Any]:
    """The members of a history, without what JSON cannot hold."""
    return {name: value for name, value in vars(history).items() if value != math.inf}


def _slug(name: str) -> str:
    """A folder's name: what is no letter or digit becomes a hyphen."""
    return "".join(c if c.isalnum() else "-" for c in name.lower())
