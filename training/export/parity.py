"""Parity: do the exported graphs answer as the trained module does? If not, no package is written.

graphs -> opened by service.model.runtime, as the service opens them -> outputs on the test split -> torch's outputs

Allowed are one grey level for pixels, 0.1 % of the largest magnitude for other numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnxruntime

from service.model import package
from service.model.manifest import Manifest, Role
from service.model.runtime import Model
from training.architectures.autoencoder import Autoencoder
from training.architectures.classifier import Classifier
from training.architectures.unet import Denoiser
from training.data.datasets import Dataset
from training.data.patches import RestorationData
from training.errors import ParityError
from training.evaluation import denoisers
from training.evaluation.autoencoders import BATCH, encode, reconstruct
from training.export.graphs import input_port

GREY_LEVELS = 1  # largest difference allowed between torch and onnxruntime, uint8
LEVELS_OF_16_BITS = 32  # the same of uint16: an eighth of a grey level
RELATIVE = 1e-3  # largest difference allowed of floats, as a share of their largest magnitude


@dataclass(frozen=True)
class Parity:
    """Largest differences between torch and onnxruntime over the whole test split."""

    latent: float
    output: float


def verify_autoencoder(
    autoencoder: Autoencoder, data: Dataset, manifest: Manifest, graphs: Mapping[Role, bytes]
) -> tuple[Model, Parity]:
    """The opened model, and its differences from torch on the whole test split.

    Raises:
        ParityError: reconstructions differ by more than one grey level (vectors: 0.1 % of their largest deviation).
        PackageError: the graphs and the manifest are no valid package.
    """
    model = Model(package.verify(manifest, graphs, label=manifest.key), "cpu")
    latent_difference = float(np.abs(model.encode(data.test) - encode(autoencoder, data.test)).max())
    expected = reconstruct(autoencoder, data.test)
    output = model.reconstruct(data.test).output
    units = autoencoder.units
    if units is not None:
        output, expected = units.standardize(output), units.standardize(expected)
    difference = float(np.abs(output.astype(np.float64) - expected.astype(np.float64)).max())
    limit = GREY_LEVELS if data.modality == "image" else RELATIVE * float(np.abs(expected).max())
    if not difference <= limit:
        raise ParityError(
            f"onnxruntime and torch differ by {difference:.3g} on the test split, at most {limit:.3g} is allowed; "
            f"no package was written"
        )
    return model, Parity(latent_difference, difference)


def verify_denoiser(denoiser: Denoiser, data: RestorationData, manifest: Manifest, graphs: Mapping[Role, bytes]) -> int:
    """The largest difference from torch on all test images, in levels of the graph's depth.

    Raises:
        ParityError: outputs differ by more than one grey level, of 16 bits by more than LEVELS_OF_16_BITS.
        PackageError: the graphs and the manifest are no valid package.
    """
    limit = LEVELS_OF_16_BITS if denoiser.bits == 16 else GREY_LEVELS
    label = manifest.key
    model = Model(package.verify(manifest, graphs, label=label), "cpu", precision="fp32")
    difference = 0
    for image in data.test:
        noisy = denoisers.to_file(denoisers.noisy_versions(image)[0], image.clean.dtype)
        output = model.denoise(noisy[None])[0]
        expected = np.rint(denoisers.restore(denoiser, noisy) * denoiser.scaling.largest).astype(int)
        difference = max(difference, int(np.abs(output.astype(int) - expected).max()))
    if difference > limit:
        raise ParityError(
            f"onnxruntime and torch differ by {difference} grey levels on the test images, at most {limit} is "
            f"allowed; no package was written"
        )
    return difference


def verify_classifier(classifier: Classifier, graph: bytes, samples: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of a probability from torch.

    Args:
        samples: as stored, uint8 [N,H,W,C] or float64 [N,D].
        expected: float32 [N,classes], what torch answers to them.
    Raises:
        ParityError: probabilities differ by more than 0.1 % of 1.
    """
    port = input_port(classifier)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    outputs = [session.run(None, {port: samples[i : i + BATCH]})[0] for i in range(0, len(samples), BATCH)]
    difference = float(np.abs(np.concatenate(outputs) - expected).max())
    if not difference <= RELATIVE:
        raise ParityError(
            f"onnxruntime and torch differ by {difference:.3g} on the test split, at most {RELATIVE:.3g} is allowed; "
            f"no classifier was written"
        )
    return difference
