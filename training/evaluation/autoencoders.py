"""How good is it? Held-out error beside its baselines, through the ports that the package will have.

autoencoder, dataset -> metrics {name: value and baselines}, error of each test sample

Everything that has a choice (the filters' strengths) is chosen on validation; test is only reported. Errors are mean
squared errors per sample (pixels in 0..1; vectors in their own units), averaged over samples; PSNR is 10 log10(1/MSE)
of each image, averaged over images.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from service.model.manifest import Metric
from service.model.runtime import reconstruction_error
from training.architectures.autoencoder import Autoencoder
from training.data.datasets import Dataset
from training.engine.corruption import Corruptor
from training.evaluation import pca
from training.evaluation.pca import Components
from training.recipe import Corruption, CorruptionKind

Array = NDArray[Any]
Errors = NDArray[np.float64]
Filter = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""uint8 [H,W,C] -> uint8 [H,W,C]"""

BATCH = 512
GAUSSIAN_LEVELS = (0.1, 0.25, 0.5)
OTHER_LEVELS = (0.1, 0.25)


def encode(autoencoder: Autoencoder, samples: Array) -> NDArray[np.float32]:
    """Latents float32 [N,...] of samples as stored."""
    return _in_batches(autoencoder, autoencoder.encode, samples)


def reconstruct(autoencoder: Autoencoder, samples: Array) -> Array:
    """decode(encode(x)) of samples as stored: uint8 [N,H,W,C] or float32 [N,D]."""
    return _in_batches(autoencoder, lambda x: autoencoder.decode(autoencoder.encode(x)), samples)


def fill(corruptions: Sequence[Corruption], autoencoder: Autoencoder, data: Dataset) -> torch.Tensor | None:
    """The mean of the scaled train split at each place, float32 [C,H,W] or [D], if a corruption fills with it."""
    if all(corruption.fill == "zero" for corruption in corruptions):
        return None
    device = next(autoencoder.parameters()).device
    with torch.no_grad():
        parts = torch.split(torch.from_numpy(data.train).to(device), BATCH)
        total = torch.stack([autoencoder.scaling(part).sum(0, dtype=torch.float64) for part in parts]).sum(0)
    return (total / len(data.train)).float()


def latent_size(autoencoder: Autoencoder, data: Dataset) -> int:
    """How many numbers the latent holds."""
    return int(encode(autoencoder, data.test[:1]).size)


def _in_batches(autoencoder: Autoencoder, function: Callable[[torch.Tensor], torch.Tensor], samples: Array) -> Array:
    device = next(autoencoder.parameters()).device
    autoencoder.eval()
    with torch.inference_mode():
        parts = [
            function(torch.from_numpy(samples[i : i + BATCH]).to(device)).cpu().numpy()
            for i in range(0, len(samples), BATCH)
        ]
    return np.concatenate(parts)


def psnr(errors: Errors) -> float:
    """Mean over samples of 10 log10(1 / MSE), dB; an exact sample counts as 100 dB."""
    return float(np.mean(10 * np.log10(1 / np.maximum(errors, 1e-10))))


def measure(
    autoencoder: Autoencoder, data: Dataset, corruptions: tuple[Corruption, ...], components: Components | None
) -> Iterator[tuple[str, Metric]]:
    """Yields (name, metric) on the test split: reconstruction, and denoising where the recipe has corruptions.

    Args:
        components: as many of the train split as the latent has numbers; None where PCA says nothing.
    """
    output = reconstruct(autoencoder, data.test)
    yield from _reconstruction(reconstruction_error(data.test, output), data, components)
    for corruption in kinds(corruptions):
        for level in GAUSSIAN_LEVELS if corruption.kind == "gaussian" else OTHER_LEVELS:
            yield from _denoising(autoencoder, data, corruption, level)


# --- reconstruction --------------------------------------------------------------------------------------


def _reconstruction(errors: Errors, data: Dataset, components: Components | None) -> Iterator[tuple[str, Metric]]:
    test = pca.scaled(data.test)
    baselines = {
        "identity": np.zeros(len(test)),
        "mean of train": np.mean((test - pca.scaled(data.train).mean(0)) ** 2, 1),
    }
    if components is not None:
        count = len(components.axes)
        output = components.reconstruct(data.test, count)
        baselines[f"PCA {count}"] = np.mean((test - output) ** 2, 1)
        if data.modality == "image":  # fairer to PCA: pixels cannot leave 0..1
            baselines[f"PCA {count}, clamped"] = np.mean((test - output.clip(0, 1)) ** 2, 1)
    unit = "mean squared error, pixels in 0..1" if data.modality == "image" else "mean squared error"
    yield (
        "reconstruction_mse",
        _metric(float(errors.mean()), unit, {n: float(e.mean()) for n, e in baselines.items()}),
    )
    if data.modality == "image":
        finite = {name: psnr(e) for name, e in baselines.items() if name != "identity"}
        yield "reconstruction_psnr", _metric(psnr(errors), "dB", finite)


# --- denoising -------------------------------------------------------------------------------------------


def kinds(corruptions: Sequence[Corruption]) -> list[Corruption]:
    """The first of each kind."""
    first: dict[CorruptionKind, Corruption] = {}
    for corruption in corruptions:
        first.setdefault(corruption.kind, corruption)
    return list(first.values())


def corrupted(data: Dataset, samples: Array, kind: Corruption, level: float, autoencoder: Autoencoder) -> Array:
    """`samples` with noise of one exact level, as a file would hold it; the same noise each time."""
    fixed = kind.model_copy(update={"level": (level, level)})
    corrupt = Corruptor([fixed], pixels=data.modality == "image", mean=fill([kind], autoencoder, data))
    generator = torch.Generator().manual_seed(round(level * 1000))
    scaling = autoencoder.scaling.cpu()
    with torch.inference_mode():
        noisy = corrupt(scaling(torch.from_numpy(samples)), generator)
        return scaling.inverse(noisy).numpy()


def _denoising(autoencoder: Autoencoder, data: Dataset, kind: Corruption, level: float) -> Iterator[tuple[str, Metric]]:
    noisy = corrupted(data, data.test, kind, level, autoencoder)
    errors = {"noisy": reconstruction_error(data.test, noisy)}
    if data.modality == "image":
        validation = corrupted(data, data.validation, kind, level, autoencoder)
        for name, candidates in (("median filter", MEDIANS), ("non-local means", NON_LOCAL_MEANS)):
            best = min(candidates, key=lambda f: reconstruction_error(data.validation, _filtered(f, validation)).mean())
            errors[name] = reconstruction_error(data.test, _filtered(best, noisy))
    ours = reconstruction_error(data.test, reconstruct(autoencoder, noisy))
    name = f"denoising_{{}}_{kind.kind}_{level:g}"
    unit = "mean squared error, pixels in 0..1" if data.modality == "image" else "mean squared error"
    yield name.format("mse"), _metric(float(ours.mean()), unit, {n: float(e.mean()) for n, e in errors.items()})
    if data.modality == "image":
        yield name.format("psnr"), _metric(psnr(ours), "dB", {n: psnr(e) for n, e in errors.items()})


def _median(kernel: int) -> Filter:
    return lambda image: np.asarray(cv2.medianBlur(image, kernel), np.uint8).reshape(image.shape)


def _non_local_means(strength: int, window: int) -> Filter:
    def apply(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if image.shape[2] == 1:
            plain = cv2.fastNlMeansDenoising(image, None, strength, window, 21)
        else:
            plain = cv2.fastNlMeansDenoisingColored(image, None, strength, strength, window, 21)
        return np.asarray(plain, np.uint8).reshape(image.shape)

    return apply


MEDIANS = [_median(kernel) for kernel in (3, 5)]
NON_LOCAL_MEANS = [
    _non_local_means(strength, window)
    for window in (3, 5, 7)
    for strength in (10, 20, 30, 45, 60, 80, 100, 130, 160, 200)
]


def _filtered(apply: Filter, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([apply(image) for image in images])


def _metric(value: float, unit: str, baselines: dict[str, float]) -> Metric:
    return Metric(value=value, unit=unit, split="test", baselines=baselines)
