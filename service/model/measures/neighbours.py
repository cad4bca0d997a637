"""Index of neighbours: latents of many samples, among which those nearest to another are found by exact search.

latents, names, pictures -> write_index -> neighbours.npz -> read_index -> Index.find(latents) -> rows, distances

The search is in blocks of at most BLOCK_ROWS rows. For one latent among a million of 32 numbers it took 0.5 s and 18 MB
beside the index, for a hundred 7 s and 140 MB (one thread of a busy machine).
"""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.codecs import arrays
from service.errors import ServiceError
from service.interruption import check_interruption
from service.model.errors import PackageError

INDEX_FILE = "neighbours.npz"
MAX_BYTES = 1 << 29  # of all arrays of an index
MAX_ROWS = 1_000_000
MAX_SIDE = 64  # pixels of a picture's sides
BLOCK_ROWS = 1 << 15
_ALLOWED = {"latents.npy", "names.npy", "pictures.npy"}

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Index:
    """Samples that can be found.

    Args:
        latents: float16 or float32 [M,D].
        names: of the samples; empty: they are called by their row, from 0.
        pictures: uint8 [M,h,w,c], at most MAX_SIDE a side; None: there are none.
    """

    latents: NDArray[Any]
    names: tuple[str, ...] = ()
    pictures: NDArray[np.uint8] | None = None

    def name(self, row: int) -> str:
        return self.names[row] if self.names else str(row)

    def find(self, latents: NDArray[Any], count: int) -> tuple[NDArray[np.int64], Floats]:
        """Rows int64 [N,k] and Euclidean distances float64 [N,k] of the nearest samples, the nearest first.

        Args:
            latents: [N,D].
            count: k, at most the number of samples.
        """
        queries = np.asarray(latents, np.float64)
        count = min(count, len(self.latents))
        best_rows = np.zeros((len(queries), 0), np.int64)
        best = np.zeros((len(queries), 0))
        rows_at_once = max(1, min(BLOCK_ROWS, (1 << 22) // max(1, len(queries))))
        for start in range(0, len(self.latents), rows_at_once):
            check_interruption()
            block = self.latents[start : start + rows_at_once].astype(np.float64)
            squares = (queries**2).sum(1)[:, None] - 2 * queries @ block.T + (block**2).sum(1)
            rows = np.broadcast_to(np.arange(start, start + len(block)), squares.shape)
            squares, rows = np.concatenate([best, squares], 1), np.concatenate([best_rows, rows], 1)
            kept = min(squares.shape[1], count + 8)  # more than are wanted: the sums above round
            places = np.argpartition(squares, kept - 1, axis=1)[:, :kept]
            best, best_rows = np.take_along_axis(squares, places, 1), np.take_along_axis(rows, places, 1)
        exact = np.stack(
            [
                np.linalg.norm(self.latents[rows].astype(np.float64) - query, axis=1)
                for query, rows in zip(queries, best_rows, strict=True)
            ]
        )
        order = np.lexsort((best_rows, exact), axis=1)[:, :count]  # equal distances: the lower row first
        return np.take_along_axis(best_rows, order, 1), np.take_along_axis(exact, order, 1)


def write_index(index: Index) -> bytes:
    """The bytes of an index's file, packed."""
    members: dict[str, NDArray[Any]] = {"latents": index.latents}
    if index.names:
        members["names"] = np.frombuffer("\n".join(index.names).encode(), np.uint8)
    if index.pictures is not None:
        members["pictures"] = index.pictures
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **members)  # type: ignore[arg-type]
    return buffer.getvalue()


def read_index(data: bytes, size: int, label: str) -> Index:
    """The index in a file.

    Args:
        size: D, the numbers of one latent.
        label: what errors call the file.
    Raises:
        PackageError: it is no index, is larger than MAX_BYTES, or is of other latents.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {member.filename: member.file_size for member in archive.infolist()}
            if not set(members) <= _ALLOWED or "latents.npy" not in members or sum(members.values()) > MAX_BYTES:
                raise PackageError(f"{label} is no index of neighbours, or has more than {MAX_BYTES >> 20} MiB")
            read = {name: arrays.read_npy(archive.read(name), f"{label}: {name}") for name in members}
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, OSError, ServiceError) as error:
        raise PackageError(f"{label} is no index of neighbours: {error}") from error
    latents, names, pictures = read["latents.npy"], read.get("names.npy"), read.get("pictures.npy")
    if latents.ndim != 2 or latents.dtype.kind != "f" or not 0 < len(latents) <= MAX_ROWS:
        raise PackageError(f"{label} has latents {latents.dtype} {list(latents.shape)}; they are floats [M,D]")
    if latents.shape[1] != size:
        raise PackageError(f"{label} has latents of {latents.shape[1]} numbers, the model's have {size}")
    if not np.isfinite(latents).all():
        raise PackageError(f"{label} has latents that are not finite")
    texts = () if names is None else tuple(names.tobytes().decode("utf-8", "replace").split("\n"))
    if pictures is not None and (
        pictures.dtype != np.uint8 or pictures.ndim != 4 or max(pictures.shape[1:]) > MAX_SIDE
    ):
        raise PackageError(f"{label} has pictures {pictures.dtype} {list(pictures.shape)}")
    if (texts and len(texts) != len(latents)) or (pictures is not None and len(pictures) != len(latents)):
        raise PackageError(f"{label} has {len(latents)} latents, but other numbers of names or pictures")
    return Index(latents, texts, pictures)


def pack_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names as an index holds them, one line each."""
    return tuple(name.replace("\n", " ")[:500] for name in names)
