"""Run-length encoded BMPs: their cost is bounded, and their decoding can be stopped."""

import struct
import threading
import time

import numpy as np
import pytest

from service.codecs import images
from service.errors import InvalidInput, TooLarge
from service.interruption import Interruption, interruptible


def run_length_bmp(width: int, height: int, runs: bytes) -> bytes:
    """8 bits, a grey palette."""
    palette = b"".join(bytes([level, level, level, 0]) for level in range(256))
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 2835, 2835, 256, 0)
    start = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + info + palette + runs


def test_an_honest_one_is_read() -> None:
    data = run_length_bmp(300, 20, (b"\xff\x07\x2d\x09\0\0") * 20 + b"\0\1")
    (picture,) = images.decode(data, images.inspect(data, 10**6, "image"), "image")
    assert picture.pixels.shape == (20, 300, 1)
    assert np.unique(picture.pixels).tolist() == [7, 9]


def test_rows_that_break_off_and_runs_of_nothing_are_refused_from_the_header() -> None:
    short_rows = run_length_bmp(60_000, 1000, b"\x01\x05\0\0" * 1000 + b"\0\1")  # 5 KB; ten seconds
    with pytest.raises(TooLarge, match=r"image is a run-length encoded BMP of 60 Mpixel; the limit of these is 16"):
        images.inspect(short_rows, 120_000_000, "image")
    with pytest.raises(InvalidInput, match="more runs than pixels"):
        images.inspect(run_length_bmp(8, 8, b"\0\2\0\0" * 100_000), 120_000_000, "image")


def test_decoding_ends_when_its_thread_is_interrupted() -> None:
    data = run_length_bmp(4000, 4000, b"\x01\x05" * 16_000_000)
    header, interruption = images.inspect(data, 120_000_000, "image"), Interruption()
    threading.Timer(0.3, interruption.stop).start()
    start = time.perf_counter()
    with interruptible(interruption), pytest.raises(InvalidInput):
        images.decode(data, header, "image")
    assert time.perf_counter() - start < 3
