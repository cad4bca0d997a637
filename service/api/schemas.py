"""Schemas of /v1 for OpenAPI. Inference requests and responses do not use them: they are handled without pydantic."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.model.manifest import Column, Fit, Imported, Kind, Label, LatentScaling, Metric, Operation, Training
from service.model.variants import ComputedPrecision


class PortFacts(BaseModel):
    """One port of a model. N is the batch; a name in place of a number is a free size."""

    dtype: str
    shape: list[int | str]


class ModelSummary(BaseModel):
    name: str
    version: int = Field(description="the version that is served unless one is named")
    versions: list[int]
    pinned: bool = Field(description="whether the file `default` of the model's folder chose that version")
    kind: Kind
    description: str
    operations: list[Operation]
    provider: str = Field(description="the execution provider that really runs")
    precision: ComputedPrecision = Field(description="numbers that the graph really computes with")


class ScoreFacts(BaseModel):
    """The score of a model that reconstructs."""

    name: str = Field(description="such as error-by-energy; of several components `first+second`")
    samples: int = Field(description="held-out samples that its percentiles were measured on")
    auroc: dict[str, float] = Field(description="of what was compared, on validation samples and damaged ones")


class ModelFacts(ModelSummary):
    """The card's facts of one version."""

    providers: dict[str, str] = Field(description="graph -> the execution provider that its session really uses")

    ports: dict[str, PortFacts] = Field(description="image or vector, and latent")
    fit: Fit | None = Field(description="how pictures of other sizes are resized unless a request says otherwise")
    keeps_figures: bool = Field(description="whether photographs on a page stay as they are unless figures=clean")
    score: ScoreFacts | None = Field(description="by what reconstruct calls samples unusual")
    shortfalls: list[str] = Field(description="what the model does worse than something simpler; empty: nothing")
    training: Training | None = Field(description="how the weights were trained; null for an imported model")
    imported: Imported | None = Field(None, description="from which files an imported model was taken")
    latent_scaling: LatentScaling | None = Field(
        None, description="factors of a diffusion model's latents: (latents - shift_factor) * scaling_factor"
    )
    features: int | None = Field(None, description="of a latent's numbers, if others follow them")
    examples: bool = Field(description="whether the package has a few samples of its test split: /examples")
    neighbours: bool = Field(description="whether there is an index in which /neighbours finds the nearest samples")
    translations: dict[str, dict[str, str]] = Field(description="language -> text of the package -> that text in it")
    columns: list[Column] | None = Field(None, description="of a vector's numbers: name, mean, deviation in training")
    evaluation: dict[str, Metric]


class Examples(BaseModel):
    """A few samples of a model's test split."""

    inputs: list[Any] = Field(description="[n,H,W,C] of 0..255, or [n,D]: as the operations take them")
    source: str | None = Field(description="of the data")
    licence: str | None = Field(description="of the data")


class CardFiles(BaseModel):
    files: list[str] = Field(description="PNG and WebP files that lie beside the graphs")
    labels: dict[str, list[Label]] = Field(description="file -> the words in it, and where they are")


class Neighbour(BaseModel):
    """A sample of the index."""

    row: int = Field(description="of the index, from 0")
    name: str = Field(description="of the file or row that the index was built of")
    distance: float = Field(description="between the latents, Euclidean")
    image: str | None = Field(None, description="base64 PNG, if the index has pictures")


class Neighbours(BaseModel):
    """The nearest samples of each sample of the request, the nearest first."""

    model: str
    version: int
    operation: str
    size: int = Field(description="samples of the index")
    neighbours: list[list[Neighbour]]


class RefusedPackage(BaseModel):
    folder: str
    reason: str


class ModelList(BaseModel):
    models: list[ModelSummary]
    refused: list[RefusedPackage] = Field(
        description="folders under models/ that are not served as they are, files `default` not followed, and why"
    )


class Limits(BaseModel):
    """What one request may have; more is refused with 413, 415 or 504."""

    deadline: float = Field(description="seconds that a request may take")
    deadline_per_megapixel: float = Field(description="further seconds for each million pixels")
    max_deadline: float = Field(description="seconds that the header Request-Deadline may ask for instead")
    max_body_bytes: int = Field(description="bytes of a body")
    max_pixels: int = Field(description="pixels of a picture, or of a page")
    max_side: int = Field(description="pixels along a side of a picture")
    max_batch: int = Field(description="files, samples, or pages of a TIFF")
    pdf_pages: int = Field(description="pages of a PDF")
    media_types: list[str] = Field(description="of the files that are read here, which depends on the extras")


class Status(BaseModel):
    status: str


class Problem(BaseModel):
    """RFC 9457; further members are facts about this problem."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str


class Line(BaseModel):
    """One of an NDJSON answer of encode or denoise: a file of the form, in the order in which they are ready."""

    index: int = Field(description="of the file in the form, from 0")
    name: str | None = Field(description="the file's, as the form says it")
    latents: list[Any] | None = Field(None, description="encode: float32 [N,...]")
    scaled: bool | None = Field(None, description="encode?latents=scaled: true")
    indices: list[list[int]] | None = Field(None, description="encode?top=32, instead of latents: [N,k]")
    values: list[list[float]] | None = Field(None, description="encode?top=32: [N,k], the largest first")
    media_type: str | None = Field(None, description="denoise: of `image`")
    image: str | None = Field(None, description="denoise: the file in base64")
    dropped_metadata: str | None = Field(None, description="denoise: what the file held and `image` does not")
    outputs: list[Any] | None = Field(None, description="denoise of an .npy: [N,H,W,C] of 0..255")
    problem: Problem | None = Field(None, description="instead of a result: why it was refused")
    progress: float | None = Field(
        None, description="denoise?report=progress, a line before the file's own: the share of its work that is done"
    )
    seconds_left: float | None = Field(None, description="beside progress: an estimate; missing while none is known")
    page: int | None = Field(None, description="denoise?report=pages, a line of a page: its number, from 1")
    pages: int | None = Field(None, description="beside page: how many there are")
    before: str | None = Field(None, description="beside page: the page as it was, a JPEG (PNG if too long) in base64")
    after: str | None = Field(None, description="beside page: the clean page, likewise; the file has it in full depth")


class Answer(BaseModel):
    """JSON answers of the operations. Arrays keep the batch axis N."""

    model: str
    version: int
    operation: Operation
    latents: list[Any] | None = Field(None, description="encode, sample: float32 [N,...]")
    scaled: bool | None = Field(None, description="encode?latents=scaled: true")
    indices: list[list[int]] | None = Field(None, description="encode?top=32: [N,k], those of the largest numbers")
    values: list[list[float]] | None = Field(None, description="encode?top=32: [N,k], the largest first")
    seed: int | None = Field(None, description="sample: the same seed draws the same samples")
    outputs: list[Any] | None = Field(None, description="numbers in, decode, or sample: [N,H,W,C] of 0..255, or [N,D]")
    images: list[str] | None = Field(None, description="pictures in: base64 PNG")
    columns: list[str] | None = Field(None, description="of a table: the names of the columns that were taken")
    inputs: list[Any] | None = Field(None, description="of a table: their numbers as they were read, [N,D]")
    carried: dict[str, list[str]] | None = Field(None, description="of a table: its other columns, as text")
    heatmaps: list[Any] | None = Field(None, description="reconstruct?explain=heatmap: [N,H,W] of 0..1, or [N,D]")
    reconstruction_error: list[float] | None = Field(None, description="reconstruct: mean squared error per sample")
    percentile: list[float] | None = Field(None, description="reconstruct: 0..100, among held-out data")
    explained_variance: list[float] | None = Field(
        None, description="reconstruct, sparse models of vectors: share of the distance from the mean that is explained"
    )
    unusual: list[bool] | None = Field(
        None, description="reconstruct?false_alarm_rate=0.01: whether the score is among the largest hundredth"
    )
    score: str | None = Field(None, description="beside unusual: the score that it goes by, such as error-by-energy")
    score_percentile: list[float] | None = Field(
        None, description="beside unusual: 0..100, the rank of the score among those of held-out data"
    )
