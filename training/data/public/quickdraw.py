"""Google's Quick, Draw! drawings: `quickdraw/cats`, the very drawings that the published models were trained on.

From a data folder if one holds it ($AUTOENCODER_DATA, ./data, ../shared/data), else from Google's file:
full numpy bitmaps, uint8 [N, 784], ink 255 on 0, CC BY 4.0 (googlecreativelab/quickdraw-dataset).
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.files import numpy_files
from training.data.public.download import cache, data_folders, fetch
from training.errors import DataError

URL = "https://storage.googleapis.com/quickdraw_dataset/full/numpy_bitmap/cat.npy"
LICENCE = "CC BY 4.0 (Google, The Quick, Draw! Dataset)"


def fetch_cats() -> Path:
    """An .npz with `images` uint8 [4960,28,28]; downloads Google's file (97 MB) where no folder holds it."""
    for folder in data_folders():
        if (path := folder / "quickdraw" / "cats.npz").is_file():
            return path
    destination = cache() / "quickdraw" / "cats.npz"
    if not destination.is_file():
        published = fetch(URL, cache() / "quickdraw" / "cat.npy")
        images = select_drawings(numpy_files.read_npy(published))
        part = destination.with_suffix(".part.npz")
        np.savez_compressed(part, images=images)
        part.replace(destination)
    return destination


def select_drawings(bitmaps: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The first 4,000 drawings and every 100th of the first 100,000, without empty ones and exact duplicates.

    Args:
        bitmaps: uint8 [N, 784], Google's file.
    Returns:
        uint8 [n, 28, 28] in the file's order of first appearance.
    """
    if bitmaps.ndim != 2 or bitmaps.shape[1] != 784 or bitmaps.dtype != np.uint8:
        raise DataError(f"Google's file holds {bitmaps.dtype} {list(bitmaps.shape)}, expected uint8 [N, 784]")
    count = len(bitmaps)
    indices = [*range(min(4000, count)), *range(4000, min(100_000, count), 100)]
    drawings = np.ascontiguousarray(bitmaps[indices])
    drawings = drawings[drawings.any(axis=1)]
    _, first_places = np.unique(drawings, axis=0, return_index=True)
    return drawings[np.sort(first_places)].reshape(-1, 28, 28)
