"""Recipes: a TOML document describes a whole training run. Validated and frozen; unknown keys are errors.

TOML -> changes applied -> architecture.type -> AutoencoderRecipe | DenoiserRecipe

There are two schemas: an autoencoder has a latent and samples of one size; a denoiser (the unet architecture) takes
images of any size. `digest` identifies a recipe, so that a checkpoint of another recipe is never resumed by mistake.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.model.manifest import Fit, ModelName
from training.errors import RecipeError

CorruptionKind = Literal["gaussian", "masking", "salt-and-pepper", "camera", "jpeg"]
LossName = Literal["mse", "l1", "psnr", "bce"]
Weights = Literal["float32", "float16"]
Start = Literal["random", "frozen", "fine-tuned"]
SelfSupervision = Literal["recorrupted", "refined", "neighbor2neighbor"]
TrainedKind = Literal["undercomplete", "stacked", "denoising", "variational", "sparse"]
Share = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Section):
    """Where the data lies, and under which licence it may be used."""

    source: str
    licence: str = "not stated"


class AutoencoderData(Data):
    """Samples of one size. `source`: `quickdraw/cats`, `mnist`, a set of data.public.mnist_variations (`mnist-rot`),
    or a path: a folder of images, .npy, .npz, IDX, CSV."""

    size: int | None = Field(None, ge=4, le=1024, description="resize images to size x size pixels")
    validation_samples: int | None = Field(
        None,
        ge=1,
        description="mnist and folders of IDX files: so many of the training samples, those of the smallest "
        "SHA-256, are validation; without it a fifth",
    )
    label_column: Annotated[int, Field(ge=0)] | str | None = Field(
        None, description="column of a table, by name or counted from 0, that holds a label and no number of the sample"
    )
    fit: Fit = Field(
        "contain",
        description="with size: contain keeps all of a picture and its shape, cover fills and cuts, stretch distorts; "
        "the package says so to the service",
    )
    leave_out_damaged: bool = Field(
        False, description="pictures that cannot be read, and rows of a table with gaps, are left out and counted"
    )
    ignore: tuple[Annotated[int, Field(ge=0)] | str, ...] = Field(
        (), description="columns of a table to leave out, by name or counted from 0"
    )
    delimiter: Literal[",", ";", "\t", "|", " "] | None = Field(
        None, description="of a CSV; without it the one that fits the first rows"
    )
    decimal: Literal[".", ","] | None = Field(None, description="decimal sign of a CSV; without it the one that fits")


class DenoiserData(Data):
    """Images of any size. `source`: `pages/mixed`, `pages/noisy-office`, `photos-free`, or a path: a folder of clean
    images, or .npz of clean and noisy ones."""

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
    crop: int = Field(96, ge=16, le=1024, description="side of the part of a patch that one training step uses")
    leave_out_damaged: bool = Field(False, description="pictures that cannot be read are left out and counted")
    content: Literal["clean", "noisy"] = Field(
        "clean", description="what the pictures of `source` are; of noisy ones alone a denoiser learns too"
    )
    bits: Literal[8, 16] | None = Field(
        None, description="of a pixel, in training and in the package; None: 16 if a picture has more than 8"
    )
    white: float | None = Field(
        None, gt=0, description="value of white in pictures of more than 8 bits; None: found for each file"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.crop > self.patch:
            raise ValueError(f"data.crop ({self.crop}) must not be larger than data.patch ({self.patch})")
        return self


class Augmentation(_Section):
    """Random changes of a clean image that leave its content as it is, drawn anew for every sample and epoch."""

    flip: bool = Field(False, description="mirrored left to right, half of the samples")


class AutoencoderAugmentation(Augmentation):
    """Of images: one affine map and one displacement field for each sample; see step_inputs.augmentation."""

    shift: float = Field(0, ge=0, le=16, description="pixels, up to, each direction")
    rotate: float = Field(0, ge=0, le=180, description="degrees, up to, each direction")
    scale: Share = 0
    shear: Share = 0
    elastic: Share = Field(0, description="standard deviation of a 4x4 displacement field, of half the image")
    fade: tuple[Share, Share] = Field((1, 1), description="parts of the run between which it fades to none")
    edge: Literal["black", "mirrored"] = Field("black", description="what comes in from outside a moved picture")


class DenoiserAugmentation(Augmentation):
    """Of crops of training patches; see training.engine.step_inputs.crops."""

    quarter_turns: bool = Field(False, description="turned by 0, 90, 180 or 270 degrees")
    clean: Share = Field(0, description="share of samples given clean, which must come through unharmed")
    grey: Share = Field(0, description="of 3 channels: share of samples whose colours are made equal")


class Corruption(_Section):
    """Noise on the input; the target stays clean (Vincent et al. 2008). See training.engine.step_inputs.corruption.

    `level` is drawn for each sample uniformly between two bounds. A corruption of `weight` 2 is drawn twice as often as
    one of weight 1.
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
    linear_path: bool = Field(
        False,
        description="a linear encoder and decoder beside the layers, which start as PCA; see "
        "training.architectures.linear_path",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.linear_path and (self.tied or (self.latent_activation, self.output_activation) != ("linear", "linear")):
            raise ValueError("linear_path needs a linear latent_activation and output_activation, and tied = false")
        return self


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
    output_activation: Literal["linear", "sigmoid"] = "linear"
    linear_path: bool = Field(False, description="with latent_dim: as of the dense architecture")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.latent_dim is None) == (self.latent_channels is None):
            raise ValueError("give either latent_dim (flat) or latent_channels (spatial)")
        if self.linear_path and (self.latent_dim is None or self.output_activation != "linear"):
            raise ValueError("linear_path needs a flat latent, latent_dim, and a linear output_activation")
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
    context: int = Field(0, ge=0, le=63, description="side of the max-pooling at one level, odd; 0: none")
    context_level: int | None = Field(None, ge=0, le=4, description="which level that is, from 0; None: the lowest")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.context and self.context % 2 == 0:
            raise ValueError("context must be odd, or 0")
        if not len(self.widths) == len(self.encoder_blocks) == len(self.decoder_blocks) + 1:
            raise ValueError("encoder_blocks must be as long as widths, decoder_blocks one shorter")
        if self.context_level is not None and self.context_level >= len(self.widths):
            raise ValueError(f"context_level must be below {len(self.widths)}, the number of widths")
        return self


class Optimization(_Section):
    """AdamW, or Muon (Jordan et al. 2024) for the hidden layers' matrices and AdamW for the rest.

    `loss` is a name in training.engine.losses; "bce" needs an output that is a sigmoid.
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
    schedule: Literal["constant", "cosine", "cool-down"] = Field(
        "constant",
        description="cool-down: a constant rate without a planned end, then a last part in which it falls to 0",
    )
    cool_down: Share = Field(
        0.2, gt=0, description='schedule "cool-down": last part of the run in which the rate falls to 0'
    )
    warmup: Share = Field(0, description="part of the run in which the learning rate rises from 0")
    ema: float = Field(0, ge=0, lt=1, description="decay of the running average of the weights; 0: off")
    patience: int = Field(0, ge=0, description="epochs without a better validation error until it stops; 0: never")
    precision: Literal["fp32", "bf16", "auto"] = Field(
        "fp32", description="auto: bf16 where a short measurement at the start shows that it is faster"
    )
    clip: float = Field(0, ge=0, description="largest gradient norm; 0: off")
    contraction: float = Field(
        0,
        ge=0,
        le=1000,
        description="weight of the squared Frobenius norm of the encoder's Jacobian, beside the squared error summed "
        "over a sample's numbers (Rifai et al., ICML 2011); 0: off",
    )
    steps_per_epoch: int = Field(
        0, ge=0, le=1_000_000, description="steps of an epoch, however many samples there are; 0: one pass over them"
    )


class Quantization(_Section):
    """A graph in 8-bit integers beside the one in floats, if it loses little; see training.export.quantization."""

    loss: float = Field(0.05, gt=0, le=3, description="dB of PSNR on validation that it may lose, at most")
    calibration: int = Field(64, ge=1, le=4096, description="training patches that determine the ranges")
    percentiles: list[float] = Field(
        [99.99, 99.999], min_length=1, description="candidates for the end of a range; the best on validation is used"
    )


class Pretraining(_Section):
    """Greedy layer-wise pretraining: each layer first learns to reconstruct the latents of the one before."""

    epochs: int = Field(ge=0, le=100_000)
    batch_size: int = Field(64, ge=1, le=65_536)
    learning_rate: float = Field(1e-3, gt=0, le=10)
    masking: Share = Field(0, description="share of each layer's inputs set to 0 (a stacked denoising autoencoder)")


class Variational(_Section):
    """Of kind variational: latents are distributions, kept close to a standard normal one; see
    training.architectures.variational (Kingma and Welling, ICLR 2014).
    """

    beta: float = Field(1, gt=0, le=1000, description="weight of the divergence from the prior (Higgins et al. 2017)")
    warmup: Share = Field(0.1, description="part of the run in which beta rises from 0")
    binarize: bool = Field(
        False, description="a pixel is drawn as 0 or 1 with its grey as the probability, anew at every step"
    )
    importance_samples: int = Field(
        0,
        ge=0,
        le=100_000,
        description="for each test sample, of the estimate of its negative log-likelihood; 0: no estimate",
    )
    importance_test: int = Field(
        0, ge=0, description="test samples of that estimate, drawn at random; the bound, of all, corrects it; 0: all"
    )


class Sparsity(_Section):
    """Of kind sparse: of a sample's features only the largest are not 0; see training.architectures.sparse."""

    active: int = Field(32, ge=1, le=16384, description="features of a sample that are kept, at most")
    auxiliary: Share = Field(
        1 / 32, description="weight of the error that dead features must explain (Gao et al. 2024, appendix A.2)"
    )
    dead_after: int = Field(10_000, ge=1, description="samples without a feature after which it counts as dead")


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


class _Recipe(_Section):
    name: ModelName
    kind: TrainedKind
    description: str = Field(min_length=1, max_length=500)
    seed: int = Field(0, ge=0)
    data: Data
    augmentation: Augmentation = Augmentation()
    corruption: tuple[Corruption, ...] = ()
    translations: dict[str, dict[str, str]] = Field(
        {},
        description="for a language (ko), texts of the package and what they are in it: description, captions by file",
    )

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of everything that decides the weights; a key left at its default counts as left out.

        It is over JSON in the order of the fields, which therefore must not change.
        """
        indecisive: dict[str, Any] = dict.fromkeys(
            ("description", "translations", "ablation", "notes", "quantization", "classification"), True
        )
        decisive = self.model_dump_json(
            exclude={**indecisive, "variational": {"importance_samples", "importance_test"}}, exclude_defaults=True
        )
        return hashlib.sha256(decisive.encode()).hexdigest()


class AutoencoderRecipe(_Recipe):
    """An encoder and a decoder with a latent between them, for samples of one size: images or vectors."""

    data: AutoencoderData
    augmentation: AutoencoderAugmentation = AutoencoderAugmentation()
    architecture: Annotated[Dense | Convolutional, Field(discriminator="type")]
    pretraining: Pretraining | None = None
    optimization: Optimization
    weights: Weights = Field("float32", description="how a package stores its large matrices")
    classification: Classification | None = None
    ablation: tuple[Ablation, ...] = ()
    notes: str = Field("", description="paragraphs for the model card, Markdown")
    variational: Variational = Variational()
    sparsity: Sparsity = Sparsity()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        dense = self.architecture if isinstance(self.architecture, Dense) else None
        loss = self.optimization.loss
        if (self.kind == "denoising") != bool(self.corruption):
            raise ValueError("kind denoising needs a corruption, other kinds must not have one")
        for corruption in self.corruption:
            if corruption.kind in ("camera", "jpeg"):
                raise ValueError(f'corruption "{corruption.kind}" is for photographs and the unet architecture')
        if self.weights != "float32" and (dense is None or dense.tied):
            raise ValueError('weights "float16" is for the dense architecture without tied weights')
        if self.optimization.emphasis and not self.corruption:
            raise ValueError("optimization.emphasis needs a corruption")
        if loss in ("l1", "psnr"):
            raise ValueError(f'loss "{loss}" is for the unet architecture')
        if loss == "bce" and self.architecture.output_activation != "sigmoid":
            raise ValueError('loss "bce" needs output_activation "sigmoid"')
        if self.pretraining is not None and dense is None:
            raise ValueError("greedy layer-wise pretraining is for the dense architecture")
        if self.architecture.linear_path and (self.pretraining is not None or self.kind in ("variational", "sparse")):
            raise ValueError(
                "architecture.linear_path starts as PCA: it is not pretrained, and not for kinds variational and sparse"
            )
        self._check_kind()
        return self

    def _check_kind(self) -> None:
        """What kinds variational and sparse, and the penalty of contraction, need of the architecture."""
        if self.kind != "variational" and self.variational != Variational():
            raise ValueError("section variational is for kind variational")
        if self.kind != "sparse" and self.sparsity != Sparsity():
            raise ValueError("section sparsity is for kind sparse")
        if self.kind == "variational":
            self._check_variational()
        if self.kind == "sparse":
            self._check_sparse()
        if self.optimization.contraction and self.kind not in ("variational", "sparse"):
            dense = self.architecture if isinstance(self.architecture, Dense) else None
            if dense is None or not dense.tied or dense.batch_norm:
                raise ValueError(
                    "optimization.contraction needs the dense architecture with tied = true and without batch norm, or "
                    "kind variational or sparse: another decoder undoes whatever makes the latent smaller"
                )

    def _check_variational(self) -> None:
        architecture, loss = self.architecture, self.optimization.loss
        if architecture.latent_dim is None or (isinstance(architecture, Dense) and architecture.tied):
            raise ValueError("kind variational needs a flat latent (architecture.latent_dim) and no tied weights")
        if isinstance(architecture, Dense) and architecture.latent_activation != "linear":
            raise ValueError('kind variational needs latent_activation "linear": the prior is a normal distribution')
        if self.pretraining is not None:
            raise ValueError("kind variational is not pretrained layer by layer")
        if loss == "mse" and architecture.output_activation != "linear":
            raise ValueError(
                'kind variational with loss "mse" needs output_activation "linear"; "sigmoid" is for "bce"'
            )
        if self.variational.binarize and loss != "bce":
            raise ValueError('variational.binarize needs loss "bce"')
        if self.variational.importance_samples and not self.variational.binarize:
            raise ValueError(
                "variational.importance_samples needs binarize: the likelihood is that of pixels of 0 or 1"
            )

    def _check_sparse(self) -> None:
        dense = self.architecture if isinstance(self.architecture, Dense) else None
        if dense is None or dense.hidden or dense.tied or dense.output_activation != "linear":
            raise ValueError(
                "kind sparse is one dense layer each way: architecture.hidden = [], without tied weights, "
                'output_activation "linear"'
            )
        if self.optimization.loss != "mse" or self.pretraining is not None:
            raise ValueError('kind sparse needs loss "mse", and no pretraining')
        if self.sparsity.active >= dense.latent_dim:
            raise ValueError(
                f"sparsity.active ({self.sparsity.active}) must be less than the {dense.latent_dim} features of "
                f"architecture.latent_dim; try --set sparsity.active={max(1, dense.latent_dim // 8)}"
            )


class DenoiserRecipe(_Recipe):
    """A U-net from noisy to clean images of any size, without a latent."""

    data: DenoiserData
    augmentation: DenoiserAugmentation = DenoiserAugmentation()
    architecture: Unet
    optimization: Optimization
    quantization: Quantization | None = None
    notes: str = Field("", description="paragraphs for the model card, Markdown")
    self_supervision: SelfSupervision = Field(
        "recorrupted", description="of noisy pictures alone: see training.engine.step_inputs.self_supervision"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind != "denoising":
            raise ValueError("the unet architecture is for kind denoising: it has no bottleneck to encode into")
        if self.optimization.emphasis:
            raise ValueError("optimization.emphasis is not for the unet architecture")
        if self.optimization.contraction:
            raise ValueError("optimization.contraction is not for the unet architecture, which has no latent")
        if self.optimization.loss == "bce":
            raise ValueError('loss "bce" needs output_activation "sigmoid", which the unet architecture has not')
        if any(corruption.fill != "zero" for corruption in self.corruption):
            raise ValueError('corruption.fill "mean" is not for the unet architecture, whose images have no fixed size')
        return self


Recipe = AutoencoderRecipe | DenoiserRecipe
R = TypeVar("R", bound=_Recipe)

SCHEMAS: dict[str, type[AutoencoderRecipe] | type[DenoiserRecipe]] = {
    "dense": AutoencoderRecipe,
    "convolutional": AutoencoderRecipe,
    "unet": DenoiserRecipe,
}
"""`architecture.type` -> schema."""


def builtin_recipes() -> dict[str, Path]:
    """The recipes that come with this package: name -> file."""
    folder = Path(str(resources.files("training"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load(source: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe by file path or by the name of a built-in one.

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


def load_autoencoder(source: str, changes: Mapping[str, Any] | None = None) -> AutoencoderRecipe:
    """As `load`; RecipeError if the recipe is a denoiser's."""
    recipe = load(source, changes)
    if not isinstance(recipe, AutoencoderRecipe):
        raise RecipeError(f"recipe {recipe.name} is of the unet architecture, which has no latent")
    return recipe


def build(document: dict[str, Any], changes: Mapping[str, Any], label: str) -> Recipe:
    """Validate a recipe's document with changes applied to it; `label` names it in errors.

    Raises:
        RecipeError: the first error, with the key.
    """
    for key, value in changes.items():
        _assign(document, key, value, label)
    architecture = document.get("architecture")
    name = architecture.get("type", "") if isinstance(architecture, dict) else ""
    if name and name not in SCHEMAS:
        raise RecipeError(f"{label}: architecture.type is {name!r}; it must be one of {', '.join(SCHEMAS)}")
    if SCHEMAS.get(name) is DenoiserRecipe:
        return _validate(DenoiserRecipe, document, label)
    return _validate(AutoencoderRecipe, document, label)


def with_changes(recipe: R, changes: Mapping[str, Any]) -> R:
    """The recipe with dotted keys set to other values; a value of "none" removes the key."""
    document = recipe.model_dump(mode="json", exclude_none=True)
    for key, value in changes.items():
        _assign(document, key, value, recipe.name)
    return _validate(type(recipe), document, recipe.name)


def _validate(schema: type[R], document: dict[str, Any], label: str) -> R:
    try:
        return schema.model_validate(document)
    except ValidationError as invalid:
        error = invalid.errors()[0]
        key = ".".join(str(part) for part in error["loc"]) or "recipe"
        if error["type"] == "extra_forbidden" and schema is AutoencoderRecipe and key in _keys(DenoiserRecipe):
            sentence = f"{key} is for the unet architecture"
        elif error["type"] == "extra_forbidden" and schema is DenoiserRecipe and key in _keys(AutoencoderRecipe):
            sentence = f"{key} is not for the unet architecture, which has no latent and takes images of any size"
        elif key == "name" and error["type"] == "string_pattern_mismatch":
            sentence = (
                f"{error['input'][:100]!r} is no name of a model, which is 2 to 64 of a-z, 0-9 and -, as my-model; "
                "it is `name` of the recipe, or the last part of --out"
            )
        else:
            sentence = f"{key}: {error['msg']}"
        raise RecipeError(f"{label}: {sentence}") from invalid


def _keys(schema: type[_Recipe]) -> set[str]:
    """The dotted keys in which the two schemas differ: sections, and those of [data] and [augmentation]."""
    fields = schema.model_fields
    sections = {name: fields[name].annotation for name in ("data", "augmentation")}
    return {*fields, *(f"{name}.{key}" for name, section in sections.items() for key in section.model_fields)}  # type: ignore[union-attr]


def _assign(document: dict[str, Any], key: str, value: Any, label: str) -> None:
    """Set a dotted key of a TOML document in place; "none" removes it."""
    *parents, last = key.split(".")
    table: Any = document
    for parent in parents:
        table = table.setdefault(parent, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        raise RecipeError(f"{label}: {key} is not a key of a table")
    if value == "none":
        table.pop(last, None)
    else:
        table[last] = value
