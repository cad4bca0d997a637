"""An opened package: checks, quantised graphs, failures."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from service.errors import InvalidInput, ModelFailed
from service.model.package import read
from service.model.runtime import Model
from tests.service import packages as doubles


def test_a_wide_run_gives_what_a_narrow_one_gives(tmp_path: Path) -> None:
    package = read(doubles.write_denoisers(tmp_path) / "page" / "1")
    page = np.random.default_rng(0).integers(0, 256, (1, 33, 50, 1), dtype=np.uint8)
    np.testing.assert_array_equal(Model(package, "cpu", 2).denoise(page, wide=True), Model(package).denoise(page))


def test_a_model_checks_what_it_is_given(models: Path) -> None:
    model = Model(read(models / "signal" / "1"))
    with pytest.raises(InvalidInput, match="dtype is float64, vector wants float32"):
        model.encode(np.zeros((1, 6)))
    with pytest.raises(InvalidInput, match=r"shape is \[1, 5\], vector wants \[N, 6\]"):
        model.encode(np.zeros((1, 5), np.float32))
    with pytest.raises(InvalidInput, match="NaN or infinity"):
        model.encode(np.full((1, 6), np.nan, np.float32))


def test_a_run_that_fails_says_which_model(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(read(models / "signal" / "1"))

    class Broken:
        def get_inputs(self) -> Any:
            raise RuntimeError("out of memory")

    model._sessions["encoder"] = Broken()
    with pytest.raises(ModelFailed, match="signal version 1 failed in its encoder"):
        model.encode(np.zeros((1, 6), np.float32))


def test_a_quantised_graph_runs_where_the_cpu_is_faster_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts: Any = {"kind": "denoising", "operations": ("denoise",), "reconstruction_error_quantiles": None}
    (negative,) = doubles.denoiser_graphs(1).values()
    doubled = doubles.denoiser_graphs(1)["denoiser"]
    doubled.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array(254, np.int32), "white"))
    content = read(doubles.write(tmp_path, "small", {"denoiser": negative, "denoiser-int8": doubled}, **facts))
    image = np.full((1, 4, 4, 1), 10, np.uint8)
    for has, precision, runs, answer in (
        (True, "auto", "int8", 244), (False, "auto", "fp32", 245),
        (True, "fp32", "fp32", 245), (False, "int8", "int8", 244),
    ):  # fmt: skip
        monkeypatch.setattr("service.model.runtime.has_int8_instructions", lambda has=has: has)
        model = Model(content, precision=precision)  # type: ignore[arg-type]
        assert model.precision == runs
        assert (model.denoise(image) == answer).all()


def test_a_gpu_is_not_left_for_a_quantised_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts: Any = {"kind": "denoising", "operations": ("denoise",), "reconstruction_error_quantiles": None}
    (denoiser,) = doubles.denoiser_graphs(1).values()
    content = read(doubles.write(tmp_path, "small", {"denoiser": denoiser, "denoiser-int8": denoiser}, **facts))
    monkeypatch.setattr("service.model.runtime.actual_provider", lambda session: "cuda")
    for precision in ("auto", "int8"):
        model = Model(content, precision=precision)
        assert (model.provider, model.precision) == ("cuda", "fp32")
