"""Pairs for a denoiser: corruptions that process the clean image as well, made on the CPU ahead of the training step.

seed, indices -> training patches -> for each: a corruption by its weight -> [camera | JPEG] -> (patches, is_pair)

A batch depends on its seed alone, so a run is the same with any number of processes that prepare batches.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.engine.step_inputs.corruption import CORRUPTIONS
from training.recipe import Corruption
from training.synthetic_pages.sampler import PageSampler

Image = NDArray[Any]  # uint8 [P,P,C]; uint16 where no corruption needs images

PREFETCHED = 4  # batches that each process prepares ahead

Batch = tuple[Tensor, Tensor | None]
"""patches uint8 [B,P,P,C]; or [B,P,P,2C] and bool [B], which of them are pairs: others hold the clean image twice"""


class PairBatches:
    """The training patches of a denoiser, batch by batch, on a device.

    Args:
        patches: uint8 or uint16 [N,P,P,C], or [N,P,P,2C] of data that are pairs; or a sampler, which draws each pair
            when its batch is prepared, whatever its index.
        corruptions: of the recipe; if none of them needs images, batches are the patches as they are.
        device: where batches are used.
        processes: that prepare batches; 0: the calling one does. None: 0 on the CPU, else all cores but two.
    """

    def __init__(
        self,
        patches: Image | PageSampler,
        corruptions: Sequence[Corruption],
        device: torch.device,
        processes: int | None = None,
    ) -> None:
        self.device = device
        if processes is None:
            processes = 0 if device.type == "cpu" else max(1, len(os.sched_getaffinity(0)) - 2)
        samples: Dataset[tuple[Tensor, Tensor]] | None = None
        self.count = len(patches)
        self.patches: Tensor | None = None
        if isinstance(patches, PageSampler):
            samples = _DrawnPairs(patches)
        elif has_image_corruption(corruptions):
            samples = _Pairs(patches, corruptions)
        else:
            numbers = patches if patches.dtype == np.uint8 else patches.astype(np.int32)  # torch hardly knows uint16
            self.patches = torch.from_numpy(numbers).to(device)
        self.order: list[tuple[int, list[int]]] = []
        self.loader: DataLoader[tuple[Tensor, Tensor]] | None = None
        if samples is not None:
            self.loader = DataLoader(
                samples, batch_size=None, sampler=self.order, num_workers=processes,
                pin_memory=device.type == "cuda", persistent_workers=processes > 0,
                prefetch_factor=PREFETCHED if processes else None,
            )  # fmt: skip

    def __len__(self) -> int:
        return self.count

    def load(self, batches: Sequence[Tensor], generator: torch.Generator) -> Iterator[Batch]:
        """One epoch: for each of `batches`, int64 [B] indices of patches, its patches on the device."""
        if self.patches is not None:
            for indices in batches:
                yield self.patches[indices], None
            return
        seeds = torch.randint(2**62, (len(batches),), generator=generator, device=generator.device).tolist()
        self.order[:] = [(seed, indices.tolist()) for seed, indices in zip(seeds, batches, strict=True)]
        for patches, is_pair in self._start_epoch():
            yield patches.to(self.device, non_blocking=True), is_pair.to(self.device, non_blocking=True)

    def _start_epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Starts the processes, if they are not there yet, without OpenCV's threads, which a fork would lose."""
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            return iter(self.loader or ())
        finally:
            cv2.setNumThreads(threads)


class _Pairs(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, patches: Image, corruptions: Sequence[Corruption]) -> None:
        self.patches, self.corruptions = patches, tuple(corruptions)
        self.weights = np.cumsum([corruption.weight for corruption in corruptions])

    def __getitem__(self, key: tuple[int, list[int]]) -> tuple[Tensor, Tensor]:
        seed, indices = key
        rng = np.random.default_rng(seed)
        pairs, is_pair = [], []
        for patch in self.patches[indices]:
            corruption = self.corruptions[int(np.searchsorted(self.weights, rng.random() * self.weights[-1], "right"))]
            is_pair.append(CORRUPTIONS[corruption.kind].apply_to_image is not None)
            pairs.append(make_pair(patch, corruption, rng) if is_pair[-1] else (patch, patch))
        return torch.from_numpy(np.stack([np.concatenate(pair, -1) for pair in pairs])), torch.tensor(is_pair)


class _DrawnPairs(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, sampler: PageSampler) -> None:
        self.sampler = sampler

    def __getitem__(self, key: tuple[int, list[int]]) -> tuple[Tensor, Tensor]:
        seed, indices = key
        rng = np.random.default_rng(seed)
        pairs = [np.concatenate(self.sampler.draw(rng), -1) for _ in indices]
        return torch.from_numpy(np.stack(pairs)), torch.ones(len(pairs), dtype=torch.bool)


def has_image_corruption(corruptions: Sequence[Corruption]) -> bool:
    """Whether a corruption needs whole images in eight bits."""
    return any(CORRUPTIONS[corruption.kind].apply_to_image is not None for corruption in corruptions)


def make_pair(patch: Image, corruption: Corruption, rng: np.random.Generator) -> tuple[Image, Image]:
    """uint8 [P,P,1 or 3] -> (clean, noisy) of that shape, of a corruption of images; what is grey stays grey."""
    apply = CORRUPTIONS[corruption.kind].apply_to_image
    if apply is None:
        raise AssertionError(f"This is a bug: corruption {corruption.kind} needs no images")
    low, high = corruption.level
    level = low + (high - low) * rng.random()
    if patch.shape[2] == 3 and not (patch == patch[..., :1]).all():
        return apply(patch, level, rng)
    clean, noisy = apply(np.ascontiguousarray(np.broadcast_to(patch, (*patch.shape[:2], 3))), level, rng)
    return _to_grey(clean, patch.shape[2]), _to_grey(noisy, patch.shape[2])


def _to_grey(image: Image, channels: int) -> Image:
    """The mean of the channels, `channels` times."""
    return np.repeat(np.rint(image.mean(-1, keepdims=True)).astype(np.uint8), channels, axis=2)
