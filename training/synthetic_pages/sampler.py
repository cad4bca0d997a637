"""Sampler of training pairs of pages: each is drawn when a step needs it, and none comes twice.

a pool, photographs -> scenes.draw_scene --------------------------+
pages of NoisyOffice's train split: as they are, or recombined ----+-> (clean, noisy) uint8 [size,size,C]
ink of the pool on sheets of the corpus, or on worn grey sheets ---+
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthetic_pages import scenes
from training.synthetic_pages.degradation import degrade
from training.synthetic_pages.figures import Photograph
from training.synthetic_pages.noisyoffice import PagePair, cut_piece
from training.synthetic_pages.pool import Pool
from training.synthetic_pages.writing.ink import Compositor

Image = NDArray[np.uint8]  # [size,size,C]

CORPUS_SHARES = {"own": 0.18, "recombined": 0.17, "typeset": 0.05, "worn": 0.15}  # the rest are scenes


class PageSampler:
    """`draw` gives one pair; `len` is how many make an epoch.

    Args:
        scans: train pages of the corpus; none: all pairs are scenes.
        size: pixels a side. channels: 3 RGB, 1 grey.
    """

    def __init__(
        self,
        pool: Pool,
        photographs: Sequence[Photograph],
        scans: Sequence[PagePair],
        *,
        count: int,
        size: int,
        channels: int,
    ) -> None:
        self.pool, self.photographs, self.scans = pool, photographs, scans
        self.count, self.size, self.channels = count, size, channels
        self.compositor = Compositor(scans) if scans else None

    def __len__(self) -> int:
        return self.count

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[N,size,size,2C], as of an array of pairs."""
        return self.count, self.size, self.size, 2 * self.channels

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what is drawn from: code, pool, corpus, number of photographs."""
        sha256 = hashlib.sha256(repr((self.shape, len(self.photographs))).encode())
        for module in sorted(Path(__file__).parent.rglob("*.py")):
            sha256.update(module.read_bytes())
        for array in (*(page.noisy for page in self.scans), self.pool.ink[0], self.pool.sheets[0]):
            sha256.update(np.ascontiguousarray(array).tobytes())
        return sha256.hexdigest()

    def draw(self, rng: np.random.Generator) -> tuple[Image, Image]:
        """(clean, noisy), uint8 [size,size,C], from `rng` alone."""
        kind = self._choose_kind(rng)
        if kind == "scene" or self.compositor is None:
            scene = scenes.draw_scene(rng, self.size, self.pool, self.photographs)
            return to_channels(scene.clean, self.channels), to_channels(scene.noisy, self.channels)
        if kind in ("typeset", "worn"):
            layers = scenes.cut_ink(rng, self.pool, (self.size, self.size), 1.0)
            clean = np.asarray(255 - 255 * layers.max(0), np.uint8)
            noisy = self.compositor.compose(clean, rng) if kind == "typeset" else degrade(clean, rng)
        else:
            clean, noisy = cut_piece(rng, self.scans[int(rng.integers(len(self.scans)))], self.size)
            noisy = self.compositor.compose(clean, rng) if kind == "recombined" else noisy
        return to_channels(clean, self.channels), to_channels(noisy, self.channels)

    def _choose_kind(self, rng: np.random.Generator) -> str:
        position = rng.random()
        for kind, share in CORPUS_SHARES.items():
            if position < share:
                return kind
            position -= share
        return "scene"


def to_channels(page: NDArray[np.uint8], channels: int) -> Image:
    """[H,W] or [H,W,3] -> [H,W,channels]: grey in all channels, or luma alone."""
    if page.ndim == 2:
        return np.repeat(page[..., None], channels, axis=2)
    return page if channels == 3 else np.asarray(cv2.cvtColor(page, cv2.COLOR_RGB2GRAY), np.uint8)[..., None]
