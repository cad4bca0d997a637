"""From torch to a package: graphs -> stripped -> opened by service.model.runtime -> parity with torch -> written.

The last act of an export is to open the package exactly as the service will. A package that does not answer as torch
does, within one grey level on the whole test split, is not written.
"""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from service.model import golden, package
from service.model.kinds import KINDS
from service.model.manifest import QUANTILES, GraphFile, Kind, Manifest, Metric, Role, Training
from service.model.runtime import Model, reconstruction_error
from training.architectures.autoencoder import Autoencoder, PixelScaling
from training.architectures.classifier import Classifier
from training.architectures.unet import Denoiser, with_plain_convolutions
from training.data.datasets import Dataset
from training.errors import DiskError, ParityError
from training.evaluation.autoencoders import BATCH, encode, reconstruct
from training.export import float16
from training.recipe import Weights

OPSET = 20
GREY_LEVELS = 1  # largest difference allowed between torch and onnxruntime, uint8
RELATIVE = 1e-3  # the same for vectors, of their largest magnitude


class _Encode(nn.Module):
    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, sample: Tensor) -> Tensor:
        return self.autoencoder.encode(sample)


class _Decode(_Encode):
    def forward(self, sample: Tensor) -> Tensor:
        return self.autoencoder.decode(sample)


def graphs(autoencoder: Autoencoder, train: np.ndarray, weights: Weights = "float32") -> dict[Role, bytes]:
    """ONNX bytes of encoder and decoder: the contract's port names, dynamic N, no traces of where they were made.

    `weights` "float16" is for an autoencoder that float16.round_to_float16 has changed.
    """
    autoencoder = autoencoder.cpu().eval()
    port = "image" if isinstance(autoencoder.scaling, PixelScaling) else "vector"
    sample = torch.from_numpy(train[:2])
    with torch.inference_mode():
        latent = autoencoder.encode(sample)
    exported: dict[Role, bytes] = {
        "encoder": _export(_Encode(autoencoder), sample, port, "latent"),
        "decoder": _export(_Decode(autoencoder), latent, "latent", port),
    }
    return (
        {role: float16.store_as_float16(graph) for role, graph in exported.items()}
        if weights == "float16"
        else exported
    )


class _Denoise(nn.Module):
    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, image: Tensor) -> Tensor:
        return self.denoiser.denoise(image)


def denoiser(module: Denoiser) -> bytes:
    """ONNX bytes of `image` uint8 [N,H,W,C] -> `denoised`; N is dynamic, H and W are multiples of the stride."""
    channels, stride = module.recipe.channels, module.stride
    example = torch.zeros(2, 4 * stride, 6 * stride, channels, dtype=torch.uint8)
    axes = {0: torch.export.Dim("N"), 1: stride * torch.export.Dim("h"), 2: stride * torch.export.Dim("w")}
    return _export(_Denoise(with_plain_convolutions(module.cpu()).eval()), example, "image", "denoised", axes)


class _Classify(nn.Module):
    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, sample: Tensor) -> Tensor:
        return self.classifier.probabilities(sample)


def classifier(module: Classifier, samples: np.ndarray, expected: np.ndarray) -> tuple[bytes, float]:
    """ONNX bytes of `image` or `vector` -> `probabilities` float32 [N,classes], N dynamic; how far it is from torch.

    Args:
        samples, expected: as stored, and what torch answers to them.
    Raises:
        ParityError: onnxruntime answers otherwise, by more than 0.1 % of a probability of 1.
    """
    port = "image" if isinstance(module.scaling, PixelScaling) else "vector"
    graph = _export(_Classify(module.cpu()), torch.from_numpy(samples[:2]), port, "probabilities")
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    parts = [session.run(None, {port: samples[i : i + BATCH]})[0] for i in range(0, len(samples), BATCH)]
    difference = float(np.abs(np.concatenate(parts) - expected).max())
    if not difference <= RELATIVE:
        raise ParityError(
            f"onnxruntime and torch differ by {difference:.3g} on the test split, at most {RELATIVE:.3g} is allowed; "
            f"no classifier was written"
        )
    return graph, difference


def _export(
    module: nn.Module, example: Tensor, source: str, target: str, axes: Mapping[int, Any] | None = None
) -> bytes:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations; parity is what counts
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
    _strip(model)
    return model.SerializeToString(deterministic=True)


def _strip(model: onnx.ModelProto) -> None:
    """Removes stack traces and file paths that the exporter leaves in the metadata."""
    del model.metadata_props[:]
    model.doc_string = ""
    graph = model.graph
    described: list[Any] = [graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for item in described:
        del item.metadata_props[:]
        item.doc_string = ""


@dataclass(frozen=True)
class Parity:
    """Largest differences between torch and onnxruntime over the whole test split."""

    latent: float
    output: float


def open_checked(
    autoencoder: Autoencoder, data: Dataset, manifest: Manifest, onnx_graphs: Mapping[Role, bytes]
) -> tuple[Model, Parity]:
    """Open the graphs through service.model.runtime and compare with torch on the whole test split.

    Raises:
        ParityError: outputs differ by more than one grey level (vectors: 0.1 % of their largest magnitude).
    """
    model = Model(package.verify(manifest, onnx_graphs, label=f"{manifest.name}/{manifest.version}"), "cpu")
    latent = encode(autoencoder, data.test)
    latent_difference = float(np.abs(model.encode(data.test) - latent).max())
    expected = reconstruct(autoencoder, data.test)
    output = model.reconstruct(data.test).output
    difference = float(np.abs(output.astype(np.float64) - expected.astype(np.float64)).max())
    limit = GREY_LEVELS if data.modality == "image" else RELATIVE * float(np.abs(expected).max())
    if not difference <= limit:
        raise ParityError(
            f"onnxruntime and torch differ by {difference:.3g} on the test split, at most {limit:.3g} is allowed; "
            f"no package was written"
        )
    return model, Parity(latent_difference, difference)


def manifest(
    name: str,
    version: int,
    kind: Kind,
    description: str,
    onnx_graphs: Mapping[Role, bytes],
    training: Training,
    evaluation: Mapping[str, Metric],
    errors: np.ndarray,
    pca_error: tuple[tuple[int, float], ...] | None,
) -> Manifest:
    """The facts; `errors` float64 [N] are the held-out reconstruction errors, `pca_error` is pca.error_curve's."""
    quantiles = np.quantile(errors, np.linspace(0, 1, QUANTILES))
    return Manifest(
        name=name,
        version=version,
        kind=kind,
        description=description,
        operations=KINDS[kind].operations,
        opset=OPSET,
        graphs={role: GraphFile(file=f"{role}.onnx", sha256=package.sha256(g)) for role, g in onnx_graphs.items()},
        training=training,
        evaluation=dict(evaluation),
        reconstruction_error_quantiles=tuple(float(f"{q:.6g}") for q in quantiles),
        pca_error=pca_error,
    )


def denoiser_manifest(
    name: str,
    version: int,
    description: str,
    onnx_graphs: Mapping[Role, bytes],
    training: Training,
    evaluation: Mapping[str, Metric],
    halo: int,
) -> Manifest:
    """The facts of a denoiser of one graph, which images of any size may be cut into tiles for."""
    return Manifest(
        name=name,
        version=version,
        kind="denoising",
        description=description,
        operations=("denoise",),
        opset=OPSET,
        graphs={role: GraphFile(file=f"{role}.onnx", sha256=package.sha256(g)) for role, g in onnx_graphs.items()},
        training=training,
        evaluation=dict(evaluation),
        halo=halo,
    )


def held_out_errors(autoencoder: Autoencoder, data: Dataset) -> np.ndarray:
    """Reconstruction error of each test sample, float64 [N]."""
    return reconstruction_error(data.test, reconstruct(autoencoder, data.test))


def write(models: Path, facts: Manifest, onnx_graphs: Mapping[Role, bytes], files: Mapping[str, bytes]) -> Path:
    """models/<name>/<version>/ with its golden pair, whole or absent; DiskError if it cannot be written."""
    listed, data = golden.create(package.verify(facts, onnx_graphs, label=f"{facts.name}/{facts.version}"))
    facts = facts.model_copy(update={"golden": listed})
    try:
        return package.write(models, facts, onnx_graphs, {**files, listed.file: data})
    except OSError as error:
        raise DiskError(f"cannot write the package to {models}: {error.strerror or error}; nothing was left") from error
