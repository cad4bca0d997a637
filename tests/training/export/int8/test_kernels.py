"""A quantised graph fitted to the runtime's kernels gives the same numbers, and the runtime takes its fast kernels."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from service.model import package
from service.model.manifest import Role
from tests.service import packages as doubles
from training.architectures.unet import Denoiser
from training.export import quantization
from training.export.graphs import OPSET, export_denoiser
from training.export.int8 import kernels
from training.export.int8.kernels import fit_to_kernels
from training.recipe import Unet

FACTS: Any = {"kind": "denoising", "operations": ("denoise",), "reconstruction_error_quantiles": None, "opset": OPSET}
RECIPES = [
    Unet(channels=3, unshuffle=1, widths=[16, 16, 32], encoder_blocks=[1] * 3, decoder_blocks=[1, 1], context=5),
    Unet(channels=3, unshuffle=1, widths=[32, 16], encoder_blocks=[1, 1], decoder_blocks=[1]),
    Unet(channels=1, unshuffle=1, widths=[16, 32], encoder_blocks=[1, 1], decoder_blocks=[1], context=3),
    Unet(channels=1, unshuffle=2, widths=[16, 24], encoder_blocks=[1, 1], decoder_blocks=[1]),
    Unet(channels=3, unshuffle=2, widths=[12, 20], encoder_blocks=[1, 1], decoder_blocks=[1], context=5),
]


def quantise(recipe: Unet, monkeypatch: pytest.MonkeyPatch, kept_in_floats: float = 0.0) -> bytes:
    """A graph in eight bits, not fitted; with a limit of `kept_in_floats` of the error some convolutions are floats."""
    torch.manual_seed(0)
    denoiser = Denoiser(recipe)
    for parameter in denoiser.parameters():
        nn.init.normal_(parameter, std=0.2)
    graph = export_denoiser(denoiser)
    images = list(np.random.default_rng(0).integers(0, 256, (3, 64, 64, recipe.channels), np.uint8))
    exact = quantization.onnx_denoiser(graph)

    def difference(candidate: bytes) -> float:
        denoise = quantization.onnx_denoiser(candidate)
        return float(np.mean([np.abs(denoise(image).astype(int) - exact(image)).mean() for image in images]))

    monkeypatch.setattr(quantization, "fit_to_kernels", lambda data: data)
    quantised = quantization.quantize(graph, images, difference, 1e9)
    if quantised is not None and kept_in_floats:
        quantised = quantization.quantize(graph, images, difference, kept_in_floats * difference(quantised))
    assert quantised is not None
    return quantised


def run(graph: bytes, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": image})[0])


def list_kernels(graph: bytes, folder: Path) -> Counter[str]:
    """How often each operator is in the graph that the runtime runs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_it_gives_the_same_numbers(recipe: Unet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain = quantise(recipe, monkeypatch)
    fitted = fit_to_kernels(plain)
    assert fitted != plain
    onnx.checker.check_model(onnx.load_model_from_string(fitted), full_check=True)
    generator = np.random.default_rng(1)
    for shape in ((1, 16, 40), (2, 48, 32), (3, 16, 16)):
        image = generator.integers(0, 256, (*shape, recipe.channels), np.uint8)
        expected = run(plain, image)
        assert np.abs(expected.astype(int) - image).max() > 10, "it does something"
        assert np.array_equal(run(fitted, image), expected)
    kernels = list_kernels(fitted, tmp_path)
    assert not kernels["MaxPool"]
    assert recipe.unshuffle == 2 or kernels["Cast"] <= 1, "to floats and back: the answer alone"
    assert kernels["NhwcMaxPool"] == (2 if recipe.context else 0)
    assert not kernels["Conv"]
    assert fit_to_kernels(fitted) == fitted, "there is nothing left to do"


def test_convolutions_in_floats_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = RECIPES[0]
    plain = quantise(recipe, monkeypatch, kept_in_floats=0.95)
    fitted = fit_to_kernels(plain)
    image = np.random.default_rng(2).integers(0, 256, (2, 32, 48, 3), np.uint8)
    assert np.array_equal(run(fitted, image), run(plain, image))
    before, after = list_kernels(plain, tmp_path), list_kernels(fitted, tmp_path)
    assert before["Conv"] == after["Conv"] > 0


def test_all_inputs_of_the_first_layer_are_multiples_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx.load_model_from_string(fit_to_kernels(quantise(RECIPES[0], monkeypatch)))
    weights = {
        tensor.name: tensor.dims for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT8
    }
    shapes = [list(dims) for dims in weights.values() if len(dims) == 4]
    assert all(inputs % 4 == 0 and outputs % 16 == 0 for outputs, inputs, _, _ in shapes)


def test_a_graph_in_floats_stays_as_it_is() -> None:
    graph = export_denoiser(Denoiser(RECIPES[1]))
    assert fit_to_kernels(graph) == graph


def test_a_package_is_rewritten_in_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = quantise(RECIPES[1], monkeypatch)
    denoiser = onnx.load_model_from_string(export_denoiser(Denoiser(RECIPES[1])))
    graphs: dict[Role, onnx.ModelProto] = {"denoiser": denoiser, "denoiser-int8": onnx.load_model_from_string(plain)}
    directory = doubles.write(tmp_path, "small", graphs, **FACTS)
    assert kernels.main([str(directory)]) == 0
    assert kernels.main([str(directory)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{directory}: int8 graph rewritten",
        f"{directory}: nothing to rewrite",
    ]
    assert package.read(directory).graphs["denoiser-int8"] == fit_to_kernels(plain)
    (tmp_path / "empty").mkdir()
    assert kernels.main([str(tmp_path / "empty")]) == 2
    assert capsys.readouterr().err.startswith("training.export.int8.kernels: ")
    assert json.loads((directory / "manifest.json").read_text())["graphs"]["denoiser-int8"]["sha256"]
