"""Small packages of untrained autoencoders, with the facts that a manifest needs."""

import datetime

import numpy as np
import torch

from service.model.manifest import Data, Manifest, Metric, Role, Training
from tests.drawings import drawings, waves
from training.architectures.autoencoder import Autoencoder, build
from training.data.datasets import Dataset
from training.evaluation.autoencoders import reconstruction_errors
from training.export.graphs import export_autoencoder
from training.export.package import build_manifest
from training.recipe import Convolutional, Dense

IMAGES = drawings(100)[..., None]
VECTORS = waves(100)
TRAINING = Training(
    recipe="small", recipe_sha256="0" * 64, seed=0, date=datetime.date(2026, 1, 1).isoformat(), code_revision="test",
    data=Data(source="drawn", licence="ours", train=60, validation=20, test=20), versions={},
)  # fmt: skip
METRICS = {"reconstruction_mse": Metric(value=0.1, unit="mse", split="test")}


def split_dataset(samples: np.ndarray) -> Dataset:
    """60 training, 20 validation, 20 test samples."""
    return Dataset("drawn", "ours", samples[:60], samples[60:80], samples[80:])


def describe(autoencoder: Autoencoder, graphs: dict[Role, bytes], samples: np.ndarray) -> Manifest:
    errors = reconstruction_errors(autoencoder, split_dataset(samples))
    return build_manifest("small", 1, "stacked", "Small.", graphs, TRAINING, METRICS, reconstruction_errors=errors)


def export(architecture: Dense | Convolutional, samples: np.ndarray) -> tuple[Autoencoder, dict[Role, bytes], Manifest]:
    """An untrained autoencoder, its graphs, and their manifest."""
    torch.manual_seed(0)
    autoencoder = build(architecture, samples[:60]).eval()
    graphs = export_autoencoder(autoencoder, samples)
    return autoencoder, graphs, describe(autoencoder, graphs, samples)
