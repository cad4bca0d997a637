"""The loader: packages become models, or are rejected with a reason."""

import logging
from pathlib import Path

import pytest

from service.errors import UnknownVersion
from service.model.runtime import Model
from service.repository.loader import PackageLoader
from service.repository.store import FolderStore
from tests.service import packages as doubles


def test_a_bad_package_is_reported_and_the_others_are_served(tmp_path: Path) -> None:
    doubles.write(tmp_path, "good", doubles.vector_graphs())
    spoilt = doubles.write(tmp_path, "bad", doubles.vector_graphs())
    (spoilt / "encoder.onnx").write_bytes(b"x")
    (tmp_path / "README.md").write_text("not a package")
    (tmp_path / ".writing-x").mkdir()
    registry = PackageLoader(FolderStore(tmp_path)).load_all()
    assert registry.names == ("good",)
    assert registry.rejected_packages[0].key == "bad/1"
    assert "not the one that was exported" in registry.rejected_packages[0].reason
    with pytest.raises(UnknownVersion):
        registry.get("good", "2")


def test_a_graph_that_onnxruntime_refuses_is_reported(tmp_path: Path) -> None:
    graphs = doubles.vector_graphs()
    graphs["encoder"].graph.node[0].op_type = "NoSuchOperator"
    doubles.write(tmp_path, "odd", graphs)
    registry = PackageLoader(FolderStore(tmp_path)).load_all()
    assert registry.names == ()
    assert "cannot be opened by onnxruntime" in registry.rejected_packages[0].reason


def test_a_fallback_is_logged_when_the_provider_is_not_required(
    signal_models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    model = PackageLoader(FolderStore(signal_models), "cuda").load("signal/1")
    assert isinstance(model, Model)
    assert "signal/1 is open on cpu, fp32 (requested: cuda)" in caplog.text
    assert "provider cuda was asked for and does not run here" in caplog.text
