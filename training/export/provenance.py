"""Provenance of weights, for the manifest: recipe, data, seed, date, code revision, versions of libraries."""

import datetime
import platform
import subprocess
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Protocol

import onnx
import onnxruntime
import torch

from service.model.manifest import Data, Imported, Samples, Training
from service.model.package import newest_directory
from training import __version__
from training.export import recipe_file
from training.recipe import Recipe


class Splits(Protocol):
    """The splits of a dataset: training.data.datasets.Dataset and training.data.patches.RestorationData."""

    @property
    def source(self) -> str: ...
    @property
    def licence(self) -> str: ...
    @property
    def train(self) -> Sized: ...
    @property
    def validation(self) -> Sized: ...
    @property
    def test(self) -> Sized: ...


def training_facts(recipe: Recipe, data: Splits, start: Path | None = None) -> Training:
    """The manifest's section `training`, with today's date (UTC) and the revision of this checkout.

    `start`: the package or the checkpoint whose weights were the initial ones.
    """
    published = recipe_file.publish(recipe)
    return Training(
        recipe=recipe.name,
        recipe_sha256=published.digest,
        data=Data(
            source=published.data.source if data.source == recipe.data.source else data.source, licence=data.licence,
            train=len(data.train), validation=len(data.validation), test=len(data.test),
        ),
        seed=recipe.seed,
        date=_today(), code_revision=_revision(), versions=_versions(), start=_name_start(start),
    )  # fmt: skip


def _name_start(start: Path | None) -> str | None:
    """NAME/VERSION of a package, the name of a checkpoint's file."""
    if start is None or start.is_file():
        return None if start is None else start.name
    directory = newest_directory(start) or start
    return f"{directory.resolve().parent.name}/{directory.resolve().name}"


def import_facts(
    files: Mapping[str, str],
    options: Sequence[str],
    assumptions: Sequence[str],
    licence: str,
    samples: Samples | None,
) -> Imported:
    """The manifest's section `imported`, with today's date (UTC) and the revision of this checkout."""
    return Imported(
        files=dict(files), options=tuple(options), assumptions=tuple(assumptions), licence=licence, samples=samples,
        date=_today(), code_revision=_revision(), versions=_versions(),
    )  # fmt: skip


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def _revision() -> str:
    """The commit of a checkout, else the version of the package."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return __version__
    return result.stdout.strip() if result.returncode == 0 else __version__
