"""Range of a picture's values: which number is white, found in the pixels or said by the file or the request.

pictures of one file -> find_white -> white, in the units of the pixels -> to_model_input, apply_correction

Cameras and microscopes put 10, 12 or 14 bits into 16, and programs write floats from 0 to 1. A model that takes 65535
for white sees 16 grey levels of 12 bits. Black is 0.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidInput

Array = NDArray[Any]

BITS = (8, 10, 12, 14, 16, 20, 24, 28, 32)  # of whole numbers of more than 8 bits
_FLOAT_RANGES = (  # (largest value, white): 0..1 and darker pictures; beyond 1 may be noise; then whole numbers
    *((4.0**-n, 4.0**-n) for n in (4, 3, 2, 1)), (2.0, 1.0), *((2.0**bits - 1,) * 2 for bits in (8, 10, 12, 14, 16)),
)  # fmt: skip
MAX_HOT_SHARE = 1e-4  # of the pixels: hot ones of a camera do not make the others dark
_MAX_NEGATIVE_SHARE = 0.1  # of the pixels below -1/8 of white: noise around black has fewer
_BAND_NUMBERS = 1 << 22  # numbers compared at once


def largest_white(dtype: np.dtype[Any]) -> float:
    """White where nothing else is known: the type's largest number, 1 of floats."""
    return 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)


def find_white(arrays: Sequence[Array], label: str, max_sample: int | None = None) -> float:
    """White of colours [H,W,B], without alpha, of one type; the same for all pages of a file.

    Whole numbers have the fewest bits of BITS that hold all pixels but hot ones, and at least those of `max_sample`,
    what the file says is the largest value, if it is not wrong. uint8 has 255.

    Raises:
        InvalidInput: black or white is not known; the sentence names the file by `label` (422).
    """
    dtype = arrays[0].dtype
    if dtype == np.uint8:
        return 255.0
    if dtype.kind == "f":
        ranges: tuple[tuple[float, float], ...] = _FLOAT_RANGES
    else:
        limits = [float(2**bits - 1) for bits in BITS if bits <= 8 * dtype.itemsize]
        least = 0 if max_sample is None or _count(arrays, np.greater, max_sample) else max_sample
        ranges = tuple((limit, limit) for limit in limits if limit >= least)
    total = sum([array.size for array in arrays])
    allowed = int(total * MAX_HOT_SHARE)
    white = None
    for limit, value in reversed(ranges):
        if _count(arrays, np.greater, limit) > allowed:
            break
        white = value
    if white is None:
        peak = max(float(array[np.isfinite(array)].max(initial=0)) for array in arrays)
        raise InvalidInput(f"{label} has pixels up to {peak:g}, and which is white is not known: say it with ?white=")
    if dtype.kind != "u" and _count(arrays, np.less, -white / 8) > total * _MAX_NEGATIVE_SHARE:
        least_value = min(float(array[np.isfinite(array)].min(initial=0)) for array in arrays)
        raise InvalidInput(
            f"{label} has pixels from {least_value:g}, and which is black is not known: add a number, so that black "
            "is 0"
        )
    return white


def _count(arrays: Sequence[Array], compare: Any, limit: float) -> int:
    """Numbers for which `compare(number, limit)`; NaN and infinity are none."""
    count = 0
    for array in arrays:
        rows = max(1, _BAND_NUMBERS // max(1, array[0].size))
        for top in range(0, len(array), rows):
            band = array[top : top + rows]
            found = compare(band, limit)
            count += int(np.count_nonzero(found & np.isfinite(band) if band.dtype.kind == "f" else found))
    return count
