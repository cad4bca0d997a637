"""One training run of a denoiser for images of any size, top to bottom.

recipe -> patches -> U-net -> loop -> one graph `image` -> `denoised` [-> a second one in eight bits]
  -> measured on whole images -> package
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from service.model import package
from service.model.manifest import Manifest, Role
from service.model.runtime import Model
from training.architectures.unet import Denoiser
from training.data.patches import EvaluationImage, RestorationData
from training.engine import distributed
from training.engine.corruption import Corruptor
from training.engine.loop import History, autocast, fit
from training.errors import ParityError
from training.evaluation import denoisers, figures
from training.evaluation.metrics import mse, psnr
from training.export import card, provenance, quantization
from training.export import package as export
from training.recipe import Recipe, Unet

VALIDATED = 2_500_000  # pixels of noisy images, about, after every epoch
QUANTIZED = 12  # validation images that quantisation is judged by, of each their middle
MIDDLE = 192  # pixels a side
FAILURES = 4  # groups whose worst image is shown
PART = (160, 420)  # height and width of what is shown of it

Eight = NDArray[np.uint8]  # [H,W,C]


@dataclass
class Trained:
    """A denoiser with the weights of its best epoch, on the CPU, and how it got there."""

    denoiser: Denoiser
    history: History


class RandomCrops:
    """(patches uint8 [B,P,P,C or 2C], generator) -> (clean, noisy) float [B,C,p,p]: crops, turned, with noise."""

    def __init__(self, recipe: Recipe, *, paired: bool) -> None:
        self.crop, self.augmentation, self.paired = recipe.data.crop, recipe.augmentation, paired
        self.corrupt = Corruptor(recipe.corruption, pixels=False)

    def __call__(self, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        height, width = batch.shape[1:3]
        y, x, mirror, turns = (
            torch.randint(most, (len(batch),), generator=generator, device=batch.device).tolist()
            for most in (height - self.crop + 1, width - self.crop + 1, 2, 4)
        )
        views = []
        for sample, top, left, flipped, turned in zip(batch, y, x, mirror, turns, strict=True):
            view = sample[top : top + self.crop, left : left + self.crop]
            if self.augmentation.flip and flipped:
                view = view.flip(1)
            views.append(view.rot90(turned) if self.augmentation.quarter_turns else view)
        pixels = torch.stack(views).permute(0, 3, 1, 2).float() / 255
        if self.paired:
            clean, noisy = pixels.chunk(2, dim=1)
        else:
            clean = self._some_grey(pixels, generator)
            noisy = self._as_files(self.corrupt(clean, generator), clean, generator)
        unharmed = self._random_mask(len(batch), self.augmentation.clean, pixels, generator)
        noisy = torch.where(unharmed, clean, noisy)
        return tuple(part.contiguous(memory_format=torch.channels_last) for part in (clean, noisy))  # type: ignore[return-value]

    def _as_files(self, noisy: Tensor, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Half of them clipped and rounded to 8 bits; where all colours are equal, their noise is equal too."""
        if clean.shape[1] == 3:
            grey = (clean[:, :1] == clean).all(dim=(1, 2, 3), keepdim=True)
            noisy = torch.where(grey, noisy[:, :1], noisy)
        files = self._random_mask(len(noisy), 0.5, noisy, generator)
        return torch.where(files, (noisy.clamp(0, 1) * 255).round() / 255, noisy)

    def _some_grey(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        if not self.augmentation.grey:
            return pixels
        chosen = self._random_mask(len(pixels), self.augmentation.grey, pixels, generator)
        return torch.where(chosen, pixels.mean(1, keepdim=True), pixels)

    @staticmethod
    def _random_mask(count: int, share: float, pixels: Tensor, generator: torch.Generator) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=generator, device=pixels.device) < share


def train(recipe: Recipe, data: RestorationData, folder: Path, device: torch.device) -> Trained:
    """Fit the recipe's denoiser; checkpoints lie in `folder`, and a run that was killed goes on from them."""
    denoiser = build(recipe).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator(device).manual_seed(recipe.seed)
    views = RandomCrops(recipe, paired=data.is_paired)
    measure = LOSSES[recipe.optimization.loss]

    def objective(module: nn.Module, batch: Tensor, _: float, generator: torch.Generator) -> Tensor:
        clean, noisy = views(batch, generator)
        return measure(excess(module(noisy).float(), clean))

    held_out = [[(image.clean, noisy) for noisy in denoisers.noisy_versions(image)] for image in data.validation]
    pixels = sum(clean.shape[0] * clean.shape[1] for versions in held_out for clean, _ in versions)
    some = [version for versions in held_out[:: -(-pixels // VALIDATED)] for version in versions]

    def validate(module: nn.Module) -> float:
        """Root mean squared error of each image, mean over images."""
        if not isinstance(module, Denoiser):
            raise TypeError("This is a bug: only denoisers are trained here")
        with autocast(device, "fp32"):
            errors = [mse(denoisers.restore(module, noisy), clean) for clean, noisy in some]
        return float(np.mean(np.sqrt(errors)))

    history = fit(
        denoiser, torch.from_numpy(data.train).to(device), objective, validate, recipe.optimization,
        generator=generator, file=folder / "checkpoint.pt",
        fingerprint=f"{recipe.digest} {data.digest}", title=recipe.name,
    )  # fmt: skip
    return Trained(denoiser.cpu().eval(), history)


def negative_psnr(error: Tensor) -> Tensor:
    """Of an error [B,C,H,W], pixels in 0..1: a tenth of ln(MSE), averaged over images as PSNR is; 0.023 are 1 dB.

    So faint noise counts as much as strong noise (Chen et al., "Simple Baselines for Image Restoration", ECCV 2022, use
    it too); errors below 1.5 of 255 count little.
    """
    return 0.1 * (error.square().mean((1, 2, 3)) + (1.5 / 255) ** 2).log().mean()


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "l1": lambda error: error.abs().mean(),
    "mse": lambda error: error.square().mean(),
    "psnr": negative_psnr,
}


def excess(output: Tensor, clean: Tensor) -> Tensor:
    """output - clean, but 0 where the port's clamp puts it right: above white paper, below black.

    The denoiser need not cancel a paper's texture to the last digit. Where the clamp is wrong the error stays whole.
    """
    harmless = ((clean >= 1) & (output > 1)) | ((clean <= 0) & (output < 0))
    return torch.where(harmless, 0.0, output - clean)


def build(recipe: Recipe) -> Denoiser:
    """The recipe's architecture with its first weights."""
    if not isinstance(recipe.architecture, Unet):
        raise TypeError("This is a bug: restoration is for the unet architecture")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return Denoiser(recipe.architecture)


def run(recipe: Recipe, data: RestorationData, out: Path, runs: Path, device: torch.device) -> Path:
    """Train, measure, export; returns the directory of the new package, <out>/<version>/.

    Of several processes the first alone measures and exports; the others end when all is trained.
    """
    models, name = out.parent, out.name
    trained = train(recipe, data, runs / name, device)
    distributed.exit_unless_main()
    denoiser = trained.denoiser
    graph: dict[Role, bytes] = {"denoiser": export.denoiser(denoiser)}
    eight_bits = _quantize(recipe, data, graph["denoiser"])
    if eight_bits is not None:
        graph["denoiser-int8"] = eight_bits
    metrics = dict(
        denoisers.measure(denoiser, data, None if eight_bits is None else quantization.onnx_denoiser(eight_bits))
    )
    version = package.next_version(models, name)
    facts = export.denoiser_manifest(
        name, version, recipe.description, graph, provenance.training_facts(recipe, data), metrics, denoiser.halo
    )
    sentence = _parity(denoiser, data, facts, graph)
    drawn = draw(trained, data)
    text = card.render(facts, {file: caption for file, (caption, _) in drawn.items()}, recipe.notes, sentence)
    files = {"README.md": text.encode(), **{file: png for file, (_, png) in drawn.items()}}
    return export.write(models, facts, graph, files)


def _quantize(recipe: Recipe, data: RestorationData, graph: bytes) -> bytes | None:
    """The graph in eight-bit whole numbers, if the recipe asks for one and it loses as little as allowed."""
    if recipe.quantization is None:
        return None
    generator = torch.Generator().manual_seed(recipe.seed)
    order = torch.randperm(len(data.train), generator=generator)[: recipe.quantization.calibration]
    _, noisy = RandomCrops(recipe, paired=data.is_paired)(torch.from_numpy(data.train[order.numpy()]), generator)
    calibration = [_eight_bits(image) for image in noisy.permute(0, 2, 3, 1).numpy()]
    held_out = [
        (_eight_bits(_middle(noisy)), _middle(image.clean))
        for image in data.validation[:: -(-len(data.validation) // QUANTIZED)]
        for noisy in denoisers.noisy_versions(image)
    ]

    def error(candidate: bytes) -> float:
        served = quantization.onnx_denoiser(candidate)
        return -psnr([mse(served(noisy), clean) for noisy, clean in held_out], denoisers.MAX_PSNR)

    asked = recipe.quantization
    found = quantization.quantize(graph, calibration, error, error(graph) + asked.loss, asked.percentiles)
    if found is None:
        print(f"{recipe.name}: not quantised, it would lose more than {recipe.quantization.loss} dB", file=sys.stderr)  # noqa: T201
    return found


def _middle(image: np.ndarray) -> np.ndarray:
    """[H,W,C] -> at most [MIDDLE,MIDDLE,C] of it."""
    top, left = (max(0, (there - MIDDLE) // 2) for there in image.shape[:2])
    return image[top : top + MIDDLE, left : left + MIDDLE]


def _parity(denoiser: Denoiser, data: RestorationData, facts: Manifest, graph: Mapping[Role, bytes]) -> str:
    """Opens the package as the service will and compares it with torch on every test image."""
    model = Model(package.verify(facts, graph, label=f"{facts.name}/{facts.version}"), "cpu", precision="fp32")
    worst = 0
    for image in data.test:
        noisy = denoisers.noisy_versions(image)[0]
        served, expected = model.denoise(_eight_bits(noisy)[None])[0], denoisers.restore(denoiser, _eight_bits(noisy))
        worst = max(worst, int(np.abs(served.astype(int) - np.rint(expected * 255).astype(int)).max()))
    if worst > export.GREY_LEVELS:
        raise ParityError(
            f"onnxruntime and torch differ by {worst} grey levels on the test images, at most {export.GREY_LEVELS} is "
            f"allowed; no package was written"
        )
    return f"onnxruntime and torch differ on all test images by at most {worst} grey level{'s' * (worst != 1)}."


def draw(trained: Trained, data: RestorationData) -> dict[str, tuple[str, bytes]]:
    """The report's pictures: file name -> (caption, PNG)."""
    images = data.examples or data.test
    groups: dict[str, EvaluationImage] = {}
    for image in images:
        groups.setdefault(image.group, image)
    chosen = list(groups.values()) if len(groups) > 1 else list(images[:4])
    rows = [_shown(trained.denoiser, image) for image in chosen]
    failures = [_worst_part(*row) for row in _worst(trained.denoiser, images)]
    return {
        "before-after.png": (
            "Held-out images: noisy, denoised, and the clean original",
            figures.draw_before_after(rows),
        ),
        "failures.png": (
            "Where it fails: the parts of held-out images that came out worst; noisy, denoised, and the clean original",
            figures.draw_before_after(failures),
        ),
        "learning_curve.png": (
            "Learning curve; the marked epoch was kept",
            figures.draw_learning_curve([("training", trained.history)], "error"),
        ),
    }


Row = tuple[str, Eight, Eight, Eight]
"""Group, then noisy, denoised, clean: uint8 [H,W,C]."""


def _shown(denoiser: Denoiser, image: EvaluationImage) -> Row:
    versions = denoisers.noisy_versions(image)
    noisy = versions[len(versions) // 2]
    restored = denoisers.restore(denoiser, noisy)
    return image.group, _eight_bits(noisy), _eight_bits(restored), image.clean


def _worst(denoiser: Denoiser, images: Sequence[EvaluationImage]) -> list[Row]:
    """The image of largest error of each group, at most FAILURES, the worst first."""
    worst: dict[str, tuple[float, Row]] = {}
    for image in images:
        row = _shown(denoiser, image)
        error = mse(row[2], row[3])
        if error > worst.get(image.group, (-1.0, row))[0]:
            worst[image.group] = error, row
    return [row for _, row in sorted(worst.values(), key=lambda found: -found[0])[:FAILURES]]


def _worst_part(group: str, noisy: Eight, restored: Eight, clean: Eight) -> Row:
    """The piece of PART (height, width) with the largest error."""
    wrong = np.square(restored.astype(np.float32) - clean).mean(-1)
    height, width = (min(most, there) for most, there in zip(PART, wrong.shape, strict=True))
    total = np.pad(wrong.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    y, x = (int(at) for at in np.unravel_index(inside.argmax(), inside.shape))
    noisy, restored, clean = (image[y : y + height, x : x + width] for image in (noisy, restored, clean))
    return group, noisy, restored, clean


def _eight_bits(pixels: np.ndarray) -> Eight:
    """As a file holds it: uint8 stays, float in 0..1 is clipped and rounded."""
    return pixels if pixels.dtype == np.uint8 else np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)
