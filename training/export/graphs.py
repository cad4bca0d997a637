"""ONNX graphs of trained modules, with the port names of the package format and nothing of where they were made.

module in eval mode -> torch.onnx.export (dynamo) -> metadata removed -> [large matrices in float16] -> ONNX bytes
"""

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from service.model.manifest import Role
from training.architectures.autoencoder import Autoencoder, PixelScaling
from training.architectures.classifier import Classifier
from training.architectures.unet import Denoiser, with_plain_convolutions
from training.export import float16
from training.recipe import Weights

OPSET = 20


class _Encode(nn.Module):
    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, sample: Tensor) -> Tensor:
        return self.autoencoder.encode(sample)


class _Decode(_Encode):
    def forward(self, sample: Tensor) -> Tensor:
        return self.autoencoder.decode(sample)


class _Denoise(nn.Module):
    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, image: Tensor) -> Tensor:
        return self.denoiser.denoise(image)


class _Classify(nn.Module):
    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, sample: Tensor) -> Tensor:
        return self.classifier.probabilities(sample)


def export_autoencoder(
    autoencoder: Autoencoder, samples: np.ndarray, weights: Weights = "float32"
) -> dict[Role, bytes]:
    """ONNX bytes of encoder and decoder; N is dynamic. Moves the autoencoder to the CPU, into eval mode.

    Args:
        samples: two or more, as stored: uint8 [N,H,W,C] or float64 [N,D].
        weights: "float16" is for an autoencoder that float16.round_to_float16 has changed.
    """
    autoencoder = autoencoder.cpu().eval()
    port = input_port(autoencoder)
    sample = _example(samples)
    with torch.inference_mode():
        latent = autoencoder.encode(sample)
    graphs: dict[Role, bytes] = {
        "encoder": _export(_Encode(autoencoder), sample, port, "latent"),
        "decoder": _export(_Decode(autoencoder), latent, "latent", port),
    }
    return {role: float16.store_as_float16(graph) for role, graph in graphs.items()} if weights == "float16" else graphs


def export_denoiser(denoiser: Denoiser) -> bytes:
    """ONNX bytes of `image` [N,H,W,C] -> `denoised`; N is dynamic, H and W are multiples of the stride.

    Both are uint8, or uint16 of a denoiser of 16 bits.
    """
    channels, stride = denoiser.recipe.channels, denoiser.stride
    example = torch.zeros(2, 4 * stride, 6 * stride, channels, dtype=denoiser.scaling.dtype)
    axes = {0: torch.export.Dim("N"), 1: stride * torch.export.Dim("h"), 2: stride * torch.export.Dim("w")}
    return _export(_Denoise(with_plain_convolutions(denoiser.cpu()).eval()), example, "image", "denoised", axes)


def export_classifier(classifier: Classifier, samples: np.ndarray) -> bytes:
    """ONNX bytes of `image` or `vector` -> `probabilities` float32 [N,classes]; N is dynamic. Moves it to the CPU.

    Args:
        samples: two or more, as stored: uint8 [N,H,W,C] or float64 [N,D].
    """
    return _export(_Classify(classifier.cpu()), _example(samples), input_port(classifier), "probabilities")


def input_port(module: Autoencoder | Classifier) -> str:
    """The name of the graph's input: "image" or "vector"."""
    return "image" if isinstance(module.scaling, PixelScaling) else "vector"


def _example(samples: np.ndarray) -> Tensor:
    """Two samples as the port takes them: uint8 images, float64 vectors."""
    return torch.from_numpy(samples[:2] if samples.dtype == np.uint8 else samples[:2].astype(np.float64))


def _export(
    module: nn.Module, example: Tensor, source: str, target: str, axes: Mapping[int, Any] | None = None
) -> bytes:
    """ONNX bytes of `module`, one input `source`, one output `target`; `axes`: dynamic axes, by default N alone."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations; the check of parity is what counts
        program = torch.onnx.export(
            module.eval(),
            (example.clone(),),
            dynamo=True,
            dynamic_shapes=(dict(axes) if axes else {0: torch.export.Dim("N")},),
            input_names=[source],
            output_names=[target],
            opset_version=OPSET,
            optimize=True,
            verbose=False,
        )
    if program is None:
        raise AssertionError("This is a bug: the exporter returned nothing")
    model = program.model_proto
    _remove_metadata(model)
    return model.SerializeToString(deterministic=True)


def _remove_metadata(model: onnx.ModelProto) -> None:
    """Removes the stack traces and file paths that the exporter writes."""
    del model.metadata_props[:]
    model.doc_string = ""
    graph = model.graph
    elements: list[Any] = [graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for element in elements:
        del element.metadata_props[:]
        element.doc_string = ""
