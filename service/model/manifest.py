"""The facts that a graph cannot say: the schema of manifest.json. Unknown keys are refused."""

from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.imaging.resize import Fit as Fit  # part of the package format

QUANTILES = 101  # reconstruction_error_quantiles: at 0, 1, ... 100 per cent

Kind = Literal["undercomplete", "overcomplete", "sparse", "stacked", "variational", "denoising"]
Operation = Literal["encode", "decode", "reconstruct", "denoise", "sample"]
Component = Literal[
    "error",
    "error-by-energy",
    "pathway",
    "latent-distance",
    "latent-neighbours",
    "input-neighbours",
    "made-anomalies",
]
Role = Literal["encoder", "decoder", "denoiser", "denoiser-int8"]
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}[a-z0-9]$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Language = Annotated[str, Field(pattern=r"^[a-z]{2}(-[A-Za-z]{2,4})?$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GraphFile(_Facts):
    """One ONNX graph: a plain file name inside the package, and the SHA-256 of its bytes."""

    file: str
    sha256: Digest


class Golden(_Facts):
    """One small input of each graph and what it answered at export (.golden): a plain file and its SHA-256.

    Processors round differently: of whole numbers 99 % must be within `grey_levels`, of 255, and all within eight
    times that, floats must be within `relative` of the answer's largest magnitude.
    """

    file: str
    sha256: Digest
    grey_levels: int = Field(2, ge=0, le=16)
    relative: Finite = Field(0.01, ge=0, le=0.1)


class ScoreFile(_Facts):
    """By what a verdict is given (.scores): components, and the file of their parameters with its SHA-256.

    `quantiles` holds the 0, 1, ... 100 % quantiles of the score of so many held-out `samples`. `auroc` says how well
    each candidate told validation samples from such that were damaged on purpose.
    """

    components: tuple[Component, ...] = Field(min_length=1, max_length=4)
    file: str
    sha256: Digest
    quantiles: tuple[Finite, ...]
    samples: int = Field(ge=1)
    auroc: dict[str, Finite] = Field(default_factory=dict)

    @property
    def name(self) -> str:
        """ "error-by-energy", or of several components "error-by-energy+pathway"."""
        return "+".join(self.components)


class Data(_Facts):
    """What the weights were trained on; the licence decides what they may be used for."""

    source: str
    licence: str
    train: int = Field(ge=1, description="samples")
    validation: int = Field(ge=0, description="samples")
    test: int = Field(ge=1, description="samples")


class Training(_Facts):
    """How the weights came to be: enough to make them again."""

    recipe: str
    recipe_sha256: Digest
    data: Data
    seed: int
    date: str
    code_revision: str
    versions: dict[str, str]
    start: str | None = Field(None, description="package whose weights training started from, NAME/VERSION")


class Samples(_Facts):
    """What an imported model was measured on; whether it was trained on them is not known."""

    source: str
    licence: str
    reference: int = Field(ge=0, description="samples that baselines were fitted or chosen on")
    test: int = Field(ge=0, description="samples that were measured")


class Imported(_Facts):
    """Where an imported model comes from: the files that were given, and how they were read."""

    files: dict[str, Digest] = Field(min_length=1, description="name of a file -> its SHA-256")
    options: tuple[str, ...] = Field(description="of the command line")
    assumptions: tuple[str, ...] = Field(description="what was found or assumed about ports, range and layout")
    licence: str = Field(description="of the weights, as the user states it")
    samples: Samples | None = None
    date: str
    code_revision: str
    versions: dict[str, str]


class Metric(_Facts):
    """A number measured on held-out data, and the same number of each baseline beside it."""

    value: Finite
    unit: str
    split: Literal["test", "validation"]
    baselines: dict[str, Finite] = Field(default_factory=dict)


class Column(_Facts):
    """One number of a vector, over the train split: its name, if the data had one, mean and standard deviation.

    A deviation of 0 says that it was constant.
    """

    name: str | None = None
    mean: Finite
    deviation: Finite = Field(ge=0)


class Label(_Facts):
    """Words in a figure of the card: where they are, in pixels from the top left, so that others can be put there.

    `align` is the side that stays where it is when the words are longer or shorter; `turn` 90 says that they are read
    from the bottom up.
    """

    text: str = Field(min_length=1, max_length=500)
    left: int = Field(ge=0)
    top: int = Field(ge=0)
    right: int = Field(ge=0)
    bottom: int = Field(ge=0)
    align: Literal["left", "center", "right"]
    turn: Literal[90] | None = None


class LatentScaling(_Facts):
    """How a diffusion model takes latents: (latents - shift_factor) * scaling_factor."""

    scaling_factor: Finite = Field(gt=0)
    shift_factor: Finite = 0.0

    def scale(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        """Latents of the model -> those of a diffusion model."""
        return np.asarray((latents - np.float32(self.shift_factor)) * np.float32(self.scaling_factor))

    def unscale(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        """Latents of a diffusion model -> those of the model; what is not finite then is for the caller to check."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            return np.asarray(latents / np.float32(self.scaling_factor) + np.float32(self.shift_factor))


class Manifest(_Facts):
    """The facts that a graph cannot say. Unknown keys are refused.

    `reconstruction_error_quantiles` holds the 0, 1, ... 100 % quantiles of the held-out samples'
    reconstruction error (mean squared error per sample; pixels in 0..1, vectors in standard deviations of `columns`).
    Packages that reconstruct MUST have it, others MUST NOT.

    `halo` says how far an output pixel looks, in pixels: what lies farther away cannot change it. With it, images
    of any size may be cut into tiles that overlap by it.

    `pca_error` holds (components, error) pairs: the test error that so many principal components of the training
    samples leave, in the same units, up to as many as the latent has numbers.

    `fit` says how training brought pictures to the model's size; the service does the same unless a request says
    otherwise. Without it, a picture of another size needs the parameter `fit`.

    `columns` belongs to vectors: one entry for each of their numbers. Errors are in standard deviations, so that no
    column's unit decides what is unusual. Packages from before have none, and errors in the columns' own units.

    `keeps_figures` belongs to denoisers of pages: the service leaves photographs and other figures as they are, unless
    a request asks for figures=clean. Packages from before do not say so, and clean all of a picture.

    `shortfalls` are sentences on what the model does worse than something simpler, and what to try.

    `score` is by what samples are called unusual; packages without it go by the reconstruction error.

    `translations` holds, for a language, what the package's own texts are in it: the description, shortfalls, names of
    files (whose translation is the caption of that figure, in English too), columns, metrics, units and baselines.

    `labels` holds, for the card's pictures, the words in them. Packages from before have none.

    `golden` is written for every new package; those from before have none.

    `training` says how the weights were trained here, `imported` from which files they were taken; one is there.

    `memory` belongs to graphs of any size that are run on whole images: rising pairs (pixels, bytes that one run of an
    image of so many pixels took when it was measured). Larger images than the last are refused.

    `features` belongs to vectors' latents [N,D] in which numbers follow the features, mean and scale of the vector: how
    many of the first are features.

    `latent_scaling` belongs to autoencoders of image generators. Latents are answered and taken unscaled unless a
    request says otherwise.

    `overlap`, with `halo`: "blended" for graphs that look at all of an image and are run on tiles all the same. Tiles
    then overlap by `halo` on each side, and pass into each other gradually.
    """

    format: Literal["autoencoder-package/1"] = "autoencoder-package/1"
    name: ModelName
    version: int = Field(ge=1)
    kind: Kind
    description: str = Field(min_length=1, max_length=500)
    operations: tuple[Operation, ...] = Field(min_length=1)
    opset: int
    graphs: dict[Role, GraphFile] = Field(min_length=1)
    training: Training | None = None
    imported: Imported | None = None
    evaluation: dict[str, Metric]
    reconstruction_error_quantiles: tuple[Finite, ...] | None = None
    pca_error: tuple[tuple[int, Finite], ...] | None = None
    halo: int | None = Field(None, ge=0, le=1024)
    overlap: Literal["blended"] | None = None
    memory: tuple[tuple[int, int], ...] | None = Field(None, min_length=1)
    latent_scaling: LatentScaling | None = None
    features: int | None = Field(None, ge=1)
    golden: Golden | None = None
    fit: Fit | None = None
    columns: tuple[Column, ...] | None = None
    shortfalls: tuple[str, ...] | None = None
    translations: dict[Language, dict[str, str]] | None = None
    labels: dict[str, tuple[Label, ...]] | None = None
    keeps_figures: bool | None = None
    score: ScoreFile | None = None

    @property
    def key(self) -> str:
        """The package's folder among the models, "<name>/<version>"."""
        return f"{self.name}/{self.version}"

    @property
    def held_out_samples(self) -> int:
        """How many samples the quantiles of the error were measured on."""
        if self.training is not None:
            return self.training.data.test
        return 0 if self.imported is None or self.imported.samples is None else self.imported.samples.test

    @model_validator(mode="after")
    def _check_sections(self) -> Self:
        if (self.training is None) == (self.imported is None):
            raise ValueError("there must be either a section training or a section imported")
        if self.training is not None and not self.evaluation:
            raise ValueError("evaluation must not be empty")
        if self.overlap is not None and not self.halo:
            raise ValueError("overlap needs a halo of at least 1")
        if self.memory is not None and any(
            a >= b for old, new in pairwise(self.memory) for a, b in zip(old, new, strict=True)
        ):
            raise ValueError("memory must be rising pairs of pixels and bytes")
        return self
