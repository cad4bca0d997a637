"""Evaluation of a denoiser on whole images: its error beside its baselines, noisy image by noisy image.

images, denoiser -> restored float [H,W,C] -> mean squared errors -> metrics {name: value and baselines}

The filters' strengths are chosen on validation; test is only reported. RMSE is the root of the mean over images of each
image's mean squared error. Beside "this model", in torch, "int8" is its quantised graph, if it has one, on 8-bit files.

Where noise is added here, all test images are measured in grey as well. The noise is gaussian of 15, 25 and 50 of 255,
added in float and neither clipped nor rounded, as in the literature (Zhang et al., "Beyond a Gaussian Denoiser", IEEE
TIP 2017, section IV). "8 bits" is measured on the same image as a file holds it: clipped and rounded.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from service.model.manifest import Metric
from training.architectures.unet import Denoiser
from training.data.patches import EvaluationImage, RestorationData
from training.evaluation.baselines import filters
from training.evaluation.baselines.filters import Filter, is_grey
from training.evaluation.metrics import make_metric, mse, psnr

Array = NDArray[Any]
Restore = Callable[[Array], NDArray[np.float32]]
"""uint8, uint16 or float32 in 0..1 [H,W,C] of any size -> float32 [H,W,C] in 0..1."""

SIGMAS = (15, 25, 50)  # of 255
START = "start"  # baseline: the denoiser that training started from
MAX_PSNR = 60.0  # dB, of an image that is restored bit for bit


def restore(denoiser: Denoiser, noisy: Array) -> NDArray[np.float32]:
    """uint8, uint16 or float32 in 0..1 [H,W,C] of any size -> float32 [H,W,C] in 0..1."""
    device = next(denoiser.parameters()).device
    numbers = noisy.astype(np.float32) if noisy.dtype == np.uint16 else np.ascontiguousarray(noisy)
    pixels = torch.from_numpy(numbers).to(device).permute(2, 0, 1)[None].float()
    if noisy.dtype.kind == "u":
        pixels = pixels / int(np.iinfo(noisy.dtype).max)
    height, width = pixels.shape[2:]
    padded = F.pad(pixels, (0, -width % denoiser.stride, 0, -height % denoiser.stride), mode="replicate")
    with torch.inference_mode():
        restored = denoiser(padded.contiguous(memory_format=torch.channels_last))[0, :, :height, :width]
    return np.asarray(restored.clamp(0, 1).permute(1, 2, 0).cpu().numpy())


def to_uint8(pixels: Array) -> NDArray[np.uint8]:
    """[H,W,C] in 8 bits: uint8 stays as it is, uint16 and float in 0..1 are clipped, scaled to 255 and rounded."""
    if pixels.dtype == np.uint8:
        return pixels
    scaled = pixels / 257 if pixels.dtype == np.uint16 else pixels.clip(0, 1) * 255
    return np.rint(scaled).astype(np.uint8)


def to_file(pixels: Array, dtype: np.dtype[Any]) -> Array:
    """Float [H,W,C] in 0..1 as a file of that depth holds it; `dtype` float: as it is."""
    if dtype.kind != "u" or pixels.dtype.kind == "u":
        return pixels
    return np.rint(pixels.clip(0, 1) * float(np.iinfo(dtype).max)).astype(dtype)


def noisy_versions(image: EvaluationImage) -> list[Array]:
    """Its own noisy version uint8, or one of each sigma, float32 and unclipped; the same each time."""
    if image.noisy is not None:
        return [image.noisy]
    return [_add_gaussian(image, sigma) for sigma in SIGMAS]


def _add_gaussian(image: EvaluationImage, sigma: int) -> NDArray[np.float32]:
    """float32 [H,W,C], unclipped; the seed is the image's name and `sigma`. A grey image has grey noise."""
    seed = int.from_bytes(image.name.encode()[-7:], "big")
    height, width, channels = image.clean.shape
    noise_channels = 1 if is_grey(image.clean) else channels
    noise = np.random.default_rng([seed, sigma]).standard_normal((height, width, noise_channels), np.float32)
    largest = np.float32(np.iinfo(image.clean.dtype).max)
    return np.asarray(image.clean / largest + noise * np.float32(sigma / 255), np.float32)


def measure(
    restore_image: Restore, data: RestorationData, int8: Filter | None = None, start: Restore | None = None
) -> Iterator[tuple[str, Metric]]:
    """Yields (name, metric) on the test images.

    Args:
        restore_image: of the model. int8: its quantised graph.
        start: of the denoiser that training started from, a baseline called START.
        data: where their content is noisy, images are pairs of two noisy versions of one scene.
    """
    others = {} if start is None else {START: start}
    if data.content == "noisy":
        yield "denoising_rmse_to_noisy", _measure_noisy_targets(restore_image, data.test, others)
    elif data.is_paired:
        yield from _measure_pairs(restore_image, data, int8, others)
    else:
        groups: dict[str, list[EvaluationImage]] = {}
        for image in data.test:
            groups.setdefault(image.group, []).append(image)
            if len(data.test) > 1 and not is_grey(image.clean) and image.clean.shape[2] == 3:
                groups.setdefault(f"{image.group} in grey", []).append(_to_grey(image))
        for group, images in groups.items():
            for sigma in SIGMAS:
                metric = _measure_gaussian(restore_image, int8, images, data.validation, sigma, others)
                yield f"denoising_psnr_{_metric_suffix(group)}_{sigma}", metric


# --- pages and other pairs -------------------------------------------------------------------------------


def _measure_pairs(
    restore_image: Restore, data: RestorationData, int8: Filter | None, others: Mapping[str, Restore]
) -> Iterator[tuple[str, Metric]]:
    """RMSE over each of the data's subsets of groups and of each group; PSNR of clean images that pass through.

    The filters of pages are for grey images of 8 bits; beside them, and for others, non-local means in 8 bits.
    """
    quantized = {} if int8 is None else {"int8": int8}
    is_page = all(image.clean.dtype == np.uint8 and is_grey(image.clean) for image in data.test)
    validation = list(_grey_pairs(data.validation)) if is_page or data.subsets else _eight_bit_pairs(data.validation)
    candidates = filters.PAGE_FILTERS if is_page or data.subsets else {"non-local means": filters.PICTURE_FILTERS}
    baselines: dict[str, Filter] = quantized | {
        name: filters.choose_filter(filters_of_kind, validation) for name, filters_of_kind in candidates.items()
    }
    errors: dict[str, dict[str, list[float]]] = {}
    for image in data.test:
        if image.noisy is None:
            raise TypeError("This is a bug: paired data have noisy versions")
        group_errors = errors.setdefault(image.group, {})
        for name, restore_noisy in {"this model": restore_image, **others}.items():
            restored = to_file(restore_noisy(image.noisy), image.noisy.dtype)
            group_errors.setdefault(name, []).append(mse(restored, image.clean))
        group_errors.setdefault("noisy", []).append(mse(image.noisy, image.clean))
        for name, baseline in baselines.items():
            group_errors.setdefault(name, []).append(mse(baseline(to_uint8(image.noisy)), image.clean))

    def rmse(groups: Sequence[str]) -> Metric:
        values = {
            name: math.sqrt(float(np.mean([error for group in groups for error in errors[group][name]])))
            for name in ("this model", "noisy", *others, *baselines)
        }
        return _to_metric(values, "root mean squared error, pixels in 0..1")

    subsets = data.subsets or {"": list(errors)}
    for suffix, groups in subsets.items():
        yield f"denoising_rmse{suffix}", rmse(groups)
    if len(subsets[""]) > 1:
        for group in errors:
            yield f"denoising_rmse_{_metric_suffix(group)}", rmse([group])
    versions: dict[str, Callable[[Array], Array]] = {
        "this model": lambda image: to_file(restore_image(image), image.dtype),
        **quantized,
    }
    quality = {
        name: [psnr([mse(version(image.clean), image.clean)], MAX_PSNR) for image in data.test]
        for name, version in versions.items()
    }
    yield "unharmed_psnr", _to_metric({name: float(np.mean(values)) for name, values in quality.items()}, "dB")
    yield "unharmed_psnr_worst", _to_metric({name: float(np.min(values)) for name, values in quality.items()}, "dB")


def _grey_pairs(images: Sequence[EvaluationImage]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """(noisy, clean) of about 12 grey images, evenly spread over `images`."""
    grey = [image for image in images if image.noisy is not None and is_grey(image.clean) and is_grey(image.noisy)]
    for image in grey[:: max(1, len(grey) // 12)]:
        if image.noisy is not None:
            yield image.noisy, image.clean


def _eight_bit_pairs(images: Sequence[EvaluationImage]) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """(noisy, clean) of up to 6 images."""
    return [(to_uint8(image.noisy), to_uint8(image.clean)) for image in images[:6] if image.noisy is not None]


def _measure_noisy_targets(
    restore_image: Restore, images: Sequence[EvaluationImage], others: Mapping[str, Restore]
) -> Metric:
    """RMSE to another noisy version of the same scene: the noise of that version is in all values alike."""
    errors: dict[str, list[float]] = {}
    for image in images:
        if image.noisy is None:
            raise TypeError("This is a bug: measured are pairs of two noisy versions")
        errors.setdefault("noisy", []).append(mse(image.noisy, image.clean))
        for name, restore_noisy in {"this model": restore_image, **others}.items():
            errors.setdefault(name, []).append(mse(restore_noisy(image.noisy), image.clean))
    values = {name: math.sqrt(float(np.mean(found))) for name, found in errors.items()}
    return _to_metric(values, "root mean squared difference from another noisy version, pixels in 0..1")


# --- photographs -----------------------------------------------------------------------------------------


def _to_grey(image: EvaluationImage) -> EvaluationImage:
    """Its luma (ITU-R 601), in all three channels."""
    luma = cv2.cvtColor(image.clean, cv2.COLOR_RGB2GRAY)  # uint8 or uint16
    return EvaluationImage(image.name, f"{image.group} in grey", np.repeat(luma[..., None], 3, axis=2))


def _measure_gaussian(
    restore_image: Restore,
    int8: Filter | None,
    images: Sequence[EvaluationImage],
    validation: Sequence[EvaluationImage],
    sigma: int,
    others: Mapping[str, Restore],
) -> Metric:
    """PSNR over `images` with gaussian noise of `sigma`; the filter is chosen on up to 8 validation images."""
    pairs = [(to_uint8(_add_gaussian(image, sigma)), image.clean) for image in validation[:8]]
    non_local_means = filters.choose_filter(filters.non_local_means_candidates(sigma), pairs)
    errors: dict[str, list[float]] = {}
    for image in images:
        noisy = _add_gaussian(image, sigma)
        file = to_uint8(noisy)
        outputs: dict[str, Array] = {
            "this model": restore_image(noisy),
            "8 bits": to_uint8(restore_image(file)),
            **({} if int8 is None else {"int8": int8(file)}),
            **{name: restore_noisy(noisy) for name, restore_noisy in others.items()},
            "noisy": noisy,
            "non-local means": non_local_means(file),
        }
        for name, output in outputs.items():
            errors.setdefault(name, []).append(mse(output, image.clean))
    return _to_metric({name: psnr(values, MAX_PSNR) for name, values in errors.items()}, "dB")


# --- entries of the manifest -----------------------------------------------------------------------------


def _metric_suffix(group: str) -> str:
    return {"all": "gaussian", "all in grey": "gaussian_grey"}.get(group, "_".join(group.lower().split()))


def _to_metric(values: Mapping[str, float], unit: str) -> Metric:
    """The value of "this model" beside those of all others."""
    return make_metric(values["this model"], unit, {n: value for n, value in values.items() if n != "this model"})
