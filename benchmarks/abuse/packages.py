"""Packages whose graph misbehaves for some inputs, made from a shipped one: it never ends, or answers NaN.

models/<name>/1 -> altered -> FOLDER/<name>/1, its digests rewritten, without its golden file
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.model.package import sha256

WHITE = 255  # an image with such a pixel is the one for which the graph misbehaves
_node = helper.make_node


def alter(source: Path, models: Path, change: Callable[[onnx.GraphProto], None]) -> Path:
    """Copy the package <name>/<version> to `models` and change its encoder's graph."""
    target = models / source.parent.name / source.name
    shutil.copytree(source, target)
    manifest = json.loads((target / "manifest.json").read_text())
    encoder = manifest["graphs"]["encoder"]
    model = onnx.load_model_from_string((target / encoder["file"]).read_bytes())
    change(model.graph)
    data = model.SerializeToString()
    (target / encoder["file"]).write_bytes(data)
    encoder["sha256"] = sha256(data)
    manifest.pop("golden", None)
    (target / "manifest.json").write_text(json.dumps(manifest))
    return models


def never_end(graph: onnx.GraphProto) -> None:
    """A loop around the latents, without end if the batch has a white pixel."""
    _rename_latent(graph)
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [_node("Identity", ["condition_in"], ["condition_out"]), _node("Identity", ["value_in"], ["value_out"])],
        "loop",
        [
            value("iteration", TensorProto.INT64, []),
            value("condition_in", TensorProto.BOOL, []),
            value("value_in", TensorProto.FLOAT, None),
        ],
        [value("condition_out", TensorProto.BOOL, []), value("value_out", TensorProto.FLOAT, None)],
    )
    graph.initializer.append(numpy_helper.from_array(np.array(WHITE - 0.5, np.float32), "nearly_white"))
    graph.node.extend(
        [
            _node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
            _node("ReduceMax", ["grey"], ["lightest"], keepdims=0),
            _node("Greater", ["lightest", "nearly_white"], ["is_white"]),
            _node("Loop", ["", "is_white", "latent_before"], ["latent"], body=body),
        ]
    )


def answer_nan(graph: onnx.GraphProto) -> None:
    """The latents of an image with a white pixel are NaN; those beside it in a batch are not."""
    _rename_latent(graph)
    for name, array in (
        ("nearly_white", np.array(WHITE - 0.5, np.float32)),
        ("nothing", np.array(0, np.float32)),
        ("axes", np.array([1, 2, 3])),
        ("last", np.array([1])),
    ):
        graph.initializer.append(numpy_helper.from_array(array, name))
    graph.node.extend(
        [
            _node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
            _node("ReduceMax", ["grey", "axes"], ["lightest"], keepdims=0),
            _node("Sub", ["nearly_white", "lightest"], ["rest"]),
            _node("Sqrt", ["rest"], ["root"]),
            _node("Mul", ["root", "nothing"], ["zero"]),
            _node("Unsqueeze", ["zero", "last"], ["zeros"]),
            _node("Add", ["latent_before", "zeros"], ["latent"]),
        ]
    )


def _rename_latent(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        names = ["latent_before" if name == "latent" else name for name in node.output]
        node.ClearField("output")
        node.output.extend(names)
        inputs = ["latent_before" if name == "latent" else name for name in node.input]
        node.ClearField("input")
        node.input.extend(inputs)
