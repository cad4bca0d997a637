"""The same denoiser in eight-bit whole numbers, where it loses too little to be seen.

graph -> ranges of its tensors, from noisy training images -> [convolutions] quantised -> error on validation
  -> those that cost most stay in floats, until the loss is allowed -> graph, or none

Convolutions only, weights by output channel (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018; Krishnamoorthi, arXiv:1806.08342, section 3): what is added around them
stays in floats, which keeps the image itself at full precision. Ranges are the 0.001 % and 99.999 % quantiles: extremes
are rare, and cost all others resolution.
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

Image = NDArray[np.uint8]  # [H,W,C]

PERCENTILE = 99.999
STRIDE = 64  # a multiple of every stride
MOST_IN_FLOATS = 0.5  # share of the convolutions; beyond it the graph is hardly faster


def quantized(
    graph: bytes, calibration: Sequence[Image], error: Callable[[bytes], float], allowed: float
) -> bytes | None:
    """`graph` with as many convolutions in eight bits as `allowed` lets; None if too few are left.

    Args:
        graph: ONNX bytes of a denoiser, `image` uint8 [N,H,W,C] -> `denoised`.
        calibration: noisy images of the training data, which give the tensors' ranges.
        error: of a graph on validation images, in any unit that grows as it gets worse.
        allowed: the largest error.
    """
    prepared = _prepared(graph)
    ranges = _ranges(prepared, calibration)
    convolutions = [node.name for node in prepared.graph.node if node.op_type == "Conv"]

    def made(in_floats: Sequence[str]) -> bytes:
        quantizer = QDQQuantizer(
            _copy(prepared), per_channel=True, reduce_range=False,
            weight_qType=QuantType.QInt8, activation_qType=QuantType.QUInt8, tensors_range=ranges,
            nodes_to_quantize=[], nodes_to_exclude=list(in_floats), op_types_to_quantize=["Conv"],
            extra_options={},
        )  # fmt: skip
        quantizer.quantize_model()
        finished: bytes = quantizer.model.model.SerializeToString(deterministic=True)
        return finished

    best = made([])
    if error(best) <= allowed:
        return best
    costs = {name: error(made([name])) for name in convolutions}  # the lower, the more is won by leaving it in floats
    costly = sorted(costs, key=lambda name: costs[name])
    for count in range(1, int(len(convolutions) * MOST_IN_FLOATS) + 1):
        best = made(costly[:count])
        if error(best) <= allowed:
            return best
    return None


def served(graph: bytes) -> Callable[[Image], Image]:
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


def _ranges(model: onnx.ModelProto, images: Sequence[Image]) -> object:
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
    ):  # it talks of its histograms
        file = Path(folder) / "model.onnx"
        onnx.save(model, str(file))
        calibrator = create_calibrator(
            file, ["Conv"], augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.Percentile, extra_options={"percentile": PERCENTILE, "num_bins": 2048},
        )  # fmt: skip
        calibrator.collect_data(_Reader(images))
        return calibrator.compute_data()


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied
