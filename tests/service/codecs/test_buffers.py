import io

import numpy as np
import pytest

from service.codecs import arrays, buffers
from tests.service.steps import MIB, peak_memory


@pytest.mark.parametrize("size", [0, 1, buffers.SLICE_BYTES, buffers.SLICE_BYTES + 1, 3 * buffers.SLICE_BYTES - 1])
def test_parts_of_any_size_and_item_are_joined(size: int) -> None:
    data = np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()
    numbers = np.arange(size, dtype=np.float32)
    assert buffers.join_in_slices((b"head", data, numbers.data)) == b"head" + data + numbers.tobytes()


def test_a_joined_buffer_is_in_memory_once() -> None:
    data = bytes(32 * MIB)
    assert peak_memory(lambda: buffers.join_in_slices((data,))) < 1.2 * len(data)


def test_a_large_npy_is_what_numpy_reads() -> None:
    array = np.random.default_rng(0).normal(size=(3, 300_000)).astype(np.float32)
    for example in (array, array.T):
        np.testing.assert_array_equal(np.load(io.BytesIO(arrays.write_npy(example))), example)


def test_appending_in_slices() -> None:
    output = bytearray(b"a")
    data = np.random.default_rng(0).integers(0, 256, 5 * MIB // 2, np.uint8).tobytes()
    buffers.append_in_slices(output, data)
    buffers.append_in_slices(output, b"")
    assert output == b"a" + data
