"""Model packages: the facts of one, and writing it. The last step of both kinds of training run.

manifest + graphs + figures + notes -> model card -> golden pair -> models/<name>/<version>/
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from service.model import golden, package
from service.model.errors import PackageExists
from service.model.kinds import KINDS
from service.model.manifest import (
    QUANTILES,
    Column,
    Fit,
    GraphFile,
    Imported,
    Kind,
    LatentScaling,
    Manifest,
    Metric,
    Operation,
    Role,
    ScoreFile,
    Training,
)
from service.model.measures.standard_units import StandardUnits
from training.errors import DiskError
from training.evaluation.figures import Figures
from training.export import card, recipe_file
from training.export.graphs import OPSET
from training.recipe import Recipe

Score = tuple[ScoreFile, bytes]
"""The manifest's entry and the file."""


def build_manifest(
    name: str,
    version: int,
    kind: Kind,
    description: str,
    graphs: Mapping[Role, bytes],
    origin: Training | Imported,
    evaluation: Mapping[str, Metric],
    *,
    reconstruction_errors: np.ndarray | None = None,
    pca_error: tuple[tuple[int, float], ...] | None = None,
    halo: int | None = None,
    fit: Fit | None = None,
    columns: tuple[Column, ...] | None = None,
    shortfalls: Sequence[str] = (),
    opset: int = OPSET,
    operations: tuple[Operation, ...] | None = None,
    overlap: Literal["blended"] | None = None,
    memory: tuple[tuple[int, int], ...] | None = None,
    keeps_figures: bool | None = None,
    latent_scaling: LatentScaling | None = None,
    features: int | None = None,
) -> Manifest:
    """The facts of a package.

    Args:
        graphs: encoder and decoder, or a denoiser alone or with its quantised graph.
        reconstruction_errors: float64 [N], one for each held-out sample; their quantiles become part of the facts.
        pca_error: the curve of training.evaluation.baselines.pca.
        shortfalls: of training.evaluation.shortfalls.
        columns: of vectors, see `describe_columns`.
        fit: how pictures were brought to the model's size.
        halo: of a denoiser: pixels to each side of a tile that its output depends on.
        opset: of all graphs.
        operations: what the package offers; None: all that its kind does.
        overlap, memory, keeps_figures, latent_scaling, features: see service.model.manifest.Manifest.
    """
    quantiles = None
    if reconstruction_errors is not None:
        quantiles = np.quantile(reconstruction_errors, np.linspace(0, 1, QUANTILES))
    return Manifest(
        name=name,
        version=version,
        kind=kind,
        description=description,
        operations=operations or (("denoise",) if "denoiser" in graphs else KINDS[kind].operations),
        opset=opset,
        graphs={role: GraphFile(file=f"{role}.onnx", sha256=package.sha256(data)) for role, data in graphs.items()},
        training=origin if isinstance(origin, Training) else None,
        imported=origin if isinstance(origin, Imported) else None,
        evaluation=dict(evaluation),
        reconstruction_error_quantiles=None if quantiles is None else tuple(float(f"{q:.6g}") for q in quantiles),
        pca_error=pca_error,
        halo=halo,
        overlap=overlap,
        memory=memory,
        keeps_figures=keeps_figures,
        latent_scaling=latent_scaling,
        features=features,
        fit=fit,
        columns=columns,
        shortfalls=tuple(shortfalls) or None,
    )


def describe_columns(units: StandardUnits | None, names: Sequence[str] | None) -> tuple[Column, ...] | None:
    """The manifest's entries of a vector's numbers; None of images."""
    if units is None:
        return None
    return tuple(
        Column(name=None if names is None else names[index], mean=float(mean), deviation=float(deviation))
        for index, (mean, deviation) in enumerate(zip(units.mean, units.deviation, strict=True))
    )


def publish(
    models: Path, facts: Manifest, graphs: Mapping[Role, bytes], figures: Figures, notes: str, parity: str,
    credit_table: Sequence[card.Credit] = (), remarks: Sequence[str] = (), recipe: Recipe | None = None,
    score: Score | None = None, examples: Mapping[str, bytes] | None = None,
) -> Path:  # fmt: skip
    """Write the package with its model card and figures; returns its directory, models/<name>/<version>/.

    If another process has written that version meanwhile, the package gets the next free one.

    Args:
        facts, graphs: as training.export.parity has verified them.
        notes: paragraphs for the model card, Markdown; may be empty.
        parity: one sentence for the model card on how far onnxruntime's answers are from torch's.
        credit_table, remarks: for the model card, see training.export.card.
        recipe: what the weights were made by; it becomes recipe.toml, without paths.
        score: of training.evaluation.scores.
        examples: of training.export.examples.
    Raises:
        DiskError: it cannot be written; nothing is left.
    """
    extra = dict(examples or {})
    if score is not None:
        facts, extra[score[0].file] = facts.model_copy(update={"score": score[0]}), score[1]
    if recipe is not None and recipe.translations:
        facts = facts.model_copy(update={"translations": recipe.translations})
    captions = {file: caption for file, (caption, _) in figures.items()}
    files = {file: drawing.picture for file, (_, drawing) in figures.items()}
    labels = {file: drawing.labels for file, (_, drawing) in figures.items() if drawing.labels}
    facts = facts.model_copy(update={"labels": labels or None})
    if recipe is not None:
        files[recipe_file.NAME] = recipe_file.to_toml(recipe_file.publish(recipe))
    while True:
        text = card.render(facts, captions, notes, parity, credit_table, remarks)
        try:
            return write(models, facts, graphs, {"README.md": text.encode(), **files, **extra})
        except PackageExists:
            version = package.next_version(models, facts.name)
            if version <= facts.version:
                raise
            facts = facts.model_copy(update={"version": version})


def write(models: Path, facts: Manifest, graphs: Mapping[Role, bytes], files: Mapping[str, bytes]) -> Path:
    """models/<name>/<version>/ with its golden pair and `files`, whole or absent; DiskError if it cannot be written."""
    entry, data = golden.create(package.verify(facts, graphs, label=facts.key))
    facts = facts.model_copy(update={"golden": entry})
    try:
        return package.write(models, facts, graphs, {**files, entry.file: data})
    except OSError as error:
        raise DiskError(f"cannot write the package to {models}: {error.strerror or error}; nothing was left") from error
