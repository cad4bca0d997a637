"""Quantization: a denoiser's graph in 8-bit integers, where its error on validation stays within a limit.

graph -> rewritten for integers -> ranges of its tensors, from noisy training images -> quantised, fitted to kernels
  -> error on validation -> the most harmful convolutions left in floats, until the limit holds -> graph, or None

Static post-training quantization of everything between the first convolution and the last, with one scale for each
output channel of a weight (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018; Krishnamoorthi, arXiv:1806.08342, section 3). The predicted noise is
added to the image in floats, which keeps the image at full precision. A range ends at a percentile of a tensor's
values: extremes are rare, and would cost all other values resolution. Which percentile is decided on validation.
"""

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.shape_inference import quant_pre_process

from training.export.int8.kernels import fit_to_kernels
from training.export.int8.rewriting import rewrite_for_int8

Image = NDArray[np.uint8]  # [H,W,C]

OPERATORS = ("Conv", "Relu", "Add", "MaxPool", "DepthToSpace", "Transpose", "Reshape")
STRIDE = 64  # a multiple of every stride
MAX_FLOAT_SHARE = 0.5  # of the convolutions; with more of them in floats the graph is hardly faster


def quantize(
    graph: bytes,
    calibration: Sequence[Image],
    error: Callable[[bytes], float],
    limit: float,
    percentiles: Sequence[float] = (99.99, 99.999),
) -> bytes | None:
    """The graph with as many convolutions in 8 bits as `limit` allows; None if too few would be.

    Args:
        graph: ONNX bytes of a denoiser, `image` uint8 [N,H,W,C] -> `denoised`.
        calibration: noisy training images, which determine the tensors' ranges.
        error: of a graph on validation images, in any unit that grows as it gets worse.
        limit: the largest error.
        percentiles: candidates for the end of a range, of a tensor's values; a range starts at 100 minus it.
            The candidate of the least error is used.
    """
    model = _preprocess(rewrite_for_int8(graph))
    candidates = _between_convolutions(model)
    convolutions = [node.name for node in candidates if node.op_type == "Conv"]

    def quantize_except(float_nodes: Sequence[str], ranges: object) -> bytes:
        nodes = candidates if not float_nodes else [node for node in candidates if node.op_type == "Conv"]
        quantizer = QDQQuantizer(
            _copy(model), per_channel=True, reduce_range=False,
            weight_qType=QuantType.QInt8, activation_qType=QuantType.QUInt8, tensors_range=ranges,
            nodes_to_quantize=[node.name for node in nodes if node.name not in float_nodes], nodes_to_exclude=[],
            op_types_to_quantize=list(OPERATORS), extra_options={},
        )  # fmt: skip
        quantizer.quantize_model()
        return fit_to_kernels(quantizer.model.model.SerializeToString(deterministic=True))

    choices = _compute_ranges(model, calibration, percentiles)
    errors = [error(quantize_except([], ranges)) for ranges in choices]
    ranges = choices[int(np.argmin(errors))]
    if min(errors) <= limit:
        return quantize_except([], ranges)
    errors_without = {name: error(quantize_except([name], ranges)) for name in convolutions}
    most_harmful = sorted(errors_without, key=lambda name: errors_without[name])
    for count in range(1, int(len(convolutions) * MAX_FLOAT_SHARE) + 1):
        quantized = quantize_except(most_harmful[:count], ranges)
        if error(quantized) <= limit:
            return quantized
    return None


def onnx_denoiser(graph: bytes) -> Callable[[Image], Image]:
    """A function uint8 [H,W,C] -> uint8 [H,W,C] for any size, on the CPU; edges are repeated up to the stride."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def denoise(image: Image) -> Image:
        height, width = image.shape[:2]
        padded = np.pad(image, ((0, -height % STRIDE), (0, -width % STRIDE), (0, 0)), mode="edge")
        (output,) = session.run(None, {"image": padded[None]})
        return np.asarray(output[0, :height, :width], np.uint8)

    return denoise


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: Sequence[Image]) -> None:
        self.images: Iterator[Image] = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        image = next(self.images, None)
        return None if image is None else {"image": image[None]}


def _preprocess(graph: bytes) -> onnx.ModelProto:
    """The model with its shapes inferred, as onnxruntime's quantiser needs it."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.onnx", Path(folder) / "target.onnx"
        source.write_bytes(graph)
        quant_pre_process(str(source), str(target), skip_optimization=True, skip_symbolic_shape=True)
        return onnx.load(str(target))


def _between_convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that may be quantised: from the first convolution to the last, and the pixel shuffles behind it."""
    nodes = list(model.graph.node)
    first, *_, last = (i for i, node in enumerate(nodes) if node.op_type == "Conv")
    while nodes[last + 1].op_type == "DepthToSpace":
        last += 1
    return [node for node in nodes[first : last + 1] if node.op_type in OPERATORS]


def _compute_ranges(model: onnx.ModelProto, images: Sequence[Image], percentiles: Sequence[float]) -> list[object]:
    """The ranges of all tensors, once for each percentile."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):  # it prints histograms
        file = Path(folder) / "model.onnx"
        onnx.save(model, str(file))
        calibrator = create_calibrator(
            file, list(OPERATORS), augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.Percentile, extra_options={"num_bins": 2048},
        )  # fmt: skip
        for image in images:  # one by one: it keeps all tensors of the images that it gets at once
            calibrator.collect_data(_Reader([image]))
        ranges = []
        for percentile in percentiles:
            calibrator.collector.percentile = percentile
            ranges.append(calibrator.compute_data())
        return ranges


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    duplicate = onnx.ModelProto()
    duplicate.CopyFrom(model)
    return duplicate
