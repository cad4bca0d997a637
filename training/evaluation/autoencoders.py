"""Evaluation of an autoencoder: held-out error beside its baselines, through the ports that the package will have.

autoencoder, dataset -> metrics {name: value and baselines}, error of each test sample

The filters' strengths are chosen on validation; test is only reported. Errors are mean squared errors per sample
(pixels in 0..1; vectors in standard deviations of the train split), averaged over samples.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from service.model.manifest import Metric
from service.model.measures.standard_units import StandardUnits
from service.model.runtime import reconstruction_error
from training.architectures.autoencoder import Autoencoder
from training.architectures.sparse import Sparse
from training.data.datasets import Dataset
from training.engine.step_inputs.corruption import CORRUPTIONS, Corruptor
from training.evaluation.baselines import filters, pca
from training.evaluation.baselines.pca import Components
from training.evaluation.metrics import make_metric, psnr
from training.recipe import Corruption, CorruptionKind

Array = NDArray[Any]
Errors = NDArray[np.float64]

BATCH = 512
FILTERS = {"median filter": filters.MEDIANS, "non-local means": filters.NON_LOCAL_MEANS}


def encode(autoencoder: Autoencoder, samples: Array) -> NDArray[np.float32]:
    """Latents float32 [N,...] of samples as stored."""
    return _run_batches(autoencoder, autoencoder.encode, samples)


def decode(autoencoder: Autoencoder, latents: NDArray[np.float32]) -> Array:
    """Samples as stored, uint8 [N,H,W,C] or float64 [N,D], of latents float32 [N,...]."""
    return _run_batches(autoencoder, autoencoder.decode, latents)


def reconstruct(autoencoder: Autoencoder, samples: Array) -> Array:
    """decode(encode(x)) of samples as stored: uint8 [N,H,W,C] or float64 [N,D]."""
    return _run_batches(autoencoder, lambda x: autoencoder.decode(autoencoder.encode(x)), samples)


def reconstruction_errors(autoencoder: Autoencoder, data: Dataset) -> Errors:
    """Mean squared error of each test sample, float64 [N]."""
    return reconstruction_error(data.test, reconstruct(autoencoder, data.test), autoencoder.units)


def mean_sample(corruptions: Sequence[Corruption], autoencoder: Autoencoder, data: Dataset) -> torch.Tensor | None:
    """The mean of the scaled train split at each place, float32 [C,H,W] or [D]; None if no corruption fills with it."""
    if all(corruption.fill == "zero" for corruption in corruptions):
        return None
    device = next(autoencoder.parameters()).device
    with torch.no_grad():
        batches = torch.split(torch.from_numpy(data.train).to(device), BATCH)
        total = torch.stack([autoencoder.scaling(batch).sum(0, dtype=torch.float64) for batch in batches]).sum(0)
    return (total / len(data.train)).float()


def latent_size(autoencoder: Autoencoder, data: Dataset) -> int:
    """How many numbers of the latent describe a sample: all, or of a sparse one those that are not 0."""
    if isinstance(autoencoder, Sparse):
        return autoencoder.count
    return int(encode(autoencoder, data.test[:1]).size)


def _run_batches(autoencoder: Autoencoder, function: Callable[[torch.Tensor], torch.Tensor], samples: Array) -> Array:
    """`function` of samples as stored, BATCH at a time, on the autoencoder's device."""
    device = next(autoencoder.parameters()).device
    autoencoder.eval()
    with torch.inference_mode():
        outputs = [
            function(torch.from_numpy(samples[i : i + BATCH]).to(device)).cpu().numpy()
            for i in range(0, len(samples), BATCH)
        ]
    return np.concatenate(outputs)


def measure(
    autoencoder: Autoencoder, data: Dataset, corruptions: tuple[Corruption, ...], components: Components | None
) -> Iterator[tuple[str, Metric]]:
    """Yields (name, metric) on the test split: reconstruction, and denoising where the recipe has corruptions.

    Args:
        components: as many of the train split as the latent has numbers; None where PCA has no meaning.
    """
    yield from measure_reconstruction(reconstruction_errors(autoencoder, data), data, components, autoencoder.units)
    for corruption in first_of_each_kind(corruptions):
        for level in CORRUPTIONS[corruption.kind].evaluation_levels:
            yield from _measure_denoising(autoencoder, data, corruption, level)


def _mse_unit(data: Dataset) -> str:
    return (
        "mean squared error, pixels in 0..1"
        if data.modality == "image"
        else "mean squared error, in standard deviations"
    )


# --- reconstruction --------------------------------------------------------------------------------------


def measure_reconstruction(
    errors: Errors, data: Dataset, components: Components | None, units: StandardUnits | None
) -> Iterator[tuple[str, Metric]]:
    """Yields (name, metric) of the test samples' errors, beside the mean sample and PCA."""
    test = pca.scale_samples(data.test, units)
    baselines = {
        "identity": np.zeros(len(test)),
        "mean of train": np.mean((test - pca.scale_samples(data.train, units).mean(0)) ** 2, 1),
    }
    if components is not None:
        count = len(components.axes)
        output = components.reconstruct(data.test, count)
        baselines[f"PCA {count}"] = np.mean((test - output) ** 2, 1)
        if data.modality == "image":  # fairer to PCA: pixels cannot leave 0..1
            baselines[f"PCA {count}, clamped"] = np.mean((test - output.clip(0, 1)) ** 2, 1)
    means = {name: float(values.mean()) for name, values in baselines.items()}
    yield "reconstruction_mse", make_metric(float(errors.mean()), _mse_unit(data), means)
    if data.modality == "image":
        decibels = {name: psnr(values) for name, values in baselines.items() if name != "identity"}
        yield "reconstruction_psnr", make_metric(psnr(errors), "dB", decibels)


# --- denoising -------------------------------------------------------------------------------------------


def first_of_each_kind(corruptions: Sequence[Corruption]) -> list[Corruption]:
    """The first corruption of each kind, in their order."""
    by_kind: dict[CorruptionKind, Corruption] = {}
    for corruption in corruptions:
        by_kind.setdefault(corruption.kind, corruption)
    return list(by_kind.values())


def corrupt_samples(
    data: Dataset, samples: Array, corruption: Corruption, level: float, autoencoder: Autoencoder
) -> Array:
    """`samples` as stored with noise of one exact level, as a file would hold it; the same noise each time."""
    exact = corruption.model_copy(update={"level": (level, level)})
    mean = mean_sample([corruption], autoencoder, data)
    corrupt = Corruptor([exact], pixels=data.modality == "image", mean=mean)
    generator = torch.Generator().manual_seed(round(level * 1000))
    scaling = autoencoder.scaling.cpu()
    with torch.inference_mode():
        noisy = corrupt(scaling(torch.from_numpy(samples)), generator)
        return scaling.inverse(noisy).numpy()


def _measure_denoising(
    autoencoder: Autoencoder, data: Dataset, corruption: Corruption, level: float
) -> Iterator[tuple[str, Metric]]:
    noisy = corrupt_samples(data, data.test, corruption, level, autoencoder)
    baselines = {"noisy": reconstruction_error(data.test, noisy, autoencoder.units)}
    if data.modality == "image":
        noisy_validation = corrupt_samples(data, data.validation, corruption, level, autoencoder)
        pairs = list(zip(noisy_validation, data.validation, strict=True))
        for name, candidates in FILTERS.items():
            apply = filters.choose_filter(candidates, pairs)
            baselines[name] = reconstruction_error(data.test, np.stack([apply(image) for image in noisy]))
    errors = reconstruction_error(data.test, reconstruct(autoencoder, noisy), autoencoder.units)
    suffix = f"{corruption.kind}_{level:g}"
    means = {name: float(values.mean()) for name, values in baselines.items()}
    yield f"denoising_mse_{suffix}", make_metric(float(errors.mean()), _mse_unit(data), means)
    if data.modality == "image":
        decibels = {name: psnr(values) for name, values in baselines.items()}
        yield f"denoising_psnr_{suffix}", make_metric(psnr(errors), "dB", decibels)
