"""The recipe: one TOML document that says all that a training run does. Frozen, validated, unknown keys refused.

TOML -> Recipe; Recipe.digest names it, so that a checkpoint of another recipe is never resumed by mistake.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.model.manifest import Kind, ModelName
from training.errors import RecipeError

CorruptionKind = Literal["gaussian", "masking", "salt-and-pepper", "camera"]
LossName = Literal["mse", "l1", "psnr", "bce"]
Weights = Literal["float32", "float16"]
Start = Literal["random", "frozen", "fine-tuned"]
Share = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Section):
    """The data line. `source`: `quickdraw/cats`, `mnist`, a set of data.mnist_variations (`mnist-rot`), or a path: a
    folder of images, .npy, .npz, IDX, CSV."""

    source: str
    licence: str = "not stated"
    size: int | None = Field(None, ge=4, le=1024, description="resize images to size x size pixels")
    validation_samples: int | None = Field(
        None,
        ge=1,
        description="mnist and folders of IDX files: so many of the training samples, those of the smallest "
        "SHA-256, are validation; without it a fifth",
    )
    label_column: int | None = Field(None, ge=0, description="CSV column to leave out, counted from 0")
    noisy: str | None = Field(None, description="folder of noisy images, named as the clean ones of `source`")
    validation: str | None = Field(None, description="where the validation images lie, if not a part of `source`")
    test: str | None = Field(None, description="where the test images lie, if not a part of `source`")
    patch: int = Field(160, ge=16, le=1024, description="images of any size are cut into patches of so many pixels")
    detail: float = Field(
        0,
        ge=0,
        le=255,
        description="photographs: mean |Laplacian| (of 255) at which a patch is kept "
        "for sure; smoother ones are kept in proportion; 0: all are kept",
    )
    crop: int = Field(96, ge=16, le=1024, description="what one training step sees of a patch, at a random place")


class Augmentation(_Section):
    """Random, label-free changes of a clean image, each drawn anew per sample; see training.engine.augmentation."""

    flip: bool = False
    quarter_turns: bool = Field(False, description="unet only: turned by 0, 90, 180 or 270 degrees")
    clean: Share = Field(0, description="unet only: share of samples given clean, which must come through unharmed")
    grey: Share = Field(0, description="unet of 3 channels only: share of samples whose colours are made equal")
    shift: float = Field(0, ge=0, le=16, description="pixels, up to, each direction")
    rotate: float = Field(0, ge=0, le=180, description="degrees, up to, each direction")
    scale: Share = 0
    shear: Share = 0
    elastic: Share = Field(0, description="standard deviation of a 4x4 displacement field, of half the image")
    fade: tuple[Share, Share] = Field((1, 1), description="parts of the run between which it fades to none")


UNET_ONLY = {"quarter_turns", "clean", "grey"}


class Corruption(_Section):
    """Noise on the input; the target stays clean (Vincent et al. 2008). `level` is drawn per sample between two.

    A corruption of `weight` 2 is drawn twice as often as one of weight 1.
    """

    kind: CorruptionKind
    level: tuple[Share, Share]
    weight: float = Field(1, gt=0, le=1000)
    fill: Literal["zero", "mean"] = Field(
        "zero", description="masking: what stands in a number's place: 0, or its mean over the train split"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.fill != "zero" and self.kind != "masking":
            raise ValueError(f'fill is for kind "masking": {self.kind} leaves no place empty')
        return self


class Dense(_Section):
    """Fully connected: input, `hidden`, latent, and back in reverse order."""

    type: Literal["dense"] = "dense"
    hidden: tuple[Annotated[int, Field(ge=1, le=16384)], ...] = ()
    latent_dim: int = Field(ge=1, le=16384)
    activation: Literal["relu", "silu", "gelu", "selu", "tanh", "sigmoid"] = "relu"
    latent_activation: Literal["linear", "relu", "tanh", "sigmoid"] = "linear"
    output_activation: Literal["linear", "sigmoid"] = "linear"
    batch_norm: bool = False
    centered: bool = Field(False, description="the encoder sees a sample less the mean of the train split")
    tied: bool = Field(False, description="decoder weights are the encoder's, transposed")


class Convolutional(_Section):
    """Residual convolutions, halved in size once per entry of `channels`; see training.architectures.autoencoder."""

    type: Literal["convolutional"] = "convolutional"
    channels: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field((16, 32), min_length=1, max_length=5)
    encoder_blocks: tuple[Annotated[int, Field(ge=0, le=16)], ...] = (0, 1)
    decoder_blocks: tuple[Annotated[int, Field(ge=0, le=16)], ...] = (0, 1)
    hidden: int = Field(0, ge=0, le=8192, description="width of a dense layer beside the latent; 0: none")
    head: int = Field(0, ge=0, le=1024, description="channels of a full-size layer before the output; 0: none")
    latent_dim: int | None = Field(None, ge=1, le=16384, description="a flat latent of so many numbers")
    latent_channels: int | None = Field(None, ge=1, le=1024, description="a spatial latent of so many channels")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.latent_dim is None) == (self.latent_channels is None):
            raise ValueError("give either latent_dim (flat) or latent_channels (spatial)")
        if not len(self.channels) == len(self.encoder_blocks) == len(self.decoder_blocks):
            raise ValueError("channels, encoder_blocks and decoder_blocks must be equally long")
        return self


class Unet(_Section):
    """A denoiser with skip connections, for images of any size; see training.architectures.unet."""

    type: Literal["unet"] = "unet"
    channels: Literal[1, 3] = Field(1, description="1: grey, 3: RGB")
    unshuffle: Literal[1, 2] = Field(2, description="2: half size from the first layer on, a quarter of the work")
    widths: tuple[Annotated[int, Field(ge=4, le=1024)], ...] = Field((24, 48, 96), min_length=1, max_length=5)
    encoder_blocks: tuple[Annotated[int, Field(ge=0, le=16)], ...] = (1, 1, 2)
    decoder_blocks: tuple[Annotated[int, Field(ge=0, le=16)], ...] = (1, 1)
    context: int = Field(0, ge=0, le=63, description="side of the max-pooling at the lowest level, odd; 0: none")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.context and self.context % 2 == 0:
            raise ValueError("context must be odd, or 0")
        if not len(self.widths) == len(self.encoder_blocks) == len(self.decoder_blocks) + 1:
            raise ValueError("encoder_blocks must be as long as widths, decoder_blocks one shorter")
        return self


class Optimization(_Section):
    """AdamW, or Muon (Jordan et al. 2024) for the weights and AdamW for the rest.

    The error is the mean squared or mean absolute error, or binary cross-entropy where the output is a sigmoid.
    """

    epochs: int = Field(ge=1, le=100_000)
    batch_size: int = Field(64, ge=1, le=65_536)
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0, le=10)
    adamw_learning_rate: float = Field(2e-3, gt=0, le=10, description="of what Muon leaves to AdamW")
    weight_decay: float = Field(0, ge=0, le=1)
    loss: LossName = "mse"
    emphasis: Share = Field(
        0,
        description="numbers that the corruption left alone count 1 - emphasis in the error; with 1, only those that "
        "must be guessed from the others count (Vincent et al., JMLR 11, 2010, section 3.4)",
    )
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: Share = Field(0, description="part of the run in which the learning rate rises from 0")
    ema: float = Field(0, ge=0, lt=1, description="decay of the running average of the weights; 0: off")
    patience: int = Field(0, ge=0, description="epochs without a better validation error until it stops; 0: never")
    precision: Literal["fp32", "bf16"] = "fp32"
    clip: float = Field(0, ge=0, description="largest gradient norm; 0: off")


class Quantization(_Section):
    """Beside the graph in floats a second one in eight-bit whole numbers, if it loses little; see
    training.export.quantization."""

    loss: float = Field(0.05, gt=0, le=3, description="dB of PSNR on validation that it may lose, at most")
    calibration: int = Field(64, ge=1, le=4096, description="training patches that give the ranges")
    percentiles: list[float] = Field(
        [99.99, 99.999], min_length=1, description="where ranges may end; validation takes the best"
    )


class Pretraining(_Section):
    """Greedy layer-wise pretraining: each layer first learns to reconstruct the latents of the one before."""

    epochs: int = Field(ge=0, le=100_000)
    batch_size: int = Field(64, ge=1, le=65_536)
    learning_rate: float = Field(1e-3, gt=0, le=10)
    masking: Share = Field(0, description="share of each layer's inputs set to 0 (a stacked denoising autoencoder)")


class Classification(_Section):
    """What `autoencoder-train classify` does with the encoder; labels come with the data, see training.data.labels."""

    starts: tuple[Start, ...] = Field(
        ("random", "frozen", "fine-tuned"),
        min_length=1,
        description="random: the same layers with initial weights; frozen: the trained encoder, only the layer "
        "behind it learns; fine-tuned: all learn",
    )
    labels: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="labelled training samples of each class, a row of the table each; empty: all there are"
    )
    seeds: int = Field(5, ge=1, le=1000)
    dropout: Share = Field(0, lt=1, description="behind each layer of the encoder (Srivastava et al., JMLR 15, 2014)")
    masking: Share = Field(0, lt=1, description="share of the encoder's inputs set to 0 while learning")
    noise: float = Field(0, ge=0, le=10, description="standard deviation of normal noise on inputs while learning")
    steps: int = Field(0, ge=0, description="of few labels more epochs are made, until there were so many steps")
    optimization: Optimization


class Ablation(_Section):
    """The same recipe with something changed, trained and measured beside it: `set` as on the command line."""

    name: str
    set: dict[str, Any]


class Recipe(_Section):
    name: ModelName
    kind: Kind
    description: str = Field(min_length=1, max_length=500)
    seed: int = Field(0, ge=0)
    data: Data
    augmentation: Augmentation = Augmentation()
    corruption: tuple[Corruption, ...] = ()
    architecture: Annotated[Dense | Convolutional | Unet, Field(discriminator="type")]
    pretraining: Pretraining | None = None
    optimization: Optimization
    weights: Weights = Field("float32", description="how a package keeps its large matrices")
    quantization: Quantization | None = None
    classification: Classification | None = None
    ablation: tuple[Ablation, ...] = ()
    notes: str = Field("", description="paragraphs for the model card, Markdown")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unet = isinstance(self.architecture, Unet)
        if unet and self.kind != "denoising":
            raise ValueError("the unet architecture is for kind denoising: it has no bottleneck to encode into")
        if not unet and (self.kind == "denoising") != bool(self.corruption):
            raise ValueError("kind denoising needs a corruption, other kinds must not have one")
        if not unet and (self.data.noisy or self.data.validation or self.data.test):
            raise ValueError("data.noisy, data.validation and data.test are for the unet architecture")
        if self.weights != "float32" and not (isinstance(self.architecture, Dense) and not self.architecture.tied):
            raise ValueError('weights "float16" is for the dense architecture without tied weights')
        if unet and self.classification is not None:
            raise ValueError("classification needs a latent, which the unet architecture has not")
        if not unet and self.quantization is not None:
            raise ValueError("quantization is for the unet architecture")
        if self.optimization.emphasis and (unet or not self.corruption):
            raise ValueError("optimization.emphasis needs a corruption, and is not for the unet architecture")
        if unet and any(corruption.fill != "zero" for corruption in self.corruption):
            raise ValueError('corruption.fill "mean" is not for the unet architecture, whose images have no fixed size')
        if not unet and self.optimization.loss in ("l1", "psnr"):
            raise ValueError(f'loss "{self.optimization.loss}" is for the unet architecture')
        usual = Augmentation()
        changes = {key for key, value in self.augmentation if value != getattr(usual, key)}
        if not unet and changes & UNET_ONLY:
            raise ValueError(f"augmentation.{min(changes & UNET_ONLY)} is for the unet architecture")
        if unet and changes - UNET_ONLY - {"flip"}:
            raise ValueError(f"augmentation.{min(changes - UNET_ONLY - {'flip'})} is not for the unet architecture")
        if self.data.crop > self.data.patch:
            raise ValueError(f"data.crop ({self.data.crop}) must not be larger than data.patch ({self.data.patch})")
        if self.pretraining is not None and not isinstance(self.architecture, Dense):
            raise ValueError("greedy layer-wise pretraining is for the dense architecture")
        if self.optimization.loss == "bce" and getattr(self.architecture, "output_activation", "") != "sigmoid":
            raise ValueError('loss "bce" needs output_activation "sigmoid"')
        return self

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of everything that decides the weights; a key left at its default counts as left out."""
        decisive = self.model_dump_json(
            exclude={"description", "ablation", "notes", "quantization", "classification"}, exclude_defaults=True
        )
        return hashlib.sha256(decisive.encode()).hexdigest()


def builtin_recipes() -> dict[str, Path]:
    """The recipes of the published models: name -> file."""
    folder = Path(str(resources.files("training"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load(source: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe by file path or by the name of a shipped one.

    Args:
        source: "my-recipe.toml" or "cats-stacked".
        changes: dotted key -> value, applied before validation: {"optimization.epochs": 3}.
    Raises:
        RecipeError: no such file or name, not TOML, an unknown key, a value out of range.
    """
    path = builtin_recipes().get(source, Path(source))
    if not path.is_file():
        raise RecipeError(f"no recipe {source!r}: give a .toml file, or one of {', '.join(builtin_recipes())}")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path.name} is not TOML: {error}") from error
    return build(document, changes or {}, path.name)


def build(document: dict[str, Any], changes: Mapping[str, Any], where: str) -> Recipe:
    """Validate a recipe's document with changes applied; `where` names it in errors."""
    for key, value in changes.items():
        _assign(document, key, value, where)
    try:
        return Recipe.model_validate(document)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise RecipeError(f"{where}: {key}: {first['msg']}") from invalid


def with_changes(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with dotted keys set to other values; a value of "none" removes the key."""
    return build(recipe.model_dump(mode="json", exclude_none=True), changes, recipe.name)


def _assign(document: dict[str, Any], key: str, value: Any, where: str) -> None:
    *parents, last = key.split(".")
    table: Any = document
    for parent in parents:
        table = table.setdefault(parent, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        raise RecipeError(f"{where}: {key} is not a key of a table")
    if value == "none":
        table.pop(last, None)
    else:
        table[last] = value
