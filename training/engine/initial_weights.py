"""Initial weights: a denoiser starts from a package or a checkpoint in place of random weights.

models/NAME/VERSION/denoiser.onnx (initializers by name) | runs/NAME/checkpoint.pt ("best") -> state dict of the module

The exporter keeps the parameters' names (`denoiser.encoder.0.0.inner.weight`), and only reshapes matrices [m,n] into
kernels [m,c,h,w] with c h w = n.
"""

from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from service.model.errors import PackageError
from service.model.package import newest_directory, read
from training.engine import checkpoint
from training.errors import CheckpointError, TrainingError

PREFIX = "denoiser."


def load_initial_weights(module: nn.Module, source: Path) -> None:
    """Load weights into `module`.

    Args:
        module: of the architecture that `source` was trained with; or for RGB where `source` is for grey.
        source: a package's folder (models/NAME/VERSION, or models/NAME for its highest version), or a checkpoint file.
    Raises:
        TrainingError: nothing usable is there, or it is of another architecture; one sentence.
    """
    weights = read_checkpoint(source) if source.is_file() else read_package(source)
    expected = module.state_dict()
    fitted: dict[str, Tensor] = {}
    for name, value in expected.items():
        weight = weights.get(name)
        if weight is not None and weight.numel() * 3 == value.numel():
            weight = _spread_over_channels(name, weight, value.shape)
        if weight is None or weight.numel() != value.numel():
            shape = "none" if weight is None else list(weight.shape)
            raise TrainingError(
                f"{source} is of another architecture: {name} has shape {shape}, the recipe's has {list(value.shape)}"
            )
        fitted[name] = weight.reshape(value.shape).to(value)
    module.load_state_dict(fitted)


def _spread_over_channels(name: str, weight: Tensor, shape: torch.Size) -> Tensor | None:
    """Weights of a first or last layer for grey images -> for RGB: what the network did with grey it does with luma
    (ITU-R 601), and each channel gets the same correction. None: of any other layer."""
    if name == "first.weight":
        luma = torch.tensor([0.299, 0.587, 0.114])
        return (luma[None, :, None] * weight.reshape(shape[0], 1, -1)).reshape(shape)
    if name in ("last.weight", "last.bias"):
        return weight.reshape(1, -1).expand(3, -1).reshape(shape)
    return None


def read_checkpoint(path: Path) -> Mapping[str, Tensor]:
    """The best weights of a checkpoint of this package."""
    try:
        weights = checkpoint.read(path).get("best")
    except CheckpointError as error:
        raise TrainingError(f"{path} is damaged, or is not a checkpoint of a training run") from error
    if not isinstance(weights, Mapping) or not all(isinstance(weight, Tensor) for weight in weights.values()):
        raise TrainingError(f"{path} is not a checkpoint of a training run")
    return weights


def read_package(folder: Path) -> Mapping[str, Tensor]:
    """The float weights of a denoiser's package, by the parameters' names."""
    directory = newest_directory(folder) or folder
    try:
        graph = read(directory.absolute()).graphs.get("denoiser")
    except (PackageError, OSError) as error:
        raise TrainingError(f"{folder} is not a package to start from: {error}") from error
    if graph is None:
        raise TrainingError(f"{folder} has no graph of a denoiser; --from takes packages of denoisers of any size")
    initializers = onnx.load_model_from_string(graph).graph.initializer
    return {
        tensor.name.removeprefix(PREFIX): torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        for tensor in initializers
        if tensor.name.startswith(PREFIX)
    }
