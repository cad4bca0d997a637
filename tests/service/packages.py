"""Tiny real packages, made with onnx alone: what the service's tests serve. No torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.model import package
from service.model.manifest import Data, GraphFile, Manifest, Metric, Role, Training
from service.model.measures.neighbours import INDEX_FILE, Index, write_index

OPSET = 20
TRAINING = Training(
    recipe="double", recipe_sha256="0" * 64, seed=0, date="2026-01-01", code_revision="test",
    data=Data(source="drawn", licence="ours", train=8, validation=1, test=1), versions={"onnx": onnx.__version__},
)  # fmt: skip
QUANTILES = tuple(float(q) for q in np.linspace(0, 0.5, 101))


def graph(
    nodes: Sequence[onnx.NodeProto],
    source: tuple[str, int, Sequence[Any]],
    target: tuple[str, int, Sequence[Any]],
    constants: Mapping[str, np.ndarray],
    opset: int = OPSET,
) -> onnx.ModelProto:
    """An ONNX model of one input and one output: (name, dtype, shape)."""
    onnx_graph = helper.make_graph(
        list(nodes),
        "double",
        [helper.make_tensor_value_info(source[0], source[1], source[2])],
        [helper.make_tensor_value_info(target[0], target[1], target[2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(onnx_graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def image_graphs(height: int = 28, width: int = 28, channels: int = 1, latent: int = 32) -> dict[Role, onnx.ModelProto]:
    """encoder: the first `latent` pixels / 255; decoder: these pixels back, the others 0."""
    size = height * width * channels
    n = helper.make_node
    encoder = graph(
        [
            n("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            n("Div", ["float", "scale"], ["unit"]),
            n("Reshape", ["unit", "flat"], ["row"]),
            n("Slice", ["row", "zero", "end", "one"], ["latent"]),
        ],
        ("image", TensorProto.UINT8, ["N", height, width, channels]),
        ("latent", TensorProto.FLOAT, ["N", latent]),
        {
            "scale": np.array(255, np.float32), "flat": np.array([-1, size]), "zero": np.array([0]),
            "end": np.array([latent]), "one": np.array([1]),
        },
    )  # fmt: skip
    decoder = graph(
        [
            n("Pad", ["latent", "pads"], ["row"]),
            n("Clip", ["row", "low", "high"], ["unit"]),
            n("Mul", ["unit", "scale"], ["grey"]),
            n("Round", ["grey"], ["whole"]),
            n("Cast", ["whole"], ["byte"], to=TensorProto.UINT8),
            n("Reshape", ["byte", "shape"], ["image"]),
        ],
        ("latent", TensorProto.FLOAT, ["N", latent]),
        ("image", TensorProto.UINT8, ["N", height, width, channels]),
        {
            "pads": np.array([0, 0, 0, size - latent]), "low": np.array(0, np.float32),
            "high": np.array(1, np.float32), "scale": np.array(255, np.float32),
            "shape": np.array([-1, height, width, channels]),
        },
    )  # fmt: skip
    return {"encoder": encoder, "decoder": decoder}


def vector_graphs(length: int = 6) -> dict[Role, onnx.ModelProto]:
    """encoder doubles, decoder halves."""
    two = {"two": np.array(2, np.float32)}
    n = helper.make_node
    return {
        "encoder": graph(
            [n("Mul", ["vector", "two"], ["latent"])],
            ("vector", TensorProto.FLOAT, ["N", length]), ("latent", TensorProto.FLOAT, ["N", length]), two,
        ),
        "decoder": graph(
            [n("Div", ["latent", "two"], ["vector"])],
            ("latent", TensorProto.FLOAT, ["N", length]), ("vector", TensorProto.FLOAT, ["N", length]), two,
        ),
    }  # fmt: skip


def denoiser_graphs(channels: int = 3, bits: int = 8) -> dict[Role, onnx.ModelProto]:
    """A negative of any size whose sides are multiples of 4 inside."""
    pixel = TensorProto.UINT16 if bits == 16 else TensorProto.UINT8
    n = helper.make_node
    shape = ["N", "4*h", "4*w", channels]
    return {
        "denoiser": graph(
            [
                n("Cast", ["image"], ["whole"], to=TensorProto.INT32),
                n("Sub", ["white", "whole"], ["less"]),
                n("Cast", ["less"], ["denoised"], to=pixel),
            ],
            ("image", pixel, shape), ("denoised", pixel, shape),
            {"white": np.array(2**bits - 1, np.int32)},
        )
    }  # fmt: skip


CONVOLUTIONAL_HALO = 6  # of the graph below, counted by hand: even pixels look 6 to the left and up


def convolutional_graphs(channels: int = 1, features: int = 4) -> dict[Role, onnx.ModelProto]:
    """A small U: two scales, a stride of 2 down, nearest up, a skip connection, zeros around; random weights.

    y = x + conv(up(conv(down(a))) + a), a = conv(x)
    """
    n = helper.make_node
    weights = np.random.default_rng(0)

    def kernel(outputs: int, inputs: int) -> np.ndarray:
        kernel = weights.normal(0, 1, (outputs, inputs, 3, 3)) / np.sqrt(2 * inputs)
        return np.asarray(kernel, np.float32)

    shape = ["N", "2*h", "2*w", channels]
    pads = [1, 1, 1, 1]
    nodes = [
        n("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        n("Transpose", ["float"], ["x"], perm=[0, 3, 1, 2]),
        n("Conv", ["x", "first"], ["a1"], pads=pads),
        n("LeakyRelu", ["a1"], ["a"], alpha=0.5),
        n("Conv", ["a", "down"], ["b1"], pads=pads, strides=[2, 2]),
        n("LeakyRelu", ["b1"], ["b"], alpha=0.5),
        n("Conv", ["b", "deep"], ["c"], pads=pads),
        n("Resize", ["c", "", "twice"], ["u"], mode="nearest", nearest_mode="floor",
          coordinate_transformation_mode="asymmetric"),
        n("Add", ["u", "a"], ["s"]),
        n("Conv", ["s", "last"], ["correction"], pads=pads),
        n("Add", ["x", "correction"], ["y"]),
        n("Round", ["y"], ["whole"]),
        n("Clip", ["whole", "low", "high"], ["clipped"]),
        n("Transpose", ["clipped"], ["pixels"], perm=[0, 2, 3, 1]),
        n("Cast", ["pixels"], ["denoised"], to=TensorProto.UINT8),
    ]  # fmt: skip
    constants = {
        "first": kernel(features, channels), "down": kernel(features, features), "deep": kernel(features, features),
        "last": kernel(channels, features), "twice": np.array([1, 1, 2, 2], np.float32),
        "low": np.array(0, np.float32), "high": np.array(255, np.float32),
    }  # fmt: skip
    ports = ("image", TensorProto.UINT8, shape), ("denoised", TensorProto.UINT8, shape)
    return {"denoiser": graph(nodes, *ports, constants)}


def write_denoisers(models: Path) -> Path:
    """page and photo (grey, RGB; convolutional, tiled); whole (page without a halo); grey-negative and negative
    (grey, RGB; pixel by pixel); signal (vectors, which come back as they are)."""
    facts: Any = {"kind": "denoising", "operations": ("denoise",), "reconstruction_error_quantiles": None}
    write(models, "page", convolutional_graphs(1), halo=CONVOLUTIONAL_HALO, **facts)
    write(models, "photo", convolutional_graphs(3), halo=CONVOLUTIONAL_HALO, **facts)
    write(models, "grey-negative", denoiser_graphs(1), halo=0, **facts)
    write(models, "negative", denoiser_graphs(3), halo=0, **facts)
    write(models, "whole", convolutional_graphs(1), **facts)
    write(models, "signal", vector_graphs(), **{**facts, "operations": ("encode", "denoise")})
    return models


def manifest(name: str, graphs: Mapping[Role, bytes], **changes: Any) -> Manifest:
    facts: dict[str, Any] = {
        "name": name,
        "version": 1,
        "kind": "stacked",
        "description": "A double.",
        "operations": ("encode", "decode", "reconstruct"),
        "opset": OPSET,
        "graphs": {role: GraphFile(file=f"{role}.onnx", sha256=package.sha256(g)) for role, g in graphs.items()},
        "training": TRAINING,
        "evaluation": {"reconstruction_mse": Metric(value=0.1, unit="mse", split="test")},
        "reconstruction_error_quantiles": QUANTILES,
        **changes,
    }
    return Manifest(**facts)


def write(models: Path, name: str, graphs: Mapping[Role, onnx.ModelProto], **changes: Any) -> Path:
    data = {role: model.SerializeToString() for role, model in graphs.items()}
    return package.write(models, manifest(name, data, **changes), data, {"README.md": b"# double\n"})


def write_for_files(models: Path) -> Path:
    """What the command line's tests work with: `small`, which reconstructs, and `negative`, a denoiser of any size."""
    everything: object = ("encode", "decode", "reconstruct")
    write(models, "small", image_graphs(), operations=everything)
    facts: dict[str, object] = {"kind": "denoising", "operations": ("denoise",), "reconstruction_error_quantiles": None}
    write(models, "negative", denoiser_graphs(1), halo=0, **facts)
    return models


def write_all(models: Path) -> Path:
    """small (28x28 grey, all four operations, an index of 20), versions 1 and 2; signal; negative (any size, RGB)."""
    everything: Any = ("encode", "decode", "reconstruct", "denoise")
    for version in (1, 2):
        write(models, "small", image_graphs(), kind="denoising", operations=everything, version=version)
        latents = np.zeros((20, 32), np.float16)
        latents[:, 0] = np.arange(20) / 20
        pictures = np.repeat(np.arange(20, dtype=np.uint8), 784).reshape(20, 28, 28, 1)
        index = write_index(Index(latents, tuple(f"n{number}" for number in range(20)), pictures))
        (models / "small" / f"{version}.{INDEX_FILE}").write_bytes(index)
    write(models, "signal", vector_graphs())
    write(
        models, "negative", denoiser_graphs(), kind="denoising", operations=("denoise",),
        reconstruction_error_quantiles=None,
    )  # fmt: skip
    return models


def endless_graphs(length: int = 6) -> dict[Role, onnx.ModelProto]:
    """Those of `vector_graphs`, whose encoder never ends for a vector with a number above 1."""
    n = helper.make_node
    scalar = helper.make_tensor_value_info
    body = helper.make_graph(
        [n("Identity", ["go_on"], ["goes_on"]), n("Add", ["x", "zero"], ["y"])],
        "body",
        [
            scalar("i", TensorProto.INT64, []),
            scalar("go_on", TensorProto.BOOL, []),
            scalar("x", TensorProto.FLOAT, None),
        ],
        [scalar("goes_on", TensorProto.BOOL, []), scalar("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(0, np.float32), "zero")],
    )
    encoder = graph(
        [
            n("ReduceMax", ["vector"], ["largest"], keepdims=0),
            n("Greater", ["largest", "one"], ["is_endless"]),
            n("Loop", ["", "is_endless", "vector"], ["latent"], body=body),
        ],
        ("vector", TensorProto.FLOAT, ["N", length]),
        ("latent", TensorProto.FLOAT, ["N", length]),
        {"one": np.array(1, np.float32)},
    )
    return {**vector_graphs(length), "encoder": encoder}


def rootless_graphs(length: int = 6) -> dict[Role, onnx.ModelProto]:
    """Those of `vector_graphs`, whose encoder answers sqrt(1 - x): NaN above 1."""
    n = helper.make_node
    encoder = graph(
        [n("Sub", ["one", "vector"], ["rest"]), n("Sqrt", ["rest"], ["latent"])],
        ("vector", TensorProto.FLOAT, ["N", length]),
        ("latent", TensorProto.FLOAT, ["N", length]),
        {"one": np.array(1, np.float32)},
    )
    return {**vector_graphs(length), "encoder": encoder}


def short_graphs(rows: int, length: int = 6) -> dict[Role, onnx.ModelProto]:
    """Those of `vector_graphs`, whose encoder answers the first `rows` rows only."""
    encoder = graph(
        [helper.make_node("Slice", ["vector", "start", "end", "axis"], ["latent"])],
        ("vector", TensorProto.FLOAT, ["N", length]),
        ("latent", TensorProto.FLOAT, ["N", length]),
        {"start": np.array([0]), "end": np.array([rows]), "axis": np.array([0])},
    )
    return {**vector_graphs(length), "encoder": encoder}
