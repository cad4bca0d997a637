"""Chains of TIFF directories: every flavour, and chains that lead nowhere."""

import base64
import io
import struct
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image
from starlette.testclient import TestClient

from service.codecs import images
from service.codecs.image_formats import tiff
from service.codecs.image_formats.tiff_tags import Tag, restore_tags
from service.errors import InvalidInput, NotAcceptable
from service.imaging.picture import Picture
from tests.service.denoisers import ALL_DEPTHS, decode_pages, denoise_url, pixels, send
from tests.service.http import refused

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


def decode_all(data: bytes, max_pages: int = 9) -> list[Picture]:
    return images.decode(data, images.inspect(data, 10**6, "it", max_pages), "it")


@pytest.mark.parametrize(("form", "start"), [("intel", b"II*\0"), ("motorola", b"MM\0*"), ("big", b"II+\0")])
def test_pages_are_listed_in_their_order(form: str, start: bytes) -> None:
    data = pages(form)
    assert data.startswith(start)
    assert len(tiff.list_pages(data, 9)) == 3
    assert len(tiff.list_pages(data, 1)) == 2
    for picture, shade in zip(decode_all(data), SHADES, strict=True):
        assert picture.pixels.shape == (4, 5, 1)
        assert (picture.pixels == shade * (257 if picture.pixels.dtype == np.uint16 else 1)).all()


def test_a_page_is_isolated_for_the_length_of_the_block() -> None:
    data = pages("intel")
    file = bytearray(data)
    last = tiff.list_pages(data, 9)[2]
    with tiff.isolate_page(file, last):
        assert [d.offset for d in tiff.list_pages(bytes(file), 9)] == [last.offset]
    assert file == data


def test_a_chain_that_runs_in_a_circle_or_out_of_the_file_ends_there() -> None:
    data = bytearray(pages("intel"))
    first, _, last = tiff.list_pages(bytes(data), 9)
    for offset in (first.offset, len(data) + 5):
        struct.pack_into("<I", data, last.link, offset)
        assert len(decode_all(bytes(data))) == 3
    for nonsense in (b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08"):
        assert tiff.list_pages(nonsense, 9) == []
        with pytest.raises(InvalidInput):
            images.inspect(nonsense, 10**6, "it", 9)


def test_one_file_is_itself_and_more_than_tiff_can_address_is_refused() -> None:
    assert tiff.join_pages([b"x"]) == b"x"

    class Vast(bytes):
        def __len__(self) -> int:
            return 2**31

    with pytest.raises(NotAcceptable, match="larger than 4 GiB"):
        tiff.join_pages([Vast(), Vast()])


def test_pages_of_any_size_and_depth_come_back_as_pages(denoisers: TestClient) -> None:
    sent = [pixels(dtype, bands, 10 + 7 * bands, 30 + bands) for dtype, bands in ALL_DEPTHS]
    data = images.encode_pages([Picture(page) for page in sent])
    response = send(denoisers, "negative", data, "?strength=0")
    assert response.headers["content-type"] == "image/tiff"
    for page, got in zip(sent, decode_pages(response.content), strict=True):
        assert got.pixels.dtype == page.dtype
        np.testing.assert_array_equal(got.pixels, page)
    document = denoisers.post(
        denoise_url("negative", "?strength=0"), content=data, headers={"Accept": "application/json"}
    ).json()
    np.testing.assert_array_equal(decode_pages(base64.b64decode(document["images"][7]))[0].pixels, sent[7])
    for accept in ("image/png", "application/x-npy"):
        answer = denoisers.post(denoise_url("negative"), files={"image": data}, headers={"Accept": accept})
        refused(answer, 406, "has 8 pages; of the image formats only image/tiff holds several")


def test_pages_are_readable_by_others(denoisers: TestClient) -> None:
    pages = [Image.fromarray(pixels(np.uint8, 3, 20 + n)) for n in range(3)]
    for form in ("tiff_lzw", "jpeg", "raw"):
        buffer = io.BytesIO()
        pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:], compression=form)
        answer = Image.open(io.BytesIO(send(denoisers, "photo", buffer.getvalue(), "?strength=0").content))
        assert getattr(answer, "n_frames", 1) == 3
        for number, page in enumerate(pages):
            answer.seek(number)
            assert answer.size == page.size
            if form != "jpeg":
                np.testing.assert_array_equal(np.asarray(answer), np.asarray(page))


def test_pages_have_limits(denoisers: TestClient) -> None:
    tiny, large = Picture(pixels(np.uint8, 1, 3, 3)), Picture(pixels(np.uint8, 1, 300, 300))
    many = images.encode_pages([tiny] * 21)
    refused(denoisers.post(denoise_url("page"), files={"image": many}), 413, "more than 20 pages, which is the limit")
    heavy = images.encode_pages([large] * 4)
    refused(denoisers.post(denoise_url("page"), files={"image": heavy}), 413, "M pixels or numbers; the limit is 0.3 M")
    wide = images.encode_pages([tiny, Picture(pixels(np.uint8, 1, 400, 300))])
    refused(denoisers.post(denoise_url("page"), files={"image": wide}), 413, "the limit is 0.1 Mpixel")
    pair = images.encode_pages([tiny] * 2)
    several = [("image", pair), ("image", pair)]
    refused(denoisers.post(denoise_url("page"), files=several), 422, "has several frames or pages; send one picture")


def chain(*kinds: int, tag: int = 254) -> bytes:
    """Pages of 30x20 whose brightness is 10 times their number, each with that NewSubfileType, or SubfileType."""
    files = []
    for number, kind in enumerate(kinds, 1):
        file = images.encode(Picture(np.full((20, 30, 1), 10 * number, np.uint8)), "image/tiff")
        value = kind.to_bytes(4, "little")
        files.append(restore_tags(file, {tag: Tag(tag, 4 if tag == 254 else 3, 1, value)} if kind else {}))
    return tiff.join_pages(files)


@pytest.mark.parametrize(
    ("data", "shades", "dropped"),
    [
        (chain(0, 1, 1, 1), [10], "reduced-resolution pages"),
        (chain(0, 1, 0, 1), [10, 30], "reduced-resolution pages"),
        (chain(1, 0), [20], "reduced-resolution pages"),
        (chain(0, 4, 1, 5), [10], "transparency masks, reduced-resolution pages"),
        (chain(2, 2), [10, 20], None),
        (chain(1, 2, 3, tag=255), [10, 30], "reduced-resolution pages"),
    ],
    ids=["pyramid", "thumbnail of each", "thumbnail first", "mask", "pages", "old tag"],
)
def test_smaller_copies_and_masks_are_no_pages(
    denoisers: TestClient, data: bytes, shades: list[int], dropped: str | None
) -> None:
    response = send(denoisers, "negative", data, "?strength=0")
    assert [int(page.pixels[0, 0, 0]) for page in decode_pages(response.content)] == shades
    assert response.headers.get("dropped-metadata") == dropped


def test_a_model_of_one_picture_takes_a_pyramid(client: TestClient) -> None:
    assert client.post("/v1/models/small/encode?fit=stretch", content=chain(0, 1, 1)).status_code == 200
    refused(client.post("/v1/models/small/encode?fit=stretch", content=chain(0, 0)), 422, "several frames or pages")


def test_a_file_of_small_copies_alone_is_refused(denoisers: TestClient) -> None:
    refused(denoisers.post(denoise_url("page"), content=chain(1, 1)), 422, "has only reduced-resolution pages")


def test_levels_that_libvips_writes_are_found(denoisers: TestClient) -> None:
    array = pixels(np.uint8, 3, 300, 300)
    image = pyvips.Image.new_from_memory(array, 300, 300, 3, "uchar").copy(interpretation="srgb")
    for options in ({}, {"subifd": True}, {"bigtiff": True}):
        data = bytes(image.tiffsave_buffer(tile=True, pyramid=True, tile_width=64, tile_height=64, **options))
        response = send(denoisers, "negative", data, "?strength=0")
        (page,) = decode_pages(response.content)
        np.testing.assert_array_equal(page.pixels, array)
        assert response.headers["dropped-metadata"] == "reduced-resolution pages"
