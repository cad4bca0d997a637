"""Training of a denoiser for images of any size: one run, top to bottom.

recipe -> patches -> U-net -> loop -> one graph `image` -> `denoised` [-> a second one in 8-bit integers]
  -> measured on whole images -> parity -> package
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from service.model.manifest import Role
from service.model.package import next_version
from training.architectures.unet import Denoiser
from training.data.patches import PAGE_COUNTS, EvaluationImage, RestorationData
from training.engine import distributed
from training.engine.initial_weights import load_initial_weights
from training.engine.loop import Objective, TrainingResult, Validation, autocast, fit
from training.engine.losses import LOSSES, LossAndError, exempt_clamped
from training.engine.step_inputs import noise_model
from training.engine.step_inputs.crops import RandomCrops
from training.engine.step_inputs.pairs import Batch, PairBatches, has_image_corruption
from training.engine.step_inputs.self_supervision import SelfSupervision
from training.errors import DataError, RecipeError
from training.evaluation import denoisers, figures, photographs, restorations
from training.evaluation.denoisers import to_uint8
from training.evaluation.metrics import mse, psnr
from training.evaluation.shortfalls import find_shortfalls
from training.export import graphs, package, parity, provenance, quantization
from training.recipe import Corruption, DenoiserRecipe, with_changes

LEAST_ERROR = 0.004  # of a group: one grey level; less is not seen
VALIDATION_PIXELS = 6_000_000  # of noisy images, about, restored after every epoch
QUANTIZATION_IMAGES = 12  # of the validation split, by whose centres the quantised graph is judged
CENTRE_SIZE = 192  # pixels a side

ESTIMATION_PATCHES = 60  # of training, by which the noise of noisy pictures is estimated
REVIVAL_PATCHES = 64  # by which it is told whether a channel of the start is silent
MEASURED_SIZE = 256  # pixels a side of the centres that two noisy versions are drawn of
LEAST_CROP = 32  # pixels, of noisy pictures alone

Image = NDArray[np.uint8]  # [H,W,C]
Array = NDArray[Any]


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
        start: a package or a checkpoint whose weights are the initial ones, which stay unless an epoch is better on
            validation; not used where the run resumes.
        minutes, log_folder, resume: see training.engine.loop.fit.
    Raises:
        DataError: of noisy pictures alone, where no noise is found in them.
    """
    denoiser = build(recipe, data.bits)
    if start is not None:
        load_initial_weights(denoiser, start)
        if recipe.optimization.schedule == "cool-down":
            _revive(denoiser, recipe, data)
    supervision = _supervise(recipe, data, start) if data.is_noisy_alone else None
    if supervision is not None and distributed.is_main_process():
        print(f"{recipe.name}: {supervision.model}; learned by {supervision.method}", file=sys.stderr)  # noqa: T201
    denoiser = denoiser.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator(device).manual_seed(recipe.seed)
    history = fit(
        denoiser, PairBatches(data.train, _corruptions(recipe, data), device),
        _objective(recipe, data, supervision), _choose_validation(recipe, data, device, supervision),
        recipe.optimization, generator=generator, file=folder / "checkpoint.pt",
        fingerprint=f"{recipe.digest} {data.digest}", title=recipe.name, minutes=minutes, resume=resume,
        log_folder=log_folder, start_margin=None if start is None else 0.0,
    )  # fmt: skip
    return TrainingResult(denoiser.cpu().eval(), history)


def _objective(recipe: DenoiserRecipe, data: RestorationData, supervision: SelfSupervision | None) -> Objective:
    """What is minimised: against clean targets, against noisy ones, or with noisy pictures alone."""
    loss = LOSSES[recipe.optimization.loss]
    is_noisy = data.content == "noisy"
    changes: dict[str, Any] = {"corruption": [], "augmentation.grey": 0.0, "augmentation.clean": 0.0}
    if supervision is not None:  # the estimated noise has a direction, and an order of colours
        changes |= {"augmentation.flip": False, "augmentation.quarter_turns": False}
    crops = RandomCrops(
        with_changes(recipe, changes) if is_noisy else with_changes(recipe, {"corruption": _dump(recipe, data)}),
        paired=data.is_paired,
    )

    def compare(module: nn.Module, batch: Batch, _progress: float, generator: torch.Generator) -> LossAndError:
        patches, is_pair = batch
        clean, noisy = crops(patches, generator, is_pair)
        if supervision is not None:
            return supervision.step(module, noisy, loss, generator)
        if is_noisy and torch.rand((), generator=generator, device=patches.device) < 0.5:
            clean, noisy = noisy, clean  # two exposures: either may be the target
        output = module(noisy).float()
        error = F.mse_loss(output.detach().clamp(0, 1), clean).sqrt()  # as validation has it
        return LossAndError(loss(output if is_noisy else exempt_clamped(output, clean), clean), error)

    return compare


def _revive(denoiser: Denoiser, recipe: DenoiserRecipe, data: RestorationData) -> None:
    """Before a long run: channels that are silent on REVIVAL_PATCHES noisy crops are drawn anew."""
    count = denoiser.revive(_draw_noisy_crops(recipe, data, REVIVAL_PATCHES))
    if count and distributed.is_main_process():
        sentence = f"{recipe.name}: {count} channels of the start gave 0 everywhere, and were drawn anew"
        print(sentence, file=sys.stderr)  # noqa: T201


def _draw_noisy_crops(recipe: DenoiserRecipe, data: RestorationData, count: int) -> torch.Tensor:
    """At most `count` training crops with the recipe's noise, float32 [N,C,h,w] in 0..1, the same each time."""
    generator = torch.Generator().manual_seed(recipe.seed)
    chosen = torch.randperm(len(data.train), generator=generator)[:count]
    batches = PairBatches(data.train, _corruptions(recipe, data), torch.device("cpu"))
    patches, is_pair = next(batches.load([chosen], generator))
    crops = RandomCrops(with_changes(recipe, {"corruption": _dump(recipe, data)}), paired=data.is_paired)
    return crops(patches, generator, is_pair)[1]


def _corruptions(recipe: DenoiserRecipe, data: RestorationData) -> tuple[Corruption, ...]:
    """Of clean pictures alone those of the recipe; of 16 bits without those that act on pictures of 8 bits.

    Raises:
        DataError: none is left.
    """
    if data.is_paired or data.content == "noisy":
        return ()
    usable = tuple(c for c in recipe.corruption if data.bits == 8 or not has_image_corruption([c]))
    if recipe.corruption and not usable:
        raise DataError(
            f"{data.source} has pictures of 16 bits, and the recipe's corruptions act on 8: add one of kind gaussian, "
            "or give --set data.bits=8"
        )
    return usable


def _dump(recipe: DenoiserRecipe, data: RestorationData) -> list[dict[str, Any]]:
    return [corruption.model_dump(mode="json") for corruption in _corruptions(recipe, data)]


def _supervise(recipe: DenoiserRecipe, data: RestorationData, start: Path | None) -> SelfSupervision:
    """The method for noisy pictures alone, with their noise, which is estimated with what the start makes of them."""
    if start is None:
        raise RecipeError(
            f"{data.source} has noisy pictures alone, and a denoiser from random weights learns little of them: start "
            "from a package, --from models/photos"
        )
    if recipe.data.crop < LEAST_CROP or recipe.data.crop % 2:
        raise RecipeError(f"data.crop is {recipe.data.crop}; noisy pictures alone need {LEAST_CROP} or more, even")
    denoiser = _open_start(recipe, data, start)
    patches = np.asarray(data.train)
    patches = patches[:: -(-len(patches) // ESTIMATION_PATCHES)]
    restored = [denoisers.to_file(denoisers.restore(denoiser, patch), patch.dtype) for patch in patches]
    model = noise_model.estimate(list(patches), restored, np.random.default_rng(recipe.seed))
    if model is None:
        raise DataError(
            f"no noise is found in the pictures of {data.source}: they look clean, and clean ones need no folder "
            "noisy/ and no data.content; or they have hardly a smooth place"
        )
    return SelfSupervision.create(recipe.self_supervision, model, denoiser)


def _open_start(recipe: DenoiserRecipe, data: RestorationData, start: Path) -> Denoiser:
    """The denoiser that training started from, or starts from, in eval mode."""
    denoiser = build(recipe, data.bits)
    load_initial_weights(denoiser, start)
    return denoiser.eval()


def _choose_validation(
    recipe: DenoiserRecipe, data: RestorationData, device: torch.device, supervision: SelfSupervision | None
) -> Validation:
    if has_image_corruption(_corruptions(recipe, data)):
        return _photograph_validation(recipe, data, device)
    if supervision is not None:
        data = replace(data, validation=_draw_versions(supervision, data.validation))
    return _validation(recipe.name, data, device)


def _draw_versions(supervision: SelfSupervision, images: Sequence[EvaluationImage]) -> list[EvaluationImage]:
    """Of each noisy picture's centre two noisy versions, one the target: there is no clean one to measure by."""
    versions = []
    for number, image in enumerate(images):
        centre = _crop_centre(image.clean, MEASURED_SIZE)
        pixels = np.asarray(centre / np.float32(np.iinfo(centre.dtype).max), np.float32)
        shown, target = supervision.draw_versions(pixels, number)
        versions.append(replace(image, clean=target, noisy=shown))
    return versions


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


def build(recipe: DenoiserRecipe, bits: int = 8) -> Denoiser:
    """The recipe's architecture with its initial weights, which depend on the recipe's seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return Denoiser(recipe.architecture, bits)


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
        recipe, data, runs / name, device, start=start, minutes=minutes, log_folder=log_folder, resume=resume,
    )  # fmt: skip
    distributed.exit_unless_main()
    denoiser = result.network
    onnx_graphs: dict[Role, bytes] = {"denoiser": graphs.export_denoiser(denoiser)}
    supervision = _supervise(recipe, data, start) if data.is_noisy_alone else None
    int8_graph = _quantize(recipe, data, onnx_graphs["denoiser"], _quantization_pairs(data, denoiser, supervision))
    if int8_graph is not None:
        onnx_graphs["denoiser-int8"] = int8_graph
    int8 = None if int8_graph is None else quantization.onnx_denoiser(int8_graph)
    metrics = dict(
        denoisers.measure(
            partial(denoisers.restore, denoiser),
            data if supervision is None else replace(data, test=_draw_versions(supervision, data.test)),
            int8,
            None if start is None else partial(denoisers.restore, _open_start(recipe, data, start)),
        )
    )
    facts = package.build_manifest(
        name, next_version(models, name), recipe.kind, recipe.description, onnx_graphs,
        provenance.training_facts(recipe, data, start), metrics, halo=denoiser.halo,
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


def _quantization_pairs(
    data: RestorationData, denoiser: Denoiser, supervision: SelfSupervision | None
) -> list[tuple[Image, Array]]:
    """(noisy, clean) of the centres of validation images, by which the quantised graph is judged.

    Of noisy pictures alone the restored ones are taken for clean, with noise like theirs.
    """
    images = data.validation[:: -(-len(data.validation) // QUANTIZATION_IMAGES)]
    if supervision is None:
        return [
            (to_uint8(_crop_centre(noisy, CENTRE_SIZE)), _crop_centre(image.clean, CENTRE_SIZE))
            for image in images
            for noisy in denoisers.noisy_versions(image)
        ]
    restored = [denoisers.restore(denoiser, _crop_centre(image.clean, CENTRE_SIZE)) for image in images]
    return [(to_uint8(supervision.add_noise(clean, seed)), clean) for seed, clean in enumerate(restored)]


def _quantize(
    recipe: DenoiserRecipe, data: RestorationData, graph: bytes, held_out: Sequence[tuple[Image, Array]]
) -> bytes | None:
    """The graph in 8-bit integers; None if the recipe asks for none, or if it loses more than the recipe allows.

    Pictures of 16 bits have none either: what is between two of 256 levels would be lost.
    """
    section = recipe.quantization
    if section is None or data.bits == 16:
        return None
    noisy_crops = _draw_noisy_crops(recipe, data, section.calibration)
    calibration = [to_uint8(image) for image in noisy_crops.permute(0, 2, 3, 1).numpy()]

    def error(candidate: bytes) -> float:
        denoise = quantization.onnx_denoiser(candidate)
        return -psnr([mse(denoise(noisy), clean) for noisy, clean in held_out], denoisers.MAX_PSNR)

    int8_graph = quantization.quantize(graph, calibration, error, error(graph) + section.loss, section.percentiles)
    if int8_graph is None:
        print(f"{recipe.name}: not quantised, it would lose more than {section.loss} dB", file=sys.stderr)  # noqa: T201
    return int8_graph


def _crop_centre(image: Array, side: int) -> Array:
    """[H,W,C] -> at most [side,side,C] from its centre."""
    y, x = (max(0, (size - side) // 2) for size in image.shape[:2])
    return image[y : y + side, x : x + side]


def draw_figures(result: TrainingResult[Denoiser], data: RestorationData) -> figures.Figures:
    """The model card's figures: file name -> (caption, PNG or WebP)."""
    curve = figures.draw_learning_curve([("training", result.history)], "error")
    return {
        **restorations.draw_figures(
            partial(denoisers.restore, result.network), data.examples or data.test, has_clean=data.content == "clean"
        ),
        "learning_curve.png": ("Learning curve; the marked epoch was kept", curve),
    }
