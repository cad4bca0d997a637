"""Segments of a JPEG: scans are bounded, a missing end is no damage, what is beside the picture is named."""

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.codecs import images
from service.codecs.image_formats import jpeg
from service.errors import InvalidInput, TooLarge
from tests.service import picture_files
from tests.service.picture_files import GAIN_MAP_XMP, gradient, png_chunks, saved

CASES = Path(__file__).parents[3] / "cases"
KINDS = {
    "baseline": {}, "progressive": {"progressive": True}, "restarts": {"restart_marker_rows": 1},
    "4:4:4": {"subsampling": 0}, "optimized": {"optimize": True},
}  # fmt: skip


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


# --- the end of a file ------------------------------------------------------------------------------------


def field_names(data: bytes) -> list[str]:
    (picture,) = images.decode(data, images.inspect(data, 10**6, "image"), "image")
    return [name for _, name, _ in picture.metadata.fields]


def read(data: bytes) -> np.ndarray:
    (picture,) = images.decode(data, images.inspect(data, 10**6, "image"), "image")
    return picture.pixels


@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [b"", b"\xff", b"\0" * 20, b"\xff" * 20, b"\r\n", b"\0", b"\0\xff\0\xff"])
def test_a_jpeg_without_its_end_marker_is_read_if_every_row_is_there(kind: str, end: bytes, *, grey: bool) -> None:
    options: Any = KINDS[kind]
    whole = saved(gradient()[..., 0] if grey else gradient(), "JPEG", quality=90, **options)
    np.testing.assert_array_equal(read(whole[:-2] + end), read(whole))


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_that_lacks_as_little_as_a_byte_of_its_rows_is_refused(kind: str) -> None:
    options: Any = KINDS[kind]
    whole = saved(gradient(), "JPEG", quality=90, **options)
    for missing in (1, 2, 3, 10, 30, len(whole) // 3):
        with pytest.raises(InvalidInput, match="damaged or cut off"):
            read(whole[: -2 - missing])


def test_a_progressive_jpeg_that_lacks_its_last_scan_is_refused() -> None:
    whole = saved(gradient(), "JPEG", quality=90, progressive=True)
    with pytest.raises(InvalidInput, match="damaged or cut off"):
        read(whole[: whole.rindex(b"\xff\xda")])
    assert list(jpeg.complete(whole[: whole.rindex(b"\xff\xda")])) == []
    assert list(jpeg.complete(whole)) == []


def test_whether_an_arithmetic_coded_jpeg_is_whole_cannot_be_seen_so_it_needs_its_end() -> None:
    data = (CASES / "arithmetic.jpg").read_bytes()
    assert read(data).shape == (24, 32, 3)
    assert read(data + b"\0" * 9).shape == (24, 32, 3)
    with pytest.raises(InvalidInput, match="damaged or cut off"):
        read(data[:-2])


# --- what is beside the picture ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("segment", "name"),
    [
        (b"\xff\xe2MPF\0II*\0", "further pictures (MPF)"),
        (b"\xff\xe2urn:iso:std:iso:ts:21496:-1\0\0\0\0\0", "gain map"),
        (b"\xff\xe1http://ns.adobe.com/xmp/extension/\0" + b"0" * 40, "extended XMP"),
        (b"\xff\xebJP\0\1\0\0\0\1\0\0\0\x20jumb", "content credentials (C2PA)"),
        (b"\xff\xe1http://ns.adobe.com/xap/1.0/\0" + GAIN_MAP_XMP, "gain map"),
    ],
)
def test_what_belongs_to_the_old_pixels_is_dropped_and_named(segment: bytes, name: str) -> None:
    data = picture_files.jpeg(segments=(segment,)) + picture_files.jpeg()
    (picture,) = images.decode(data, images.inspect(data, 10**6, "image"), "image")
    assert picture.metadata.dropped == (name,)
    for media_type in ("image/jpeg", "image/png", "image/webp"):
        answer, dropped = images.encode_and_report(picture, media_type)
        assert dropped == (name,)
        for announcement in (b"MPF\0", b"21496", b"hdr-gain-map", b"jumb", b"xmp/extension"):
            assert announcement not in answer
        if GAIN_MAP_XMP in segment:
            assert "xmp-data" in field_names(answer)


def test_the_thumbnail_of_the_old_picture_is_dropped_and_named() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    blob = exif.tobytes()
    small = saved(gradient(12, 16), "JPEG")
    # a second directory with the thumbnail's place and length
    head, body = blob[:6], bytearray(blob[6:])
    order = ">" if body.startswith(b"MM") else "<"
    first = 8 if body[8:10] != b"" else 0
    import struct

    (count,) = struct.unpack_from(order + "H", body, first)
    link, second = first + 2 + 12 * count, len(body)
    struct.pack_into(order + "I", body, link, second)
    start = second + 2 + 12 * 3 + 4
    body += struct.pack(order + "H", 3)
    body += struct.pack(order + "HHIHxx", 0x0103, 3, 1, 6)
    body += struct.pack(order + "HHII", 0x0201, 4, 1, start) + struct.pack(order + "HHII", 0x0202, 4, 1, len(small))
    body += struct.pack(order + "I", 0) + small
    data = saved(gradient(), "JPEG", exif=head + bytes(body))
    assert small in data
    (picture,) = images.decode(data, images.inspect(data, 10**6, "image"), "image")
    assert picture.metadata.dropped == ("thumbnail",)
    answer = images.encode(picture, "image/jpeg")
    assert small not in answer
    assert Image.open(io.BytesIO(answer)).getexif()[0x010F] == "Camera"
    assert b"eXIf" in png_chunks(images.encode(picture, "image/png"))
