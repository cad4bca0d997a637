"""An opened package: checks, quantised graphs, failures."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from service.errors import InvalidInput, ModelFailed
from service.interruption import Interruption, interruptible
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
        def run(self, batch: Any) -> Any:
            raise RuntimeError("out of memory")

    vars(model)["_sessions"]["encoder"] = Broken()
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
        monkeypatch.setattr("service.model.variants.has_int8_instructions", lambda has=has: has)
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


def test_a_graph_without_end_is_stopped(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = Model(read(doubles.write(tmp_path, "endless", doubles.endless_graphs())))
    model.warm_up()
    interruption = Interruption()
    threading.Timer(0.1, interruption.stop).start()
    with interruptible(interruption), pytest.raises(ModelFailed, match="endless version 1 failed in its encoder"):
        model.encode(np.full((1, 6), 2, np.float32))
    assert capfd.readouterr().err == ""


def test_what_a_graph_answers_is_checked(tmp_path: Path) -> None:
    model = Model(read(doubles.write(tmp_path, "rootless", doubles.rootless_graphs())))
    assert model.encode(np.zeros((3, 6), np.float32)).shape == (3, 6)
    assert model.encode(np.full((3000, 6), -3e38, np.float32)).shape == (3000, 6)
    signal = Model(read(doubles.write(tmp_path, "signal", doubles.vector_graphs())))
    assert signal.encode(np.full((1, 6), 1e30, np.float32)).shape == (1, 6)  # whose squares are not finite
    with pytest.raises(ModelFailed, match="NaN or infinity"):
        signal.encode(np.full((1, 6), 3e38, np.float32))
    batch = np.zeros((3, 6), np.float32)
    batch[1, 2] = 2
    for function in (model.encode, model.reconstruct):
        with pytest.raises(ModelFailed, match="rootless version 1: its encoder answered with NaN or infinity"):
            function(batch)
    short = Model(read(doubles.write(tmp_path, "short", doubles.short_graphs(2))))
    short.warm_up()
    with pytest.raises(ModelFailed, match=r"its encoder answered \[3, 6\] with \[2, 6\] instead of \[3, 6\]"):
        short.encode(batch)


def test_a_denoiser_that_answers_another_size_fails(tmp_path: Path) -> None:
    graphs = doubles.denoiser_graphs(1)
    node = onnx.helper.make_node("Slice", ["denoised_all", "start", "end", "axis"], ["denoised"])
    (graph,) = (model.graph for model in graphs.values())
    graph.node[-1].output[0] = "denoised_all"
    graph.node.append(node)
    for name, value in (("start", 0), ("end", 8), ("axis", 1)):
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([value]), name))
    facts: Any = {"kind": "denoising", "operations": ("denoise",), "reconstruction_error_quantiles": None}
    model = Model(read(doubles.write(tmp_path, "cut", graphs, halo=0, **facts)))
    assert model.denoise(np.zeros((1, 8, 8, 1), np.uint8)).shape == (1, 8, 8, 1)
    with pytest.raises(ModelFailed, match=r"its denoiser answered \[1, 12, 8, 1\] with \[1, 8, 8, 1\] instead of"):
        model.denoise(np.zeros((1, 9, 8, 1), np.uint8))


def test_warm_up_refuses_a_graph_that_answers_one_row_for_two(tmp_path: Path) -> None:
    model = Model(read(doubles.write(tmp_path, "short", doubles.short_graphs(1))))
    with pytest.raises(ModelFailed, match=r"\[2, 6\] with \[1, 6\] instead of \[2, 6\]"):
        model.warm_up()
