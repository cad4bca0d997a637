"""How good is a denoiser on whole images? Its error beside its baselines, noisy image by noisy image.

images, denoiser -> restored float [H,W,C] -> mean squared errors -> metrics {name: value and baselines}

Filters have strengths; they are chosen on validation, test is only reported. RMSE is the root of the mean over images
of each image's mean squared error, pixels in 0..1. PSNR is 10 log10(1 / MSE) of each image, averaged over images.

Beside "this model", in torch, "int8" is its graph in eight-bit whole numbers, if it has one, on eight-bit files.

Where noise is drawn, all test images are measured in grey as well. It is gaussian of 15, 25 and 50 of 255, added in
float and neither clipped nor rounded, as the literature does (Zhang et al. 2017, section IV); "8 bits" says what comes
of it as a file holds it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from service.model.manifest import Metric
from training.architectures.unet import Denoiser
from training.data.patches import Image, Patches, Whole

Array = NDArray[Any]
Filter = Callable[[Array], Array]
"""uint8 [H,W,C] -> uint8 [H,W,C]"""

SIGMAS = (15, 25, 50)  # of 255
UNHARMED = 60.0  # dB; what an image that came through bit for bit counts as


def restore(denoiser: Denoiser, noisy: Array) -> NDArray[np.float32]:
    """uint8 or float32 [H,W,C] (0..255 or 0..1) of any size -> float32 [H,W,C] in 0..1."""
    device = next(denoiser.parameters()).device
    pixels = torch.from_numpy(np.ascontiguousarray(noisy)).to(device).permute(2, 0, 1)[None].float()
    if noisy.dtype == np.uint8:
        pixels = pixels / 255
    height, width = pixels.shape[2:]
    filled = F.pad(pixels, (0, -width % denoiser.stride, 0, -height % denoiser.stride), mode="replicate")
    with torch.inference_mode():
        clean = denoiser(filled.contiguous(memory_format=torch.channels_last))[0, :, :height, :width]
    return np.asarray(clean.clamp(0, 1).permute(1, 2, 0).cpu().numpy())


def noisy_versions(image: Whole) -> list[Array]:
    """Its own noisy version uint8, or one of each sigma, float32 and unclipped; the same each time."""
    if image.noisy is not None:
        return [image.noisy]
    return [_gaussian(image, sigma) for sigma in SIGMAS]


def _gaussian(image: Whole, sigma: int) -> NDArray[np.float32]:
    seed = int.from_bytes(image.name.encode()[-7:], "big")
    height, width, channels = image.clean.shape
    drawn = 1 if is_grey(image.clean) else channels  # what is grey has grey noise
    noise = np.random.default_rng([seed, sigma]).standard_normal((height, width, drawn), np.float32)
    return np.asarray(image.clean / np.float32(255) + noise * np.float32(sigma / 255), np.float32)


def mse(restored: Array, clean: Array) -> float:
    """Mean squared error, pixels in 0..1; either may be uint8."""
    a, b = (np.asarray(x, np.float64) / (255 if x.dtype == np.uint8 else 1) for x in (restored, clean))
    return float(np.mean((a - b) ** 2))


def measure(denoiser: Denoiser, data: Patches, int8: Filter | None = None) -> Iterator[tuple[str, Metric]]:
    """Yields (name, metric) on the test images; `int8` is the quantised denoiser."""
    if data.paired:
        yield from _paired(denoiser, data, int8)
    else:
        groups: dict[str, list[Whole]] = {}
        for image in data.test:
            groups.setdefault(image.group, []).append(image)
            if len(data.test) > 1 and not is_grey(image.clean) and image.clean.shape[2] == 3:
                groups.setdefault(f"{image.group} in grey", []).append(_in_grey(image))
        for group, images in groups.items():
            for sigma in SIGMAS:
                yield f"denoising_psnr_{_words(group)}_{sigma}", _drawn(denoiser, int8, images, data.validation, sigma)


# --- pages and other pairs -------------------------------------------------------------------------------


def _paired(denoiser: Denoiser, data: Patches, int8: Filter | None) -> Iterator[tuple[str, Metric]]:
    groups = list(dict.fromkeys(image.group for image in data.test))
    served = {} if int8 is None else {"int8": int8}
    filters = {**served, **{name: _best(candidates, data.validation) for name, candidates in FILTERS.items()}}
    errors: dict[str, dict[str, list[float]]] = {}
    for image in data.test:
        if image.noisy is None:
            raise TypeError("This is a bug: paired data have noisy versions")
        mine = errors.setdefault(image.group, {})
        mine.setdefault("this model", []).append(mse(_rounded(restore(denoiser, image.noisy)), image.clean))
        mine.setdefault("noisy", []).append(mse(image.noisy, image.clean))
        for name, best in filters.items():
            mine.setdefault(name, []).append(mse(best(image.noisy), image.clean))

    def metric(chosen: Sequence[str]) -> Metric:
        values = {
            name: math.sqrt(float(np.mean([e for group in chosen for e in errors[group][name]])))
            for name in ("this model", "noisy", *filters)
        }
        return _metric(values, "root mean squared error, pixels in 0..1")

    office = [group for group in groups if group != "own pages"]
    yield "denoising_rmse", metric(office)
    if len(office) > 1:
        leaking = [group for group in office if "wrinkled" in group]
        if leaking:
            yield "denoising_rmse_without_wrinkled", metric([group for group in office if group not in leaking])
        for group in groups:
            yield f"denoising_rmse_{_words(group)}", metric([group])
    versions: dict[str, Filter] = {"this model": lambda image: _rounded(restore(denoiser, image)), **served}
    clean = {name: [psnr(mse(f(image.clean), image.clean)) for image in data.test] for name, f in versions.items()}
    yield "unharmed_psnr", _metric({name: float(np.mean(each)) for name, each in clean.items()}, "dB")
    yield "unharmed_psnr_worst", _metric({name: float(np.min(each)) for name, each in clean.items()}, "dB")


# --- photographs -----------------------------------------------------------------------------------------


def is_grey(image: Image) -> bool:
    """Whether all channels of [H,W,C] are equal."""
    return bool((image == image[..., :1]).all())


def _in_grey(image: Whole) -> Whole:
    """Its luma (ITU-R 601), in all three channels."""
    luma = cv2.cvtColor(image.clean, cv2.COLOR_RGB2GRAY)
    return Whole(image.name, f"{image.group} in grey", np.repeat(luma[..., None], 3, axis=2))


def _drawn(
    denoiser: Denoiser, int8: Filter | None, images: Sequence[Whole], validation: Sequence[Whole], sigma: int
) -> Metric:
    strengths = [partial(_non_local_means, strength=round(sigma * k)) for k in (0.4, 0.6, 0.8, 1.0, 1.2)]
    held_out = [(_rounded(_gaussian(image, sigma).clip(0, 1)), image.clean) for image in validation[:8]]
    best = min(strengths, key=lambda f: float(np.mean([mse(f(noisy), clean) for noisy, clean in held_out])))
    values: dict[str, list[float]] = {}
    for image in images:
        noisy = _gaussian(image, sigma)
        file = _rounded(noisy.clip(0, 1))
        outputs: dict[str, Array] = {
            "this model": restore(denoiser, noisy),
            "8 bits": _rounded(restore(denoiser, file)),
            **({} if int8 is None else {"int8": int8(file)}),
            "noisy": noisy,
            "non-local means": best(file),
        }
        for name, output in outputs.items():
            values.setdefault(name, []).append(psnr(mse(output, image.clean)))
    means = {name: float(np.mean(each)) for name, each in values.items()}
    return _metric(means, "dB")


# --- filters without learning ----------------------------------------------------------------------------


def _without_background(image: Array, kernel: int, white: float) -> Array:
    """The page divided by its background, a median; above `white` all is paper."""
    grey = image[..., 0]
    background = cv2.medianBlur(grey, kernel).astype(np.float32)
    ratio = grey.astype(np.float32) / np.maximum(background, 1)
    return np.asarray(np.clip(ratio / white, 0, 1) * 255 + 0.5, np.uint8)[..., None]


def _minus_background(image: Array, kernel: int, threshold: int) -> Array:
    """Where a pixel is darker than its background, a median, by `threshold`, it stays; all else is paper."""
    grey = image[..., 0]
    background = cv2.medianBlur(grey, kernel).astype(np.int32)
    return np.where(background - grey > threshold, grey, 255).astype(np.uint8)[..., None]


def _adaptive_threshold(image: Array, kernel: int, offset: int) -> Array:
    mean = cv2.ADAPTIVE_THRESH_GAUSSIAN_C
    return np.asarray(cv2.adaptiveThreshold(image[..., 0], 255, mean, cv2.THRESH_BINARY, kernel, offset))[..., None]


def _non_local_means(image: Array, strength: int) -> Array:
    if is_grey(image):
        grey = np.asarray(cv2.fastNlMeansDenoising(image[..., 0], None, strength, 7, 21))[..., None]
        return np.repeat(grey, image.shape[2], axis=2)
    return np.asarray(cv2.fastNlMeansDenoisingColored(image, None, strength, strength, 7, 21))


FILTERS: dict[str, list[Filter]] = {
    "median background, divided": [
        partial(_without_background, kernel=kernel, white=white) for kernel in (15, 23, 31) for white in (0.7, 0.8, 0.9)
    ],
    "median background, threshold": [
        partial(_minus_background, kernel=kernel, threshold=t) for kernel in (15, 23, 31) for t in (10, 20, 30, 45, 60)
    ],
    "adaptive threshold": [
        partial(_adaptive_threshold, kernel=kernel, offset=offset) for kernel in (15, 25, 41) for offset in (10, 20, 30)
    ],
    "non-local means": [partial(_non_local_means, strength=strength) for strength in (5, 15, 30)],
}


def _best(candidates: Sequence[Filter], validation: Sequence[Whole]) -> Filter:
    """The candidate of the least error on up to 12 validation images."""
    some = [image for image in validation[:: max(1, len(validation) // 12)] if image.noisy is not None]
    grey = [image for image in some if image.clean.shape[2] == 1]
    if not grey:
        return candidates[0]
    return min(
        candidates, key=lambda f: float(np.mean([mse(f(i.noisy), i.clean) for i in grey if i.noisy is not None]))
    )


def _rounded(pixels: Array) -> NDArray[np.uint8]:
    return np.asarray(np.rint(pixels * 255), np.uint8)


def _words(group: str) -> str:
    return {"all": "gaussian", "all in grey": "gaussian_grey"}.get(group, "_".join(group.lower().split()))


def psnr(error: float) -> float:
    """dB of a mean squared error, pixels in 0..1; at most UNHARMED."""
    return min(UNHARMED, -10 * math.log10(max(error, 1e-10)))


def _metric(values: dict[str, float], unit: str) -> Metric:
    baselines = {name: value for name, value in values.items() if name != "this model"}
    return Metric(value=values["this model"], unit=unit, split="test", baselines=baselines)
