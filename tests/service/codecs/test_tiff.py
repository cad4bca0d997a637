"""Chains of TIFF directories: every flavour, and chains that lead nowhere."""

import io
import struct
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

from service.codecs import images, tiff
from service.errors import InvalidInput, NotAcceptable, UnsupportedMediaType
from service.imaging.picture import Picture

SHADES = (10, 20, 30)


def pages(form: str) -> bytes:
    """Three pages of the shades above, by other writers than ours."""
    if form == "big":
        stack = np.repeat(np.array(SHADES, np.uint8), 4 * 5).reshape(12, 5, 1)
        image: Any = pyvips.Image.new_from_memory(stack, 5, 12, 1, "uchar").copy(interpretation="b-w")
        return bytes(image.tiffsave_buffer(bigtiff=True, page_height=4))
    mode = "I;16B" if form == "motorola" else "L"
    frames = [Image.new(mode, (5, 4), shade * (257 if mode != "L" else 1)) for shade in SHADES]
    buffer = io.BytesIO()
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def decoded(data: bytes, most: int = 9) -> list[Picture]:
    return images.decode(data, images.inspect(data, 10**6, "it", most), "it")


@pytest.mark.parametrize(("form", "start"), [("intel", b"II*\0"), ("motorola", b"MM\0*"), ("big", b"II+\0")])
def test_pages_are_found_in_their_order(form: str, start: bytes) -> None:
    data = pages(form)
    assert data.startswith(start)
    assert len(tiff.directories(data, 9)) == 3
    assert len(tiff.directories(data, 1)) == 2
    for picture, shade in zip(decoded(data), SHADES, strict=True):
        assert picture.pixels.shape == (4, 5, 1)
        assert (picture.pixels == shade * (257 if picture.pixels.dtype == np.uint16 else 1)).all()


def test_one_page_alone_is_for_the_length_of_the_block() -> None:
    data = pages("intel")
    whole = bytearray(data)
    last = tiff.directories(data, 9)[2]
    with tiff.alone(whole, last):
        assert [d.offset for d in tiff.directories(bytes(whole), 9)] == [last.offset]
    assert whole == data


def test_a_chain_that_runs_in_a_circle_or_out_of_the_file_ends_there() -> None:
    data = bytearray(pages("intel"))
    first, _, last = tiff.directories(bytes(data), 9)
    for offset in (first.offset, len(data) + 5):
        struct.pack_into("<I", data, last.link, offset)
        assert len(decoded(bytes(data))) == 3
    for nonsense in (b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08"):
        assert tiff.directories(nonsense, 9) == []
        with pytest.raises(InvalidInput if nonsense else UnsupportedMediaType):
            images.inspect(nonsense, 10**6, "it", 9)


def test_one_file_is_itself_and_more_than_tiff_can_address_is_refused() -> None:
    assert tiff.joined([b"x"]) == b"x"

    class Vast(bytes):
        def __len__(self) -> int:
            return 2**31

    with pytest.raises(NotAcceptable, match="larger than 4 GiB"):
        tiff.joined([Vast(), Vast()])
