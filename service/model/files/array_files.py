"""Array files of a package: `.npz`, neither compressed nor pickled.

arrays by name -> to_bytes -> file of a package -> read_arrays -> arrays by name
"""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def to_bytes(arrays: Mapping[str, Array]) -> bytes:
    """The file: the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub allows other keywords
    return buffer.getvalue()


def read_arrays(data: bytes) -> dict[str, Array]:
    """Arrays by name. Raises ValueError: it is compressed, pickled, cut or no .npz."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            is_compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in file.infolist())
        if not is_compressed:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return {name: np.asarray(arrays[name]) for name in arrays.files}
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError("it is not an uncompressed .npz of plain arrays") from error
    raise ValueError("it is compressed; it must not be")
