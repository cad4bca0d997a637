"""Noise model: strength by brightness, correlation between pixels and colours, estimated from noisy pictures alone.

pictures, what a denoiser makes of them -> smooth blocks -> what a curved surface leaves of each
  -> deviation by brightness, autocovariance -> draw

Noise that grows with the light: Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image
raw-data", IEEE TIP 17, 2008; here the curve has no formula, since the tone curve of a camera bends it. Noise of a
camera's finished pictures is correlated over some pixels (demosaicing, smoothing, JPEG); it is drawn with the same
power spectrum. Blocks are smooth where the denoised picture is, and the variance that is left there is subtracted.
What the denoiser does not see as noise is seen here all the same; noise of more than a dozen pixels is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[Any]  # uint8 or uint16 [H,W,C]
Floats = NDArray[np.float64]

BLOCK = 16  # pixels a side
COARSE = 4  # pixels a side of the means that stand for a denoised block where the denoiser does nothing
LOW = 0.1  # quantile that stands for the least
MAX_REST = 0.7  # share of the noise that a denoiser may leave
SMOOTH_SHARE = 0.15  # of the blocks of one brightness: the smoothest
MAX_TEXTURE = 0.5  # of a block's variance
MAX_CLIPPED = 0.02  # of a block's numbers: black or white
BINS = 8  # of brightness
REACH = 6  # pixels: correlation beyond is not seen
MAX_BLOCKS = 20_000  # that are looked at
LEAST_SPAN = 0.02  # of brightness, from which a line is fitted
CURVE = 256  # entries of the table of deviations
CORRELATED = 0.1  # between neighbours: above, noise is not independent
FAINTEST = 1e-4  # of white: deviation below which a picture counts as having none


@dataclass(frozen=True)
class NoiseModel:
    """Gaussian noise with `deviation` [C,CURVE] by brightness 0..1 and `covariance` [C,C,2R+1,2R+1] of unit variance.

    `strength`: median deviation of the blocks that were looked at, pixels in 0..1.

    C is 1 where all channels of the pictures are equal: then their noise is, too.
    """

    deviation: Floats
    covariance: Floats
    strength: float
    _roots: dict[tuple[int, int], Tensor] = field(default_factory=dict, compare=False, repr=False)

    @property
    def correlation(self) -> float:
        """Between a pixel and its neighbours to the right and below, mean over colours; 0: none."""
        own = self.covariance[range(len(self.covariance)), range(len(self.covariance))]  # [C,2R+1,2R+1]
        return float((own[:, REACH, REACH + 1] + own[:, REACH + 1, REACH]).mean() / 2)

    def __str__(self) -> str:
        kind = "correlated" if abs(self.correlation) > CORRELATED else "hardly correlated"
        return (
            f"noise of about {255 * self.strength:.2g} of 255, {kind} between neighbouring pixels "
            f"({self.correlation:.2f})"
        )

    def draw(self, reference: Tensor, generator: torch.Generator) -> Tensor:
        """Noise [B,C,H,W] as pictures `reference`, float in 0..1 of that shape, would have it; H, W above 2 REACH."""
        channels = len(self.deviation)
        size = (len(reference), channels, *reference.shape[2:])
        white = torch.randn(size, generator=generator, device=reference.device)
        spectrum = torch.fft.fft2(white).permute(2, 3, 1, 0)  # [H,W,C,B]
        height, width = reference.shape[2:]
        if (height, width) not in self._roots:
            self._roots[height, width] = _spectral_root(self.covariance, height, width).to(reference.device)
        root = self._roots[height, width]
        unit = torch.fft.ifft2((root @ spectrum).permute(3, 2, 0, 1)).real  # [B,C,H,W]
        table = torch.from_numpy(self.deviation).to(reference)
        index = (reference.detach()[:, :channels].clamp(0, 1) * (CURVE - 1)).round().long()
        deviation = torch.stack([table[channel][index[:, channel]] for channel in range(channels)], 1)
        noise: Tensor = unit * deviation
        return noise.expand(-1, reference.shape[1], -1, -1)


def estimate(images: Sequence[Image], denoised: Sequence[Image], rng: np.random.Generator) -> NoiseModel | None:
    """The noise of pictures that one device took; None if there is no block to look at, or no noise in them.

    Args:
        images: noisy pictures. denoised: what a denoiser makes of each, of the same shape.
        rng: chooses blocks where there are very many.
    """
    pairs = [
        (_cut_blocks(image), _cut_blocks(other))
        for image, other in zip(images, denoised, strict=True)
        if min(image.shape[:2]) >= BLOCK
    ]
    if not pairs:
        return None
    blocks, smoothed = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))  # [N,BLOCK,BLOCK,C]
    if len(blocks) > MAX_BLOCKS:
        chosen = rng.choice(len(blocks), MAX_BLOCKS, replace=False)
        blocks, smoothed = blocks[chosen], smoothed[chosen]
    if (blocks == blocks[..., :1]).all():
        blocks, smoothed = blocks[..., :1], smoothed[..., :1]
    residuals = _subtract_surface(blocks)
    means, variances = smoothed.mean((1, 2)), residuals.var((1, 2))  # [N,C]
    is_clipped = ((blocks <= 0) | (blocks >= 1)).mean((1, 2, 3)) > MAX_CLIPPED
    noise = np.maximum(variances.sum(1), FAINTEST**2)
    ratio = _subtract_surface(smoothed).var((1, 2)).sum(1) / noise
    if np.quantile(ratio, LOW) > MAX_REST:  # the denoiser leaves the noise as it is
        ratio = _subtract_surface(_average(blocks)).var((1, 2)).sum(1) / noise
    smooth, texture = _choose_smooth(means.mean(1), np.where(is_clipped, np.inf, ratio))
    deviations = np.sqrt(variances * (1 - texture)[:, None])
    if not len(smooth) or np.median(deviations[smooth]) < FAINTEST:
        return None
    curves = [_fit_curve(means[smooth, c], deviations[smooth, c]) for c in range(blocks.shape[3])]
    unit = residuals[smooth] / np.maximum(np.sqrt(variances[smooth]), FAINTEST)[:, None, None]
    return NoiseModel(np.stack(curves), _autocovariance(unit), float(np.median(deviations[smooth])))


def _cut_blocks(image: Image) -> Floats:
    """[H,W,C] of whole numbers -> [N,BLOCK,BLOCK,C] in 0..1."""
    rows, columns = (size // BLOCK for size in image.shape[:2])
    pixels = image[: rows * BLOCK, : columns * BLOCK] / float(np.iinfo(image.dtype).max)
    cut = pixels.reshape(rows, BLOCK, columns, BLOCK, -1).swapaxes(1, 2)
    return np.asarray(cut.reshape(rows * columns, BLOCK, BLOCK, -1))


def _subtract_surface(blocks: Floats) -> Floats:
    """What the best surface of second order leaves of each block."""
    y, x = np.mgrid[-1 : 1 : BLOCK * 1j, -1 : 1 : BLOCK * 1j]
    basis, _ = np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]).reshape(6, -1).T)  # [B*B,6]
    flat = blocks.reshape(len(blocks), BLOCK * BLOCK, -1)
    fitted = basis @ (basis.T @ flat)
    return np.asarray((flat - fitted).reshape(blocks.shape))


def _average(blocks: Floats) -> Floats:
    """Means of COARSE x COARSE pixels in the place of these."""
    count, channels, side = len(blocks), blocks.shape[3], BLOCK // COARSE
    means = blocks.reshape(count, side, COARSE, side, COARSE, channels).mean((2, 4))
    return np.asarray(means.repeat(COARSE, 1).repeat(COARSE, 2))


def _choose_smooth(means: Floats, ratio: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Indices of the SMOOTH_SHARE of blocks of each brightness with the least texture, and texture's share [N] of all.

    What a denoiser leaves in the smoothest blocks of a brightness is noise, not texture, unless it is more there than
    in most blocks of all brightnesses.

    Args:
        means: [N]. ratio: [N], of the variance what is left by a denoiser, infinite: not to be chosen.
    """
    order = np.argsort(means, kind="stable")
    order = order[np.isfinite(ratio[order])]
    texture = np.ones(len(ratio))
    chosen = []
    for group in np.array_split(order, BINS):
        if not len(group):
            continue
        rest = min(np.quantile(ratio[group], LOW), np.median(ratio[order]))
        texture[group] = (ratio[group] - rest).clip(0, 1)
        smoothest = group[np.argsort(ratio[group], kind="stable")[: max(1, round(len(group) * SMOOTH_SHARE))]]
        chosen.append(smoothest[texture[smoothest] < MAX_TEXTURE])
    return np.concatenate(chosen) if chosen else np.array([], np.intp), texture


def _fit_curve(means: Floats, deviations: Floats) -> Floats:
    """Median deviation of each brightness, [CURVE]: interpolated; above the brightest smooth place a line of the
    variance, as shot noise has it.
    """
    groups = np.array_split(np.argsort(means, kind="stable"), min(BINS, len(means)))
    levels, values = (np.array([np.median(numbers[group]) for group in groups]) for numbers in (means, deviations))
    brightness = np.linspace(0, 1, CURVE)
    curve = np.interp(brightness, levels, values)
    if np.ptp(levels) < LEAST_SPAN:
        return np.asarray(curve)
    slope, offset = np.polyfit(levels, values**2, 1)
    line = np.sqrt((offset + slope * brightness).clip((values.min() / 2) ** 2, (4 * values.max()) ** 2))
    return np.asarray(np.where(brightness <= levels[-1], curve, line))


def _autocovariance(unit: Floats) -> Floats:
    """Residuals [N,B,B,C] of unit variance -> [C,C,2R+1,2R+1], lags from -REACH to REACH, 1 at lag 0 of each colour."""
    size = 2 * BLOCK
    spectrum = np.fft.fft2(unit, (size, size), axes=(1, 2))
    power = np.einsum("nyxc,nyxd->yxcd", spectrum, spectrum.conj()) / len(unit)
    lags = np.arange(-REACH, REACH + 1)
    overlap = (BLOCK - np.abs(lags))[:, None] * (BLOCK - np.abs(lags))
    covariance = np.fft.ifft2(power, axes=(0, 1)).real[np.ix_(lags, lags)].transpose(2, 3, 0, 1) / overlap
    scale = np.sqrt(covariance[range(len(covariance)), range(len(covariance)), REACH, REACH])
    return np.asarray(covariance / scale[:, None, None, None] / scale[None, :, None, None])


def _spectral_root(covariance: Floats, height: int, width: int) -> Tensor:
    """complex64 [H,W,C,C]: the Hermitian root of the power spectrum of each frequency, negative power cut off.

    The variance of each colour stays 1.
    """
    channels = len(covariance)
    taper = np.cos(np.linspace(-np.pi / 2, np.pi / 2, 2 * REACH + 3))[1:-1] ** 0.5
    field = np.zeros((channels, channels, height, width))
    lags = np.arange(-REACH, REACH + 1)
    field[:, :, (lags % height)[:, None], lags % width] = covariance * taper[:, None] * taper
    power = np.fft.fft2(field).transpose(2, 3, 0, 1)
    values, vectors = np.linalg.eigh((power + power.conj().swapaxes(2, 3)) / 2)
    root = (vectors * np.sqrt(values.clip(0))[..., None, :]) @ vectors.conj().swapaxes(2, 3)
    variance = (np.abs(root) ** 2).sum(3).mean((0, 1))  # of each colour
    return torch.from_numpy((root / np.sqrt(variance)[:, None]).astype(np.complex64))
