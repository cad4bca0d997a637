"""Scans of a JPEG: counted and bounded before they are decoded."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from service.codecs import images, jpeg
from service.errors import TooLarge


def progressive(side: int, **options: object) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", progressive=True, **options)
    return buffer.getvalue()


def repeat_last_scan(data: bytes, times: int) -> bytes:
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last_scan * times + data[-2:]


def test_scans_of_an_honest_progressive_picture_are_counted_and_few() -> None:
    data = progressive(64)
    assert jpeg.count_scans(data, 1000) == data.count(b"\xff\xda") == 10
    assert jpeg.count_scans(repeat_last_scan(data, 20), 1000) == 30
    assert jpeg.count_scans(repeat_last_scan(data, 20), 15) == 15


def test_scans_of_a_thumbnail_and_of_a_second_picture_are_not_counted() -> None:
    data, comment = progressive(32), b"\xff\xda" * 300
    with_comment = data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + data[2:]
    assert jpeg.count_scans(with_comment + data * 20, 1000) == 10
    jpeg.check_scans(with_comment + data * 20, 1024, 10**6, "image")


@pytest.mark.parametrize("end", [b"", b"\xff", b"\xff\xda", b"\xff\xda\xff", b"\xff\xc0\0\0" * 3, b"\0" * 9])
def test_a_broken_file_is_counted_to_its_end(end: bytes) -> None:
    assert jpeg.count_scans(progressive(32)[:-2] + end, 1000) <= 11


def test_a_camera_of_100_megapixels_may_have_twenty_scans_and_no_more_than_the_largest_image_32() -> None:
    data = repeat_last_scan(progressive(32), 10)
    jpeg.check_scans(data, 100_000_000, 120_000_000, "image")
    jpeg.check_scans(repeat_last_scan(data, 12), 120_000_000, 120_000_000, "image")
    with pytest.raises(
        TooLarge, match=r"image 2 has more than 32 scans, which is the limit for its 120 Mpixel"
    ) as error:
        jpeg.check_scans(repeat_last_scan(data, 13), 120_000_000, 120_000_000, "image 2")
    assert error.value.facts == {"limit": 32}
    with pytest.raises(TooLarge, match="more than 100 scans"):
        jpeg.check_scans(repeat_last_scan(data, 100), 1024, 120_000_000, "image")


def test_thousands_of_scans_are_refused_before_any_is_decoded() -> None:
    data = repeat_last_scan(progressive(256), 3000)
    start = time.perf_counter()
    with pytest.raises(TooLarge, match="more than 100 scans, which is the limit"):
        images.inspect(data, 120_000_000, "image")
    assert time.perf_counter() - start < 1
