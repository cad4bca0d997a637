"""The facts that a graph cannot say: the schema of manifest.json. Unknown keys are refused."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.imaging.resize import Fit as Fit  # part of the package format

QUANTILES = 101  # reconstruction_error_quantiles: at 0, 1, ... 100 per cent

Kind = Literal["undercomplete", "stacked", "denoising"]
Operation = Literal["encode", "decode", "reconstruct", "denoise"]
Role = Literal["encoder", "decoder", "denoiser", "denoiser-int8"]
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}[a-z0-9]$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GraphFile(_Facts):
    """One ONNX graph: a plain file name inside the package, and the SHA-256 of its bytes."""

    file: str
    sha256: Digest


class Golden(_Facts):
    """One small input of each graph and what it answered at export (.golden): a plain file and its SHA-256.

    Processors round differently: of whole numbers 99 % must be within `grey_levels` and all within eight times that,
    floats must be within `relative` of the answer's largest magnitude.
    """

    file: str
    sha256: Digest
    grey_levels: int = Field(2, ge=0, le=16)
    relative: Finite = Field(0.01, ge=0, le=0.1)


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

    `shortfalls` are sentences on what the model does worse than something simpler, and what to try.

    `golden` is written for every new package; those from before have none.
    """

    format: Literal["autoencoder-package/1"] = "autoencoder-package/1"
    name: ModelName
    version: int = Field(ge=1)
    kind: Kind
    description: str = Field(min_length=1, max_length=500)
    operations: tuple[Operation, ...] = Field(min_length=1)
    opset: int
    graphs: dict[Role, GraphFile] = Field(min_length=1)
    training: Training
    evaluation: dict[str, Metric] = Field(min_length=1)
    reconstruction_error_quantiles: tuple[Finite, ...] | None = None
    pca_error: tuple[tuple[int, Finite], ...] | None = None
    halo: int | None = Field(None, ge=0, le=1024)
    golden: Golden | None = None
    fit: Fit | None = None
    columns: tuple[Column, ...] | None = None
    shortfalls: tuple[str, ...] | None = None
