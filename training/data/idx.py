"""Reader of IDX, the file format of MNIST: a magic number, big-endian sizes, then uint8 values; gzipped or plain.

file -> read_images | read_labels; folder of train-images*, t10k-images* -> read_folder
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError

LABELS, IMAGES = 0x00000801, 0x00000803  # uint8 of one axis, of three


def read_images(path: Path) -> NDArray[np.uint8]:
    """uint8 [N,H,W]; DataError if `path` is not such a file, or cut off."""
    return _read(path, IMAGES, "images")


def is_packed_idx(path: Path) -> bool:
    """Whether it is a gzip file that begins as IDX does, whatever its name."""
    try:
        with gzip.open(path) as file:
            return file.read(3) == b"\0\0\x08"
    except (OSError, EOFError, zlib.error):
        return False


def read_labels(path: Path) -> NDArray[np.uint8]:
    """uint8 [N]; DataError if `path` is not such a file, or cut off."""
    return _read(path, LABELS, "labels")


def read_folder(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images of train-images* and of t10k-images*, uint8 [N,H,W] each; DataError if one is missing."""
    return read_images(find_file(folder, "train-images*idx3*")), read_images(find_file(folder, "t10k-images*idx3*"))


def find_file(folder: Path, pattern: str) -> Path:
    """The first file of `folder` whose name fits the glob `pattern`; DataError if there is none."""
    files = sorted(folder.glob(pattern))
    if not files:
        raise DataError(f"{folder} looks like an IDX set but has no {pattern}")
    return files[0]


def _read(path: Path, kind: int, name: str) -> NDArray[np.uint8]:
    axes = kind & 0xFF
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        magic, *shape = struct.unpack(f">I{axes}I", data[: 4 * (1 + axes)])
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(f"{path} cannot be read as IDX: {error}") from error
    if magic != kind or len(data) != 4 * (1 + axes) + math.prod(shape):
        raise DataError(f"{path} is not an IDX file of uint8 {name}, or it is cut off")
    return np.frombuffer(data, np.uint8, offset=4 * (1 + axes)).reshape(shape)
