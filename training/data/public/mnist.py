"""MNIST: `source = "mnist"`, 60,000 handwritten digits to train on and 10,000 to test on, 28x28, ink 255 on 0.

From a data folder if one holds it (download.data_folders), else from Google's copy of the publisher's files.

Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits"; LeCun et al., Proc. IEEE 86 (1998).
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.public import idx
from training.data.public.download import cache, data_folders, fetch

URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
LICENCE = "the publisher states none; commonly distributed under CC BY-SA 3.0 (LeCun, Cortes, Burges, MNIST)"
FILES = {  # file: SHA-256 of the publisher's bytes
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def fetch_folder() -> Path:
    """The folder of the four files; downloads them (11 MB) where no data folder holds them.

    Raises:
        DownloadError, DiskError: as training.data.public.download.fetch.
    """
    for folder in data_folders():
        if all((folder / "mnist" / name).is_file() for name in FILES):
            return folder / "mnist"
    for name, sha256 in FILES.items():
        fetch(URL + name, cache() / "mnist" / name, sha256=sha256)
    return cache() / "mnist"


def read_labels() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The digits 0..9: uint8 [60000] of the training images, uint8 [10000] of the test images, in their order."""
    return tuple(idx.read_labels(fetch_folder() / f"{part}-labels-idx1-ubyte.gz") for part in ("train", "t10k"))  # type: ignore[return-value]
