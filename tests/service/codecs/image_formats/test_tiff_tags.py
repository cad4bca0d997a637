"""Tags of TIFFs: those that stay true are kept, the loss of the others is said."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from service.codecs import images
from service.codecs.image_formats import tiff, tiff_tags
from service.codecs.image_formats.tiff_tags import Tag
from service.imaging.picture import Picture
from tests.service.denoisers import decode_pages, pixels, send

GEOREFERENCE: dict[int, Tag] = {
    33550: Tag(33550, 12, 3, struct.pack("<3d", 10, 10, 0)),
    33922: Tag(33922, 12, 6, struct.pack("<6d", 0, 0, 0, 500000, 4500000, 0)),
    34735: Tag(34735, 3, 8, struct.pack("<8H", 1, 1, 0, 1, 1024, 0, 1, 1)),
    42113: Tag(42113, 2, 6, b"-9999\0"),
}
EXIF = Tag(34665, 4, 1, b"", (Tag(33434, 5, 1, struct.pack("<2I", 1, 60)), Tag(36867, 2, 20, b"2026:11:30 10:00:00\0")))
TEXTS = {
    305: Tag(305, 2, 8, b"Scanner\0"),
    271: Tag(271, 2, 5, b"Acme\0"),
    306: Tag(306, 2, 20, b"2026:11:30 10:00:00\0"),
}


def write(array: Any, tags: dict[int, Tag]) -> bytes:
    return tiff_tags.restore_tags(images.encode(Picture(array), "image/tiff"), tags)


def to_motorola(data: bytes) -> bytes:
    """A TIFF of one uncompressed page, in the other byte order, by Pillow."""
    source = Image.open(io.BytesIO(data))
    buffer = io.BytesIO()
    from PIL import TiffImagePlugin

    info = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"MM")
    for number in (305, 33550, 34735):
        info[number] = source.tag_v2[number]  # type: ignore[attr-defined]
    source.save(buffer, "TIFF", tiffinfo=info)
    return buffer.getvalue()


def tags_of(data: bytes) -> dict[int, Tag]:
    return dict(tiff_tags.read_tags(data, tiff.list_pages(data, 9)[0].offset).kept)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_georeference_device_and_exif_come_back(denoisers: TestClient, dtype: Any) -> None:
    array = (pixels(np.uint8, 1) / 255).astype(dtype) if dtype == np.float32 else pixels(dtype, 1)
    tags = {**GEOREFERENCE, **TEXTS, 34665: EXIF}
    response = send(denoisers, "page", write(array, tags))
    assert tags_of(response.content) == tags
    assert "dropped-metadata" not in response.headers
    answer: Any = Image.open(io.BytesIO(response.content))
    assert answer.tag_v2[33550] == (10, 10, 0)
    assert answer.getexif().get_ifd(34665)[36867] == "2026:11:30 10:00:00"
    assert 282 not in answer.tag_v2, "no resolution is made up"


def test_pages_have_their_own_tags_wherever_they_are_moved(denoisers: TestClient) -> None:
    names = [Tag(285, 2, 9, b"page %03d\0" % number) for number in range(3)]
    files = [write(pixels(np.uint8, 3), {285: name, 34665: EXIF, **GEOREFERENCE}) for name in names]
    response = send(denoisers, "page", tiff.join_pages(files))
    found = tiff.list_pages(response.content, 9)
    for directory, name in zip(found, names, strict=True):
        assert tiff_tags.read_tags(response.content, directory.offset).kept == {285: name, 34665: EXIF, **GEOREFERENCE}


def test_the_other_byte_order_is_read() -> None:
    data = to_motorola(write(pixels(np.uint8, 1), {**GEOREFERENCE, **TEXTS}))
    tags = tags_of(data)
    assert data.startswith((b"MM", b"II"))
    assert tags[33550].value == GEOREFERENCE[33550].value
    assert tags[34735].value == GEOREFERENCE[34735].value


def swap(data: bytes) -> bytes:
    """A directory of one SHORT, one RATIONAL and one DOUBLE in Motorola's order, no pixels."""
    return (
        b"MM\0*" + struct.pack(">I", 8) + struct.pack(">H", 3) + struct.pack(">HHIHH", 297, 3, 2, 1, 5)
        + struct.pack(">HHII", 282, 5, 1, 50) + struct.pack(">HHII", 33550, 12, 1, 58) + b"\0\0\0\0"
        + struct.pack(">II", 300, 1) + struct.pack(">d", 2.5)
    )  # fmt: skip


def test_values_are_kept_in_little_endian_order() -> None:
    tags = tiff_tags.read_tags(swap(b""), 8).kept
    assert tags[297].value == struct.pack("<HH", 1, 5)
    assert tags[282].value == struct.pack("<II", 300, 1)
    assert tags[33550].value == struct.pack("<d", 2.5)


def test_a_turned_page_has_no_georeference_and_its_resolution_is_turned(denoisers: TestClient) -> None:
    resolution = {
        282: Tag(282, 5, 1, struct.pack("<2I", 300, 1)), 283: Tag(283, 5, 1, struct.pack("<2I", 150, 1)),
        296: Tag(296, 3, 1, b"\2\0"), 274: Tag(274, 3, 1, b"\6\0"),
    }  # fmt: skip
    response = send(denoisers, "page", write(pixels(np.uint8, 1), {**GEOREFERENCE, **resolution, **TEXTS}))
    kept = tags_of(response.content)
    assert 33550 not in kept
    assert kept[282].value == resolution[283].value
    assert kept[283].value == resolution[282].value
    assert kept[305] == TEXTS[305]
    assert response.headers["dropped-metadata"] == "ModelPixelScale, ModelTiepoint, GeoKeyDirectory"


def test_what_may_be_false_is_dropped_by_name(denoisers: TestClient) -> None:
    private = {50999: Tag(50999, 4, 1, b"\1\2\3\4"), 37724: Tag(37724, 7, 4, b"8BIM"), **TEXTS}
    data = write(pixels(np.uint8, 1), private)
    response = send(denoisers, "page", data)
    assert response.headers["dropped-metadata"] == "Photoshop layers, tag 50999"
    assert tags_of(response.content) == TEXTS
    response = send(denoisers, "page", write(pixels(np.uint8, 1), {**GEOREFERENCE, **TEXTS}), Accept="image/png")
    assert "ModelPixelScale" in response.headers["dropped-metadata"]


def test_the_meaning_of_a_fourth_channel_stays(denoisers: TestClient) -> None:
    for meaning in (0, 2):
        extra = {338: Tag(338, 3, 1, bytes([meaning, 0]))}
        sent = pixels(np.uint8, 4)
        response = send(denoisers, "negative", write(sent, extra), "?strength=0")
        answer: Any = tags_of(response.content)
        assert answer[338] == extra[338]
        np.testing.assert_array_equal(decode_pages(response.content)[0].pixels, sent)


def test_broken_entries_are_left_out() -> None:
    data = bytearray(write(pixels(np.uint8, 1), {**GEOREFERENCE, 34665: EXIF}))
    directory = tiff.list_pages(bytes(data), 1)[0].offset
    for position in range(directory + 2, directory + 2 + 12 * 12, 12):
        broken = bytearray(data)
        struct.pack_into("<I", broken, position + 4, 2**31)
        struct.pack_into("<I", broken, position + 8, len(data) - 1)
        tiff_tags.read_tags(bytes(broken), directory)
    itself = bytearray(data)
    for position in range(directory + 2, directory + 2 + 12 * 30, 12):
        if struct.unpack_from("<H", itself, position)[0] == 34665:
            struct.pack_into("<I", itself, position + 8, directory)
            break
    assert 34665 in tiff_tags.read_tags(bytes(itself), directory).kept
