"""Reader of IDX, the file format of MNIST: a magic number, big-endian sizes, then uint8 values; gzipped or plain.

file -> read_images | read_labels; folder of train-images*, t10k-images* -> read_folder
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from training.data.memory import check_memory
from training.errors import DataError

CHUNK = 1 << 20  # bytes
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
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic, *shape = struct.unpack(f">I{axes}I", file.read(4 * (1 + axes)))
            size = math.prod(shape) if magic == kind else 0
            check_memory(size, str(path))
            data = _read_exactly(file, size)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(f"{path} cannot be read as IDX: {error}") from error
    if magic != kind or data is None:
        raise DataError(f"{path} is not an IDX file of uint8 {name}, or it is cut off")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_exactly(file: gzip.GzipFile | BinaryIO, size: int) -> bytearray | None:
    """The remaining bytes, None unless they are `size`. Memory grows with what there is, not with what is declared."""
    data = bytearray()
    while chunk := file.read(min(CHUNK, size + 1 - len(data))):
        data += chunk
    return data if len(data) == size else None
