"""MNIST's four files with drawings in them."""

import gzip
import struct
from pathlib import Path

import numpy as np

from tests.drawings import drawings


def write_mnist(folder: Path) -> Path:
    """The four files, of 100 training drawings and 20 test drawings with their labels."""
    folder.mkdir(parents=True)
    images, labels = drawings(120), np.arange(120, dtype=np.uint8) % 10
    for part, indices in (("train", slice(0, 100)), ("t10k", slice(100, 120))):
        shape = images[indices].shape
        content = {"images-idx3": struct.pack(">IIII", 0x803, *shape) + images[indices].tobytes()}
        content["labels-idx1"] = struct.pack(">II", 0x801, shape[0]) + labels[indices].tobytes()
        for kind, data in content.items():
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(data))
    return folder
