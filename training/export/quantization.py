"""The same denoiser in eight-bit whole numbers, where it loses too little to be seen.

graph -> rewritten for whole numbers -> ranges of its tensors, from noisy training images -> quantised
  -> error on validation -> only convolutions quantised, and those that cost most not,
  until the loss is allowed -> graph, or none

All between the first convolution and the last, weights by output channel (Jacob et al., "Quantization and Training of
Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018; Krishnamoorthi, arXiv:1806.08342, section
3); what is found is added to the image in floats, which keeps the image at full precision. Ranges are quantiles:
extremes are rare, and cost all others resolution. Which quantile, validation tells.
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

from training.export.int8_graph import for_whole_numbers

Image = NDArray[np.uint8]  # [H,W,C]

KINDS = ("Conv", "Relu", "Add", "MaxPool", "DepthToSpace", "Transpose", "Reshape")
STRIDE = 64  # a multiple of every stride
MOST_IN_FLOATS = 0.5  # share of the convolutions; beyond it the graph is hardly faster


def quantize(
    graph: bytes,
    calibration: Sequence[Image],
    error: Callable[[bytes], float],
    allowed: float,
    percentiles: Sequence[float] = (99.99, 99.999),
) -> bytes | None:
    """`graph` with as many convolutions in eight bits as `allowed` lets; None if too few are left.

    Args:
        graph: ONNX bytes of a denoiser, `image` uint8 [N,H,W,C] -> `denoised`.
        calibration: noisy images of the training data, which give the tensors' ranges.
        error: of a graph on validation images, in any unit that grows as it gets worse.
        allowed: the largest error.
        percentiles: of a tensor's values, below which its range ends, and as much above its start; the best is taken.
    """
    prepared = _prepared(for_whole_numbers(graph))
    inside = _between_convolutions(prepared)
    convolutions = [node.name for node in inside if node.op_type == "Conv"]

    def made(ranges: object, in_floats: Sequence[str]) -> bytes:
        eight_bits = inside if not in_floats else [node for node in inside if node.op_type == "Conv"]
        quantizer = QDQQuantizer(
            _copy(prepared), per_channel=True, reduce_range=False,
            weight_qType=QuantType.QInt8, activation_qType=QuantType.QUInt8, tensors_range=ranges,
            nodes_to_quantize=[node.name for node in eight_bits if node.name not in in_floats], nodes_to_exclude=[],
            op_types_to_quantize=list(KINDS), extra_options={},
        )  # fmt: skip
        quantizer.quantize_model()
        finished: bytes = quantizer.model.model.SerializeToString(deterministic=True)
        return finished

    choices = _ranges(prepared, calibration, percentiles)
    errors = [error(made(ranges, [])) for ranges in choices]
    ranges = choices[int(np.argmin(errors))]
    if min(errors) <= allowed:
        return made(ranges, [])
    costs = {name: error(made(ranges, [name])) for name in convolutions}  # lower: more is won by leaving it in floats
    costly = sorted(costs, key=lambda name: costs[name])
    for count in range(1, int(len(convolutions) * MOST_IN_FLOATS) + 1):
        best = made(ranges, costly[:count])
        if error(best) <= allowed:
            return best
    return None


def onnx_denoiser(graph: bytes) -> Callable[[Image], Image]:
    """uint8 [H,W,C] -> uint8 [H,W,C] of any size, on the CPU: padded to the stride with its edge, run, cropped."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def denoise(image: Image) -> Image:
        height, width = image.shape[:2]
        filled = np.pad(image, ((0, -height % STRIDE), (0, -width % STRIDE), (0, 0)), mode="edge")
        (output,) = session.run(None, {"image": filled[None]})
        return np.asarray(output[0, :height, :width], np.uint8)

    return denoise


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: Sequence[Image]) -> None:
        self.images: Iterator[Image] = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        image = next(self.images, None)
        return None if image is None else {"image": image[None]}


def _prepared(graph: bytes) -> onnx.ModelProto:
    """Shapes inferred, as the quantiser wants it."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        before.write_bytes(graph)
        quant_pre_process(str(before), str(after), skip_optimization=True, skip_symbolic_shape=True)
        return onnx.load(str(after))


def _between_convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """What may be quantised: from the first convolution to the last, and the pixel shuffles that follow it."""
    nodes = list(model.graph.node)
    first, *_, last = (i for i, node in enumerate(nodes) if node.op_type == "Conv")
    while nodes[last + 1].op_type == "DepthToSpace":
        last += 1
    return [node for node in nodes[first : last + 1] if node.op_type in KINDS]


def _ranges(model: onnx.ModelProto, images: Sequence[Image], percentiles: Sequence[float]) -> list[object]:
    """Of every tensor, one choice for each percentile."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
    ):  # it talks of its histograms
        file = Path(folder) / "model.onnx"
        onnx.save(model, str(file))
        calibrator = create_calibrator(
            file, list(KINDS), augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.Percentile, extra_options={"num_bins": 2048},
        )  # fmt: skip
        for image in images:  # it keeps all tensors of what it is given at once
            calibrator.collect_data(_Reader([image]))
        choices = []
        for percentile in percentiles:
            calibrator.collector.percentile = percentile
            choices.append(calibrator.compute_data())
        return choices


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied
