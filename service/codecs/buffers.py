"""Large buffers, copied in slices: no single step holds the interpreter lock for long.

parts -> join_in_slices -> bytes        an array -> its bytes

One copy of 128 MiB into fresh memory takes 50 to 100 ms, and Python runs nothing else meanwhile: no other thread, and
not the event loop. io.BytesIO grows without copying (mremap) and gives its content away without a copy.
"""

import io
from collections.abc import Iterable

SLICE_BYTES = 1 << 20  # copied in half a millisecond


def join_in_slices(parts: Iterable[bytes | bytearray | memoryview]) -> bytes:
    """`b"".join(parts)`; parts are contiguous."""
    buffer = io.BytesIO()
    for part in parts:
        write_in_slices(buffer, part)
    return buffer.getvalue()


def append_in_slices(output: bytearray, data: bytes) -> None:
    """`output += data`, slice by slice."""
    view = memoryview(data)
    for start in range(0, len(data), SLICE_BYTES):
        output += view[start : start + SLICE_BYTES]


def write_in_slices(buffer: io.BytesIO, data: bytes | bytearray | memoryview) -> None:
    """Append contiguous `data`, slice by slice."""
    view = memoryview(data)
    if view.nbytes <= SLICE_BYTES:
        buffer.write(view)
        return
    view = view.cast("B")
    for start in range(0, view.nbytes, SLICE_BYTES):
        buffer.write(view[start : start + SLICE_BYTES])
