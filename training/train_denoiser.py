"""Training of a denoiser for images of any size: one run, top to bottom.

recipe -> patches -> U-net -> loop -> one graph `image` -> `denoised` [-> a second one in 8-bit integers]
  -> measured on whole images -> parity -> package
"""

import math
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from service.model.manifest import Role
from service.model.package import next_version
from training.architectures.unet import Denoiser
from training.data.patches import PAGE_COUNTS, RestorationData
from training.engine import distributed
from training.engine.crops import RandomCrops
from training.engine.initial_weights import load_initial_weights
from training.engine.loop import TrainingResult, Validation, autocast, fit
from training.engine.losses import LOSSES, LossAndError, exempt_clamped
from training.engine.pairs import Batch, PairBatches, has_image_corruption
from training.evaluation import denoisers, figures, photographs, restorations
from training.evaluation.denoisers import to_uint8
from training.evaluation.metrics import mse, psnr
from training.evaluation.shortfalls import find_shortfalls
from training.export import graphs, package, parity, provenance, quantization
from training.recipe import DenoiserRecipe

LEAST_ERROR = 0.004  # of a group: one grey level; less is not seen
VALIDATION_PIXELS = 6_000_000  # of noisy images, about, restored after every epoch
QUANTIZATION_IMAGES = 12  # of the validation split, by whose centres the quantised graph is judged
CENTRE_SIZE = 192  # pixels a side

Image = NDArray[np.uint8]  # [H,W,C]


def train(
    recipe: DenoiserRecipe,
    data: RestorationData,
    folder: Path,
    device: torch.device,
    *,
    start: Path | None = None,
    minutes: float | None = None,
    log_folder: Path | None = None,
    resume: bool = False,
) -> TrainingResult[Denoiser]:
    """Fit the recipe's denoiser; a run that was interrupted resumes from the checkpoint in `folder`.

    Args:
        start: a package or a checkpoint whose weights are the initial ones; not used where the run resumes.
        minutes, log_folder, resume: see training.engine.loop.fit.
    """
    denoiser = build(recipe)
    if start is not None:
        load_initial_weights(denoiser, start)
    denoiser = denoiser.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator(device).manual_seed(recipe.seed)
    crops = RandomCrops(recipe, paired=data.is_paired)
    loss = LOSSES[recipe.optimization.loss]

    def objective(module: nn.Module, batch: Batch, _progress: float, generator: torch.Generator) -> LossAndError:
        patches, is_pair = batch
        clean, noisy = crops(patches, generator, is_pair)
        output = module(noisy).float()
        error = F.mse_loss(output.detach().clamp(0, 1), clean).sqrt()  # as validation has it
        return LossAndError(loss(exempt_clamped(output, clean), clean), error)

    corruptions = () if data.is_paired else recipe.corruption
    is_photographs = has_image_corruption(corruptions)
    history = fit(
        denoiser, PairBatches(data.train, corruptions, device), objective,
        _photograph_validation(recipe, data, device) if is_photographs else _validation(recipe.name, data, device),
        recipe.optimization, generator=generator, file=folder / "checkpoint.pt",
        fingerprint=f"{recipe.digest} {data.digest}", title=recipe.name, minutes=minutes, resume=resume,
        log_folder=log_folder,
    )  # fmt: skip
    return TrainingResult(denoiser.cpu().eval(), history)


def _validation(title: str, data: RestorationData, device: torch.device) -> Validation:
    """Root mean squared error of each noisy version of the validation images, mean over them.

    Of several groups of images the error is the geometric mean of theirs, each at least LEAST_ERROR, and each is
    printed.
    """
    groups = dict.fromkeys(image.group for image in data.validation)
    versions = [
        (image.group, [(image.group, image.clean, noisy) for noisy in denoisers.noisy_versions(image)])
        for image in data.validation
    ]
    pixels = sum(clean.shape[0] * clean.shape[1] for _, pairs in versions for _, clean, _ in pairs)
    step = -(-pixels // VALIDATION_PIXELS)
    held_out = [
        pair for group in groups for pairs in [p for name, p in versions if name == group][::step] for pair in pairs
    ]

    def validate(module: nn.Module) -> float:
        if not isinstance(module, Denoiser):
            raise TypeError("This is a bug: only denoisers are trained here")
        with autocast(device, "fp32"):
            errors = [(group, mse(denoisers.restore(module, noisy), clean)) for group, clean, noisy in held_out]
        if len(groups) == 1:
            return float(np.mean(np.sqrt([error for _, error in errors])))
        by_group = {
            group: math.sqrt(float(np.mean(found)))
            for group in groups
            if (found := [error for name, error in errors if name == group])
        }
        values = ", ".join(f"{group} {error:.4f}" for group, error in by_group.items())
        print(f"{title}: {values}", file=sys.stderr)  # noqa: T201
        return float(np.exp(np.mean(np.log(np.maximum(list(by_group.values()), LEAST_ERROR)))))

    return validate


def _photograph_validation(recipe: DenoiserRecipe, data: RestorationData, device: torch.device) -> Validation:
    """The error of training.evaluation.photographs; prints the measures of each kind of noise."""
    pairs = photographs.make_pairs(data.validation)

    def validate(module: nn.Module) -> float:
        if not isinstance(module, Denoiser):
            raise TypeError("This is a bug: only denoisers are trained here")
        with autocast(device, "fp32"):
            measures = photographs.validate(lambda noisy: denoisers.restore(module, noisy), pairs)
        print(f"{recipe.name}: {measures}", file=sys.stderr)  # noqa: T201
        return measures.error

    return validate


def build(recipe: DenoiserRecipe) -> Denoiser:
    """The recipe's architecture with its initial weights, which depend on the recipe's seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return Denoiser(recipe.architecture)


def run(
    recipe: DenoiserRecipe,
    data: RestorationData,
    out: Path,
    runs: Path,
    device: torch.device,
    *,
    start: Path | None = None,
    minutes: float | None = None,
    log_folder: Path | None = None,
    resume: bool = False,
) -> Path:
    """Train, measure, export; returns the directory of the new package, <out>/<version>/.

    Of several processes the main one alone measures and exports; the others exit after training.

    Args:
        out: the model's folder: its name is the model's name, the version is the next free one.
        runs: folder of the checkpoints.
        start, minutes, log_folder, resume: see `train`.
    Raises:
        NotFinite, DiskError, ParityError: see training.errors; no package is written.
    """
    models, name = out.parent, out.name
    result = train(
        recipe, data, runs / name, device, start=start, minutes=minutes, log_folder=log_folder, resume=resume
    )
    distributed.exit_unless_main()
    denoiser = result.network
    onnx_graphs: dict[Role, bytes] = {"denoiser": graphs.export_denoiser(denoiser)}
    int8_graph = _quantize(recipe, data, onnx_graphs["denoiser"])
    if int8_graph is not None:
        onnx_graphs["denoiser-int8"] = int8_graph
    int8 = None if int8_graph is None else quantization.onnx_denoiser(int8_graph)
    metrics = dict(denoisers.measure(partial(denoisers.restore, denoiser), data, int8))
    facts = package.build_manifest(
        name, next_version(models, name), recipe.kind, recipe.description, onnx_graphs,
        provenance.training_facts(recipe, data), metrics, halo=denoiser.halo,
        keeps_figures=recipe.data.source in PAGE_COUNTS or None, shortfalls=find_shortfalls(recipe, metrics),
    )  # fmt: skip
    difference = parity.verify_denoiser(denoiser, data, facts, onnx_graphs)
    sentence = (
        f"onnxruntime and torch differ on all test images by at most {difference} grey level{'s' * (difference != 1)}."
    )
    return package.publish(
        models,
        facts,
        onnx_graphs,
        draw_figures(result, data),
        recipe.notes,
        sentence,
        data.credit_table,
        data.remarks,
        recipe,
    )


def _quantize(recipe: DenoiserRecipe, data: RestorationData, graph: bytes) -> bytes | None:
    """The graph in 8-bit integers; None if the recipe asks for none, or if it loses more than the recipe allows."""
    section = recipe.quantization
    if section is None:
        return None
    generator = torch.Generator().manual_seed(recipe.seed)
    order = torch.randperm(len(data.train), generator=generator)[: section.calibration]
    batches = PairBatches(data.train, () if data.is_paired else recipe.corruption, torch.device("cpu"))
    patches, is_pair = next(batches.load([order], generator))
    _, noisy = RandomCrops(recipe, paired=data.is_paired)(patches, generator, is_pair)
    calibration = [to_uint8(image) for image in noisy.permute(0, 2, 3, 1).numpy()]
    held_out = [
        (to_uint8(_crop_centre(noisy)), _crop_centre(image.clean))
        for image in data.validation[:: -(-len(data.validation) // QUANTIZATION_IMAGES)]
        for noisy in denoisers.noisy_versions(image)
    ]

    def error(candidate: bytes) -> float:
        denoise = quantization.onnx_denoiser(candidate)
        return -psnr([mse(denoise(noisy), clean) for noisy, clean in held_out], denoisers.MAX_PSNR)

    int8_graph = quantization.quantize(graph, calibration, error, error(graph) + section.loss, section.percentiles)
    if int8_graph is None:
        print(f"{recipe.name}: not quantised, it would lose more than {section.loss} dB", file=sys.stderr)  # noqa: T201
    return int8_graph


def _crop_centre(image: np.ndarray) -> np.ndarray:
    """[H,W,C] -> at most [CENTRE_SIZE,CENTRE_SIZE,C] from its centre."""
    y, x = (max(0, (size - CENTRE_SIZE) // 2) for size in image.shape[:2])
    return image[y : y + CENTRE_SIZE, x : x + CENTRE_SIZE]


def draw_figures(result: TrainingResult[Denoiser], data: RestorationData) -> dict[str, tuple[str, bytes]]:
    """The model card's figures: file name -> (caption, PNG)."""
    curve = figures.draw_learning_curve([("training", result.history)], "error")
    return {
        **restorations.draw_figures(partial(denoisers.restore, result.network), data.examples or data.test),
        "learning_curve.png": ("Learning curve; the marked epoch was kept", curve),
    }
