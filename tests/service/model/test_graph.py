"""The contract of graphs: each refusal first makes that very graph."""

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from service.model import errors, package
from tests.service import packages as doubles


def spoil(tmp_path: Path, role: Any, model: onnx.ModelProto, **changes: Any) -> Path:
    return doubles.write(tmp_path / "models", "small", {**doubles.image_graphs(), role: model}, **changes)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    data = {"encoder": b"not a graph", "decoder": b"\x08\x01"}
    facts = doubles.manifest("small", data)  # type: ignore[arg-type]
    with pytest.raises((errors.GraphRefused, errors.OpsetMismatch)):
        package.write(tmp_path, facts, data, {})  # type: ignore[arg-type]


def external(tensor: onnx.TensorProto) -> onnx.TensorProto:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def in_initializer(model: onnx.ModelProto) -> None:
    external(model.graph.initializer[0])


def in_attribute(model: onnx.ModelProto) -> None:
    constant = external(helper.make_tensor("secret", TensorProto.FLOAT, [1], [0.0]))
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=constant))


def in_subgraph(model: onnx.ModelProto) -> None:
    inner = helper.make_graph(
        [], "inner", [], [], [external(helper.make_tensor("deep", TensorProto.FLOAT, [1], [0.0]))]
    )
    model.graph.node.append(helper.make_node("If", ["cond"], ["branch"], then_branch=inner, else_branch=inner))


@pytest.mark.parametrize("hide", [in_initializer, in_attribute, in_subgraph])
def test_external_data_is_refused_wherever_it_hides(tmp_path: Path, hide: Any) -> None:
    encoder = doubles.image_graphs()["encoder"]
    hide(encoder)
    with pytest.raises(errors.GraphRefused, match="must be self-contained"):
        spoil(tmp_path, "encoder", encoder)


def encoder_with(source: tuple[str, int, list[Any]], target: tuple[str, int, list[Any]]) -> onnx.ModelProto:
    return doubles.graph([helper.make_node("Identity", [source[0]], [target[0]])], source, target, {})


U8, F32 = TensorProto.UINT8, TensorProto.FLOAT
IMAGE, LATENT = ["N", 28, 28, 1], ["N", 32]


@pytest.mark.parametrize(
    ("source", "target", "sentence"),
    [
        (("picture", U8, IMAGE), ("latent", F32, LATENT), "has ports picture -> latent"),
        (("image", U8, IMAGE), ("code", F32, LATENT), "has ports image -> code"),
        (("image", F32, IMAGE), ("latent", F32, LATENT), "port image is float32, must be uint8"),
        (("image", U8, IMAGE), ("latent", TensorProto.DOUBLE, LATENT), "port latent is float64, must be float32"),
        (("image", U8, ["N", 28, 28]), ("latent", F32, LATENT), "rank 3, must be 4"),
        (("image", U8, IMAGE), ("latent", F32, ["N"]), "rank 1, must be 2 or more"),
        (("image", U8, [5, 28, 28, 1]), ("latent", F32, LATENT), "a fixed batch of 5"),
        (("image", U8, ["N", 28, 28, 4]), ("latent", F32, LATENT), "4 channels, must be 1"),
        (("image", U8, IMAGE), ("latent", F32, ["N", 31]), "disagree on the shape of latent"),
        (("image", U8, ["N", 28, 27, 1]), ("latent", F32, LATENT), "disagree on the shape of image"),
        (("vector", F32, ["N", 28]), ("latent", F32, LATENT), "one graph has images, another vectors"),
        (("vector", F32, ["N", "D"]), ("latent", F32, LATENT), "vector must have a fixed length"),
        (("image", U8, ["N", 0, 28, 1]), ("latent", F32, LATENT), "an axis of less than 1"),
    ],
)
def test_ports_that_differ_are_refused(tmp_path: Path, source: Any, target: Any, sentence: str) -> None:
    with pytest.raises(errors.PortsMismatch, match=sentence):
        spoil(tmp_path, "encoder", encoder_with(source, target))
    assert list((tmp_path / "models").iterdir()) == []


def test_another_opset_than_the_manifest_says_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.OpsetMismatch, match="uses opset 20, the manifest says 21"):
        doubles.write(tmp_path, "small", doubles.image_graphs(), opset=21)


def test_an_unsupported_opset_is_refused(tmp_path: Path) -> None:
    graphs = doubles.image_graphs()
    for model in graphs.values():
        model.opset_import[0].version = 11
    with pytest.raises(errors.OpsetMismatch, match="supported are 17 to 26"):
        doubles.write(tmp_path, "small", graphs, opset=11)
