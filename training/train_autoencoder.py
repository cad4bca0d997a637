"""Training of an autoencoder: one run, top to bottom.

recipe -> dataset -> architecture -> [pretraining, layer by layer] -> loop -> evaluation -> export -> parity -> package
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from service.model.manifest import Metric
from service.model.package import next_version
from training.architectures import kinds
from training.architectures.autoencoder import Autoencoder
from training.architectures.sparse import Sparse
from training.data.datasets import Dataset
from training.engine import checkpoint, distributed, objectives
from training.engine.augmentation import Augmenter
from training.engine.corruption import Corruptor
from training.engine.loop import TrainingResult, autocast, fit
from training.engine.pretraining import pretrain
from training.evaluation import autoencoders, figures, pca
from training.evaluation import kinds as kind_evaluation
from training.evaluation.shortfalls import find_shortfalls
from training.export import float16, graphs, package, parity, provenance
from training.recipe import AutoencoderRecipe, with_changes


def train(recipe: AutoencoderRecipe, data: Dataset, folder: Path, device: torch.device) -> TrainingResult[Autoencoder]:
    """Fit the recipe's autoencoder; a run that was interrupted resumes from the checkpoints in `folder`."""
    is_image = data.modality == "image"
    with torch.random.fork_rng(devices=[]):  # torch's initialisers of weights know only the global generator
        torch.manual_seed(recipe.seed)
        autoencoder = kinds.build(recipe, data.train).to(device)
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
        layer_histories = pretrain(
            autoencoder, samples, validation, recipe.pretraining, augment,
            generator=generator, folder=folder, fingerprint=fingerprint,
        )  # fmt: skip

    def objective(module: nn.Module, batch: Tensor, progress: float, generator: torch.Generator) -> Tensor:
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
    )  # fmt: skip
    if isinstance(autoencoder, Sparse):
        autoencoder.fold()
    if recipe.weights == "float16":  # before evaluation, which thus measures the weights that are served
        float16.round_to_float16(autoencoder)
    return TrainingResult(autoencoder.cpu().eval(), history, layer_histories)


def run(recipe: AutoencoderRecipe, data: Dataset, out: Path, runs: Path, device: torch.device) -> Path:
    """Train, measure, export; returns the directory of the new package, <out>/<version>/.

    Of several processes the main one alone measures and exports; the others exit after training.

    Args:
        out: the model's folder: its name is the model's name, the version is the next free one.
        runs: folder of the checkpoints and of history.json.
    Raises:
        NotFinite, DiskError, ParityError: see training.errors; no package is written.
    """
    models, name = out.parent, out.name
    folder = runs / name
    result = train(recipe, data, folder, device)
    variants = {
        ablation.name: with_changes(recipe, {**ablation.set, "name": f"{recipe.name}-ablation"})
        for ablation in recipe.ablation
    }
    ablations = {name: train(variant, data, folder / _slug(name), device) for name, variant in variants.items()}
    distributed.exit_unless_main()
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

    onnx_graphs = graphs.export_autoencoder(autoencoder, data.train, recipe.weights)
    errors = autoencoders.reconstruction_errors(autoencoder, data)
    facts = package.build_manifest(
        name, next_version(models, name), recipe.kind, recipe.description, onnx_graphs,
        provenance.training_facts(recipe, data), metrics, reconstruction_errors=errors,
        pca_error=None if components is None else pca.error_curve(components, data.test), fit=data.fit,
        columns=package.describe_columns(autoencoder.units, data.columns), shortfalls=shortfalls,
    )  # fmt: skip
    _, differences = parity.verify_autoencoder(autoencoder, data, facts, onnx_graphs)
    unit = "grey levels" if data.modality == "image" else "standard deviations"
    sentence = (
        f"onnxruntime and torch differ on the whole test split by at most {differences.output:.3g} {unit} in the "
        f"reconstruction and {differences.latent:.2g} in the latent."
    )
    drawings = draw_figures(result, recipe, data, errors, metrics)
    others = {name: ablation.network for name, ablation in ablations.items()}
    drawings = {**kind_evaluation.draw(autoencoder, data, recipe.seed, others, components), **drawings}
    _write_history(folder, result, None)
    directory = package.publish(models, facts, onnx_graphs, drawings, recipe.notes, sentence, remarks=data.remarks)
    _write_history(folder, result, directory)
    return directory


def draw_figures(
    result: TrainingResult[Autoencoder],
    recipe: AutoencoderRecipe,
    data: Dataset,
    errors: np.ndarray,
    metrics: dict[str, Metric],
) -> dict[str, tuple[str, bytes]]:
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
        "Held-out samples placed by their latents (t-SNE)",
        figures.draw_latent_map(latents, data.test, recipe.seed),
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


def _write_history(folder: Path, result: TrainingResult[Autoencoder], package_folder: Path | None) -> None:
    """Errors of each epoch, and the directory of the package, which `autoencoder-train compare` reads."""
    document = {f"layer-{i}": vars(history) for i, history in enumerate(result.layer_histories, 1)} | {
        "training": vars(result.history),
        "package": None if package_folder is None else str(package_folder.absolute()),
    }
    checkpoint.write_atomically(folder / "history.json", json.dumps(document, indent=1).encode(), "the history")


def _slug(name: str) -> str:
    """A folder's name: what is no letter or digit becomes a hyphen."""
    return "".join(c if c.isalnum() else "-" for c in name.lower())
