"""Validation of a denoiser of photographs while it trains: gaussian, camera and JPEG noise, and none.

held-out photographs -> centres -> one noisy version of each kind, the same in every run -> PSNR of each kind -> error

The noise of cameras is that of training.synthetic_photos with seeds of its own. Nothing of it is a test: test images
are measured once, when a package is exported.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.patches import EvaluationImage
from training.engine.step_inputs.pairs import make_pair
from training.evaluation.denoisers import SIGMAS
from training.evaluation.metrics import mse, psnr
from training.recipe import Corruption
from training.synthetic_photos import jpeg

Image = NDArray[np.uint8]  # [H,W,C]
Array = NDArray[Any]

IMAGES = 24  # photographs at most
SIZE = 192  # pixels a side of the centres
QUALITIES = (10, 20, 40)  # of JPEG, colours halved
LEVELS = (0.1, 0.9)  # of camera noise, evenly spaced over the photographs
CLEAN_LIMIT = 60.0  # dB; more is not seen


@dataclass(frozen=True)
class NoisyPair:
    """`clean` uint8 [H,W,C]; `noisy` of that shape, uint8, or float32 in 0..1 where noise is unclipped."""

    kind: str
    clean: Image
    noisy: Array


def make_pairs(images: Sequence[EvaluationImage]) -> list[NoisyPair]:
    """Of up to IMAGES images each kind of noise: gaussian-15, ..., camera, jpeg-10, ..., clean."""
    chosen = images[:: -(-len(images) // IMAGES)]
    pairs = []
    for index, image in enumerate(chosen):
        clean = _crop_centre(image.clean)
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(image.name.encode()).digest()[:8], "big"))
        pairs.append(NoisyPair("clean", clean, clean))
        for sigma in SIGMAS:
            noise = rng.standard_normal(clean.shape, np.float32) * np.float32(sigma / 255)
            pairs.append(NoisyPair(f"gaussian-{sigma}", clean, clean / np.float32(255) + noise))
        for quality in QUALITIES:
            pairs.append(NoisyPair(f"jpeg-{quality}", clean, jpeg.compress(clean, quality, subsampled=True)))
        level = LEVELS[0] + (LEVELS[1] - LEVELS[0]) * index / max(1, len(chosen) - 1)
        corruption = Corruption(kind="camera", level=(level, level))
        pairs.append(NoisyPair("camera", *make_pair(clean, corruption, rng)))
    return pairs


@dataclass(frozen=True)
class Validation:
    """PSNR (dB) of each kind of noise, restored and as it came.

    camera_ratio: of each camera pair the share of its mean squared error that is left, mean over pairs.
    """

    restored: dict[str, float]
    noisy: dict[str, float]
    camera_ratio: float

    @property
    def error(self) -> float:
        """One number to choose weights by: the geometric mean of the root mean squared errors of all kinds but clean.

        Gaussian, camera and JPEG count alike, whatever the number of their strengths.
        """
        families: dict[str, list[float]] = {}
        for kind, decibels in self.restored.items():
            families.setdefault(kind.split("-")[0], []).append(decibels)
        means = [float(np.mean(values)) for family, values in families.items() if family != "clean"]
        return float(10 ** (-np.mean(means) / 20))

    def __str__(self) -> str:
        gaussian = " / ".join(f"{self.restored[f'gaussian-{sigma}']:.2f}" for sigma in SIGMAS)
        gains = " / ".join(f"{self.restored[f'jpeg-{q}'] - self.noisy[f'jpeg-{q}']:+.2f}" for q in QUALITIES)
        return (
            f"gaussian {'/'.join(map(str, SIGMAS))}: {gaussian} dB; camera {self.restored['camera']:.2f} dB, "
            f"{self.camera_ratio:.3f} of the input's MSE; JPEG {'/'.join(map(str, QUALITIES))}: {gains} dB; "
            f"clean {self.restored['clean']:.2f} dB"
        )


def validate(restore: Callable[[Array], Array], pairs: Sequence[NoisyPair]) -> Validation:
    """Measure `restore`, uint8 or float32 [H,W,C] -> float32 or uint8 [H,W,C], on the pairs of make_pairs."""
    errors: dict[str, list[tuple[float, float]]] = {}
    for pair in pairs:
        after, before = mse(restore(pair.noisy), pair.clean), mse(pair.noisy, pair.clean)
        errors.setdefault(pair.kind, []).append((after, before))
    restored, noisy = (
        {kind: psnr([values[side] for values in found], CLEAN_LIMIT) for kind, found in errors.items()}
        for side in (0, 1)
    )
    ratios = [after / max(before, 1e-10) for after, before in errors["camera"]]
    return Validation(restored, noisy, float(np.mean(ratios)))


def _crop_centre(image: Image) -> Image:
    """Square, at most SIZE."""
    size = min(SIZE, *image.shape[:2])
    top, left = ((length - size) // 2 for length in image.shape[:2])
    return np.ascontiguousarray(image[top : top + size, left : left + size])
