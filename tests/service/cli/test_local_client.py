"""The client of the commands on files: the model, its version, and that no other package is opened."""

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest

from service.cli.errors import FilesError
from service.cli.file_options import FileOptions
from service.cli.local_client import client_for, package_for, packages_with, select_version
from service.model import package
from service.repository.store import FolderStore
from service.settings import Settings
from tests.service import packages as doubles
from tests.service.cli.conftest import run

package_read = package.read


def test_several_models_are_named_with_what_they_do(
    file_models: Path, scans: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    denoisers = tmp_path / "models"
    doubles.write_denoisers(denoisers)
    assert run(denoisers, "denoise", scans / "a.png", "-o", tmp_path / "x.png") == 2
    assert "name a model with --model; there are: grey-negative (A double.); negative" in capfd.readouterr().err


def test_only_the_model_that_is_asked_for_is_opened(
    file_models: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(file_models, tmp_path / "models")
    graph = next((folder / "small/1").glob("*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1])  # its digest is not the manifest's any more
    directories: list[Path] = []

    def read(directory: Path) -> package.Package:
        directories.append(directory)
        return package_read(directory)

    monkeypatch.setattr(package, "read", read)
    assert run(folder, "denoise", scans / "a.png", "-o", tmp_path / "a.png") == 0
    assert directories == [folder / "negative/1"]
    assert run(folder, "encode", scans, "-o", tmp_path / "a.npy") == 2
    assert "autoencoder-service: small/1" in capfd.readouterr().err
    assert run(folder, "denoise", scans, "-o", tmp_path / "b", "--model-version", "2") == 2
    assert "negative has no version 2; it has 1" in capfd.readouterr().err


def test_the_version_is_the_pinned_one_else_the_highest(file_models: Path, scans: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(file_models, tmp_path / "models")
    facts: dict[str, object] = {"kind": "denoising", "operations": ("denoise",), "reconstruction_error_quantiles": None}
    doubles.write(folder, "negative", doubles.denoiser_graphs(1), halo=0, version=2, **facts)
    store = FolderStore(folder)
    versions = packages_with("denoise", store)["negative"]
    assert select_version(store, "negative", versions, None) == "negative/2"
    (folder / "negative/default").write_text("1")
    assert select_version(store, "negative", versions, None) == "negative/1"
    assert select_version(store, "negative", versions, 2) == "negative/2"


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("small", "1", ()),
        ("small", "7", ()),
        ("small", "the newest", ()),
        ("negative", "1", ("--model-version", "2")),
        ("negative", "7", ()),
        ("negative", "the newest", ()),
    ],
)
def test_a_file_default_does_not_refuse_the_package_that_is_asked_for(
    file_models: Path, scans: Path, tmp_path: Path, name: str, content: str, options: tuple[str, ...]
) -> None:
    """Whatever the file of this or another model holds, the version is selected, opened, and used."""
    folder = shutil.copytree(file_models, tmp_path / "models")
    facts: dict[str, object] = {"kind": "denoising", "operations": ("denoise",), "reconstruction_error_quantiles": None}
    doubles.write(folder, "negative", doubles.denoiser_graphs(1), halo=0, version=2, **facts)
    (folder / name / "default").write_text(content)
    output = tmp_path / "a.png"
    assert run(folder, "denoise", scans / "a.png", "-o", output, "--model", "negative", *options) == 0
    assert output.is_file()


def test_without_a_url_the_client_talks_to_a_service_in_this_process(file_models: Path) -> None:
    options = FileOptions(operation="encode", inputs=("a.png",), output="a.npy")

    async def encode() -> tuple[str, tuple[int, ...], int]:
        async with client_for(options, Settings(models=file_models)) as (client, model):
            latents = await client.encode(model, np.zeros((28, 28), np.uint8))
            return model, latents.shape, len(await client.models())

    assert asyncio.run(encode()) == ("small", (1, 32), 1), "the denoiser is not opened"


@pytest.mark.parametrize(
    ("model", "version", "sentence"),
    [
        ("negative", None, "no model negative can encode; there are: small"),
        ("small", 7, "small has no version 7; it has 1"),
    ],
)
def test_a_model_that_cannot_do_it_is_refused_before_anything_is_opened(
    file_models: Path, model: str, version: int | None, sentence: str
) -> None:
    options = FileOptions(operation="encode", inputs=(), output="-", model=model, model_version=version)
    with pytest.raises(FilesError, match=sentence):
        package_for(options, Settings(models=file_models))
