"""Own data without a recipe: the settings of a run, from the kind of model and the shape and number of the samples.

--data, --kind, --set ... -> draft (checked before anything is read) -> samples -> complete -> AutoencoderRecipe

The steps of a run depend on the number of samples and on the work of a step, not on a clock, so the same command gives
the same weights, and takes some minutes on two cores at most. Wherever the latent is flat and linear, the autoencoder
has a linear path that starts as PCA and is kept unless training improves on it (training.architectures.linear_path).
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training import recipe as recipes
from training.data.datasets import Dataset
from training.errors import RecipeError
from training.recipe import AutoencoderRecipe, Convolutional, Dense, Recipe

KINDS = ("undercomplete", "stacked", "denoising")
"""Kinds whose settings are chosen here; of others they are those of the shipped recipe cats-KIND."""

EPOCHS = 20
MIN_STEPS, MAX_STEPS = 1000, 6000
PASSES = 300  # over the training samples, at most, where that are more than MIN_STEPS
STEP_OPERATIONS = 1.5e12  # multiplications of all steps together, at most: some minutes on two cores
FEW_SAMPLES = 1000  # below, layers are narrower
LATENT_DIM = 32
MAX_NOISE = 0.55  # standard deviation, of pixels in 0..1 or of standardised numbers
SMALLEST_MAP = 5  # pixels a side, to which convolutions bring a picture, at least

_LENGTH = {"optimization.epochs", "optimization.steps_per_epoch"}
_DENSE_ONLY = {*Dense.model_fields} - {*Convolutional.model_fields}
_CONVOLUTIONAL_ONLY = {*Convolutional.model_fields} - {*Dense.model_fields}


@dataclass(frozen=True)
class OwnData:
    """A run on own data: `changes` are dotted keys of a recipe and their values, as the user gave them."""

    kind: str
    changes: Mapping[str, Any]

    def draft(self) -> Recipe:
        """A recipe for samples of no known shape, by which the changes are checked; RecipeError if one is wrong."""
        return self._build((28, 28, 1), FEW_SAMPLES)

    def complete(self, data: Dataset) -> Recipe:
        """The recipe for these samples."""
        return self._build(data.sample_shape, len(data.train))

    def _build(self, shape: tuple[int, ...], samples: int) -> Recipe:
        """`shape`: (H, W, C) of pictures, (D,) of vectors; `samples`: of the train split."""
        if self.kind not in KINDS:
            shipped = recipes.load(f"cats-{self.kind}", {"notes": "none", "ablation": [], **self.changes})
            if not isinstance(shipped, AutoencoderRecipe) or _LENGTH & set(self.changes):
                return shipped
            steps = math.ceil(choose_steps(shipped, shape, samples) / EPOCHS)
            return recipes.with_changes(shipped, {"optimization.epochs": EPOCHS, "optimization.steps_per_epoch": steps})
        document: dict[str, Any] = {
            "kind": self.kind,
            "architecture": self._choose_architecture(shape, samples),
            "optimization": {
                "epochs": EPOCHS,
                "batch_size": 32 if samples < 10 * FEW_SAMPLES else 64,
                "learning_rate": 1e-3,
                "weight_decay": 0.02,
                "schedule": "cosine",
                "warmup": 0.05,
                "clip": 1.0,
            },
        }
        if len(shape) == 3:
            document["augmentation"] = _augment(shape)
        if self.kind == "denoising":
            document["corruption"] = [{"kind": "gaussian", "level": [0.0, MAX_NOISE]}]
        built = recipes.build(document, self.changes, f"--data with --kind {self.kind}")
        if not isinstance(built, AutoencoderRecipe):
            raise RecipeError(
                "--data with --kind makes autoencoders; the unet architecture needs a recipe, such as photos"
            )
        if "optimization.steps_per_epoch" in self.changes:
            return built
        steps = choose_steps(built, shape, samples)
        return recipes.with_changes(built, {"optimization.steps_per_epoch": math.ceil(steps / EPOCHS)})

    def _choose_architecture(self, shape: tuple[int, ...], samples: int) -> dict[str, Any]:
        """Convolutions for pictures, but for a stack; dense layers for vectors; what the changes name decides first."""
        given = {
            key.removeprefix("architecture."): value
            for key, value in self.changes.items()
            if key.startswith("architecture.") and value != "none"
        }
        is_picture = len(shape) == 3 and min(shape[:2]) >= 2 * SMALLEST_MAP
        name = "convolutional" if is_picture and self.kind != "stacked" else "dense"
        if _CONVOLUTIONAL_ONLY & set(given):
            name = "convolutional"
        elif _DENSE_ONLY & set(given) or isinstance(given.get("hidden"), list):
            name = "dense"
        name = given.get("type", name)
        is_spatial = name == "convolutional" and self.kind == "denoising" and "latent_dim" not in given
        document: dict[str, Any] = {"type": name}
        if not is_spatial and "latent_channels" not in given:
            document["latent_dim"] = LATENT_DIM if len(shape) == 3 else max(2, min(LATENT_DIM, shape[0] // 4))
            document["linear_path"] = not (
                {"latent_activation", "output_activation", "tied"} & set(given)
                or any(key.startswith("pretraining") for key in self.changes)
            )
        if name == "dense":
            widths = (512, 256) if self.kind == "stacked" else (512,) if self.kind == "denoising" else (256,)
            scale = 2 if samples < FEW_SAMPLES or math.prod(shape) < 256 else 1
            document |= {"hidden": [width // scale for width in widths], "activation": "silu"}
            return document
        if is_spatial:
            return {**document, "channels": [32], "encoder_blocks": [2], "decoder_blocks": [2], "head": 16,
                    "latent_channels": 32}  # fmt: skip
        stages = max(1, min(4, int(math.log2(min(shape[:2] if len(shape) == 3 else shape) / SMALLEST_MAP))))
        channels = given.get("channels", [16, 32, 64, 64][:stages])
        blocks = [0, *[1] * 8][: len(channels)] if isinstance(channels, list) else [0]
        hidden = 256 if samples < FEW_SAMPLES else 512
        return {**document, "channels": channels, "encoder_blocks": blocks, "decoder_blocks": blocks, "hidden": hidden}


def describe(recipe: Recipe) -> str:
    """One line on the settings, for the user and the model card."""
    architecture, optimization = recipe.architecture, recipe.optimization
    if isinstance(architecture, Dense):
        layers = f"dense layers of {' and '.join(map(str, architecture.hidden)) or 'no'} units"
    elif isinstance(architecture, Convolutional):
        layers = f"convolutions of {' and '.join(map(str, architecture.channels))} channels"
    else:
        layers = "a U-net"
    latent = architecture.latent_dim if isinstance(architecture, Dense | Convolutional) else None
    size = f", a latent of {latent} numbers" if latent else ""
    start = (
        ", starting from PCA" if isinstance(architecture, Dense | Convolutional) and architecture.linear_path else ""
    )
    steps = optimization.steps_per_epoch
    length = f", {optimization.epochs} epochs" + (f" of {steps} steps" if steps else "")
    return f"settings: {layers}{size}{start}{length}"


def choose_steps(recipe: AutoencoderRecipe, shape: tuple[int, ...], samples: int) -> int:
    """Steps of a run: many passes over few samples; of many samples or a large network what takes some minutes."""
    batch = recipe.optimization.batch_size
    wanted = max(MIN_STEPS, min(MAX_STEPS, PASSES * samples // batch))
    return max(EPOCHS, min(wanted, int(STEP_OPERATIONS / (batch * count_operations(recipe, shape)))))


def count_operations(recipe: AutoencoderRecipe, shape: tuple[int, ...]) -> int:
    """Multiplications of one sample's way through encoder and decoder, about."""
    size = math.prod(shape)
    architecture = recipe.architecture
    latent = architecture.latent_dim or 0
    linear = 2 * size * latent if architecture.linear_path else 0
    if isinstance(architecture, Dense):
        widths = [size, *architecture.hidden, latent]
        return linear + 2 * sum(a * b for a, b in itertools.pairwise(widths))
    pixels, inputs = size // (shape[2] if len(shape) == 3 else 1), shape[2] if len(shape) == 3 else 1
    kernel, block_kernel = (16, 9) if len(shape) == 3 else (4, 3)
    total = 9 * pixels * architecture.head * (inputs + 1)
    for channels, *blocks in zip(
        architecture.channels, architecture.encoder_blocks, architecture.decoder_blocks, strict=True
    ):
        pixels //= 4 if len(shape) == 3 else 2
        total += 2 * kernel * pixels * inputs * channels + 2 * block_kernel * pixels * channels**2 * sum(blocks)
        inputs = channels
    if latent:
        total += 2 * (pixels * inputs * (architecture.hidden or latent) + architecture.hidden * latent)
    return linear + total


def _augment(shape: tuple[int, ...]) -> dict[str, Any]:
    """Small movements, which make more of few pictures; they fade before the end. Colour pictures are also mirrored."""
    moves = {"shift": max(1.0, min(shape[:2]) / 28), "rotate": 5.7, "scale": 0.08, "shear": 0.1, "elastic": 0.06}
    return {"flip": shape[2] == 3, **moves, "fade": [0.5, 0.9], "edge": "mirrored"}
