"""The golden file: a package answers as it did at export."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from service.model import golden, package
from service.model.errors import GoldenMismatch
from service.model.runtime import Model
from service.repository.loader import PackageLoader
from service.repository.store import FolderStore
from service.repository.verifier import VerificationFailed, Verifier
from tests.service import packages as doubles
from tests.service.signals import write_with_golden


def test_a_graph_that_answers_otherwise_is_refused_by_its_golden_pair(signal_models: Path, verifier: Verifier) -> None:
    directory = signal_models / "signal" / "1"
    encoder = doubles.vector_graphs()["encoder"]
    encoder.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array(2.1, np.float32), "two"))
    data = encoder.SerializeToString()
    (directory / "encoder.onnx").write_bytes(data)
    facts = json.loads((directory / "manifest.json").read_text())
    facts["graphs"]["encoder"]["sha256"] = package.sha256(data)
    (directory / "manifest.json").write_text(json.dumps(facts))
    with pytest.raises(VerificationFailed, match="encoder on cpu does not answer its golden input"):
        verifier.verify(directory)
    registry = PackageLoader(FolderStore(signal_models), "cpu").load_all()  # without a verifier too
    assert registry.rejected_packages[0].key == "signal/1"


def test_a_package_from_before_golden_pairs_is_served(tmp_path: Path, verifier: Verifier) -> None:
    verifier.verify(doubles.write(tmp_path, "signal", doubles.vector_graphs()))


@pytest.mark.parametrize("kind", ["image", "any size", "any size in eight bits"])
def test_every_kind_of_package_has_a_golden_pair(tmp_path: Path, verifier: Verifier, kind: str) -> None:
    graphs: Any = doubles.image_graphs() if kind == "image" else doubles.convolutional_graphs(3)
    changes: Any = {"kind": "denoising", "operations": ("denoise",), "reconstruction_error_quantiles": None}
    if kind.endswith("bits"):
        graphs["denoiser-int8"] = graphs["denoiser"]
    directory = write_with_golden(tmp_path, "small", graphs, **({} if kind == "image" else changes))
    verifier.verify(directory)
    with np.load(directory / "golden.npz") as stored:
        assert sorted(stored.files) == sorted(f"{role}.{end}" for role in graphs for end in ("input", "output"))
        assert all(stored[name].any() for name in stored.files)


def save_bytes(save: Any, arrays: dict[str, np.ndarray], folder: Path) -> bytes:
    path = folder / "x.npz"
    save(path, **arrays)
    data = path.read_bytes()
    path.unlink()
    return data


def test_a_golden_file_that_is_none_is_refused(signal_models: Path) -> None:
    directory = signal_models / "signal" / "1"
    content = package.read(directory)
    model = Model(content)
    with np.load(directory / "golden.npz") as stored:
        arrays = dict(stored)
    for golden_bytes in (
        b"", b"PK\x03\x04", content.golden[:-30] if content.golden else b"",
        save_bytes(np.savez_compressed, arrays, directory),
        save_bytes(np.savez, {"encoder.input": np.zeros(3)}, directory),
        save_bytes(np.savez, {**arrays, "encoder.input": np.array([None])}, directory),
        save_bytes(np.savez, {**arrays, "encoder.output": np.full((2, 6), np.nan, np.float32)}, directory),
        save_bytes(np.savez, {**arrays, "encoder.output": np.zeros((1, 6), np.float32)}, directory),
    ):  # fmt: skip
        spoilt_package = package.Package(content.manifest, content.graphs, content.ports, golden_bytes)
        with pytest.raises(GoldenMismatch, match=r"golden"):
            golden.verify(spoilt_package, model)
