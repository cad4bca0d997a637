"""Data files as users have them: folders of images, IDX."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.data import datasets
from training.recipe import AutoencoderData


def write_images(folder: Path, images: np.ndarray, suffix: str = "png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03}.{suffix}")
    return folder


def encode_idx(images: np.ndarray) -> bytes:
    return struct.pack(">IIII", 0x803, *images.shape) + images.tobytes()


def load_dataset(source: Path, **options: Any) -> datasets.Dataset:
    return datasets.load(AutoencoderData(source=str(source), licence="drawn by the tests", **options))
