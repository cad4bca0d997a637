"""The contract: each refusal first makes that very package."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.model import errors, package
from service.model.graph import Port
from service.model.manifest import Manifest
from tests.service import packages as doubles


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A good package, to be spoilt: models/small/1."""
    return doubles.write(tmp_path / "models", "small", doubles.image_graphs())


def edit(directory: Path, **changes: Any) -> None:
    path = directory / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_was_written_is_read_back(directory: Path) -> None:
    loaded = package.read(directory)
    assert loaded.modality == "image"
    assert loaded.sample == Port("image", "uint8", ("N", 28, 28, 1))
    assert loaded.latent == Port("latent", "float32", ("N", 32))
    assert sorted(p.name for p in directory.iterdir()) == ["README.md", "decoder.onnx", "encoder.onnx", "manifest.json"]
    assert [p.name for p in directory.parents[1].iterdir()] == ["small"]


def test_values_stay_as_they_are_in_a_manifest_of_few_lines(directory: Path) -> None:
    facts = package.read(directory).manifest
    for text in ("a [1,\n 2] b", "{ } \n  [", 'quotes " and \\ {"a":\t[]}', "한국어 [\n]"):
        changed = facts.model_copy(update={"description": text, "shortfalls": (text, text)})
        content = package.to_json(changed)
        assert json.loads(content) == changed.model_dump(mode="json", exclude_none=True)
        assert Manifest.model_validate_json(content) == changed
    assert len(package.to_json(facts).splitlines()) < 40


def test_an_unknown_key_is_refused(directory: Path) -> None:
    edit(directory, surprise=1)
    with pytest.raises(errors.ManifestError, match="surprise: Extra inputs"):
        package.read(directory)


def test_a_manifest_that_is_missing_or_no_json_is_refused(directory: Path) -> None:
    (directory / "manifest.json").write_text("{")
    with pytest.raises(errors.ManifestError, match="Invalid JSON"):
        package.read(directory)
    (directory / "manifest.json").unlink()
    with pytest.raises(errors.ManifestError, match=r"has no manifest\.json"):
        package.read(directory)


@pytest.mark.parametrize("file", ["../encoder.onnx", "/etc/passwd", "a/b.onnx", "..", "", "a\\b"])
def test_a_path_that_leaves_the_package_is_refused(directory: Path, file: str) -> None:
    graphs = json.loads((directory / "manifest.json").read_text())["graphs"]
    (directory.parent / "encoder.onnx").write_bytes((directory / "encoder.onnx").read_bytes())
    edit(directory, graphs={**graphs, "encoder": {**graphs["encoder"], "file": file}})
    with pytest.raises(errors.PathRefused, match="not a plain file name"):
        package.read(directory)


def test_a_link_is_refused(directory: Path, tmp_path: Path) -> None:
    (directory / "encoder.onnx").rename(tmp_path / "elsewhere.onnx")
    (directory / "encoder.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(errors.PathRefused, match="is a link"):
        package.read(directory)


def test_one_flipped_bit_is_refused(directory: Path) -> None:
    data = bytearray((directory / "encoder.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (directory / "encoder.onnx").write_bytes(data)
    with pytest.raises(errors.DigestMismatch, match="not the one that was exported"):
        package.read(directory)


def test_a_missing_graph_is_refused(directory: Path) -> None:
    (directory / "decoder.onnx").unlink()
    with pytest.raises(errors.GraphMissing, match=r"has no file decoder\.onnx"):
        package.read(directory)


def test_a_quantised_denoiser_alone_is_refused(tmp_path: Path) -> None:
    facts: Any = {"kind": "denoising", "operations": ("denoise",), "reconstruction_error_quantiles": None}
    (denoiser,) = doubles.denoiser_graphs().values()
    directory = doubles.write(tmp_path / "models", "small", {"denoiser": denoiser, "denoiser-int8": denoiser}, **facts)
    assert set(package.read(directory).graphs) == {"denoiser", "denoiser-int8"}
    manifest = json.loads((directory / "manifest.json").read_text())
    del manifest["graphs"]["denoiser"]
    edit(directory, graphs=manifest["graphs"])
    with pytest.raises(errors.GraphMissing, match="stands in for 'denoiser'; that one is missing"):
        package.read(directory)


def test_an_operation_without_its_graph_is_refused(tmp_path: Path) -> None:
    graphs_without_decoder = {"encoder": doubles.image_graphs()["encoder"]}
    with pytest.raises(errors.GraphMissing, match="offers decode, which needs a graph 'decoder'"):
        doubles.write(tmp_path, "small", graphs_without_decoder)  # type: ignore[arg-type]


def test_a_folder_of_another_name_is_refused(directory: Path) -> None:
    moved = directory.rename(directory.with_name("7"))
    with pytest.raises(errors.ManifestError, match="its folder must be small/1"):
        package.read(moved)


@pytest.mark.parametrize("quantiles", [None, (0.0,) * 5, tuple(float(q) for q in np.linspace(1, 0, 101))])
def test_quantiles_missing_too_few_or_falling_are_refused(tmp_path: Path, quantiles: Any) -> None:
    with pytest.raises(errors.ManifestError, match="quantiles"):
        doubles.write(tmp_path, "small", doubles.image_graphs(), reconstruction_error_quantiles=quantiles)


def test_a_version_is_never_overwritten(directory: Path) -> None:
    manifest_bytes = (directory / "manifest.json").read_bytes()
    with pytest.raises(errors.PackageExists, match="never overwritten"):
        doubles.write(directory.parents[1], "small", doubles.image_graphs(latent=8))
    assert (directory / "manifest.json").read_bytes() == manifest_bytes


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        doubles.write(tmp_path / "models", "small", doubles.image_graphs())
    assert list((tmp_path / "models").iterdir()) == []


def test_of_two_writers_one_wins_and_the_package_is_whole(tmp_path: Path) -> None:
    outcomes: list[str] = []

    def write() -> None:
        try:
            doubles.write(tmp_path, "small", doubles.image_graphs())
            outcomes.append("written")
        except errors.PackageExists:
            outcomes.append("exists")

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["exists"] * 5 + ["written"]
    assert package.read(tmp_path / "small" / "1")


def test_a_file_that_is_no_plain_name_is_not_written(tmp_path: Path) -> None:
    data: Any = {role: g.SerializeToString() for role, g in doubles.image_graphs().items()}
    with pytest.raises(errors.PathRefused):
        package.write(tmp_path, doubles.manifest("small", data), data, {"../card.md": b""})
    assert list(tmp_path.iterdir()) == []


def test_the_next_version_follows_the_highest(tmp_path: Path) -> None:
    assert package.next_version(tmp_path, "small") == 1
    doubles.write(tmp_path, "small", doubles.image_graphs(), version=9)
    assert package.next_version(tmp_path, "small") == 10
