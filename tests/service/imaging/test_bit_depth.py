"""Black and white, and few grey levels: when a page gets them, and that nothing else changes."""

import io
from typing import Any

import numpy as np
import pikepdf
import pytest
from PIL import Image
from starlette.testclient import TestClient

from service.imaging.bit_depth import fits, has_grey_areas, reduce_bits
from service.imaging.picture import Metadata, Picture
from tests.service.denoisers import decode_pages, denoise_url, send
from tests.service.http import picture, refused
from tests.service.pdf_files import render_page, write_pdf

PDF = {"Content-Type": "application/pdf"}


def page(height: int = 120, width: int = 160) -> np.ndarray:
    """Black bars on white, uint8 [H,W,1]."""
    pixels = np.full((height, width, 1), 255, np.uint8)
    pixels[10:-10:12, 10:-10] = pixels[11:-10:12, 10:-10] = 0
    return pixels


def bilevel(form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(page()[:, :, 0]).convert("1").save(buffer, form, **options)
    return buffer.getvalue()


def test_edges_are_no_grey_areas_and_photographs_are() -> None:
    pixels = page()
    pixels[12:-10:12, 10:-10] = 128
    assert not has_grey_areas(pixels)
    pixels[20:60, 20:60] = 150
    assert has_grey_areas(pixels)
    assert not has_grey_areas(np.full((4, 900, 1), 128, np.uint8)), "too narrow to be an area"


def test_a_page_of_one_bit_stays_one_unless_grey_is_left() -> None:
    source = Metadata(bits=1)
    edges = page()
    edges[12:-10:12, 10:-10] = 100
    reduced = reduce_bits(Picture(edges, source), None)
    assert set(np.unique(reduced.pixels)) == {0, 255}
    assert reduced.metadata.bits == 1
    photograph = page()
    photograph[20:60, 20:60, 0] = np.arange(100, 140)
    reduced = reduce_bits(Picture(photograph, source), None)
    assert reduced.metadata.bits == 4
    assert np.abs(reduced.pixels.astype(int) - photograph).max() <= 8
    plain = Picture(edges)
    assert reduce_bits(plain, None) is plain


def test_black_and_white_on_request_keeps_pale_ink_and_blank_pages() -> None:
    pale = np.where(page() == 0, 190, 250).astype(np.uint8)
    np.testing.assert_array_equal(reduce_bits(Picture(pale), 1).pixels, page())
    blank = np.random.default_rng(0).integers(240, 256, (50, 60, 1)).astype(np.uint8)
    assert (reduce_bits(Picture(blank), 1).pixels == 255).all()
    assert (reduce_bits(Picture(255 - blank), 1).pixels == 0).all()
    colour = np.repeat(page(), 3, axis=2)
    colour[:, :, 2] = 255
    np.testing.assert_array_equal(reduce_bits(Picture(colour), 1).pixels, page())
    deep = Picture(page().astype(np.uint16) * 16, white=4080)
    np.testing.assert_array_equal(reduce_bits(deep, 8).pixels, page())
    assert reduce_bits(Picture(colour), 4).pixels.shape[2] == 3, "colours stay"


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_levels_of_few_bits_are_recognized(bits: int) -> None:
    levels = (np.arange(2**bits) * (255 // (2**bits - 1))).astype(np.uint8)
    assert fits(levels, bits)
    assert not fits(levels + np.uint8(1), bits)


@pytest.mark.parametrize(
    ("form", "options", "media_type"),
    [("TIFF", {"compression": "group4"}, "image/tiff"), ("TIFF", {}, "image/tiff"), ("PNG", {}, "image/png"),
     ("BMP", {}, "image/png")],
)  # fmt: skip
def test_a_file_of_one_bit_comes_back_as_one_bit(
    denoisers: TestClient, form: str, options: dict[str, Any], media_type: str
) -> None:
    data = bilevel(form, **options)
    for model, query, expected in (("negative", "", 255 - page()), ("negative", "?strength=0", page())):
        response = send(denoisers, model, data, query, Accept=media_type)
        answer = Image.open(io.BytesIO(response.content))
        assert answer.mode == "1"
        if form == "TIFF":
            assert answer.info["compression"] == "group4"
        np.testing.assert_array_equal(np.asarray(answer.convert("L")), expected[:, :, 0])
    assert Image.open(io.BytesIO(send(denoisers, "negative", data, "?bits=8", Accept=media_type).content)).mode == "L"


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("media_type", ["image/tiff", "image/png"])
def test_files_of_two_and_four_bits_come_back_so(denoisers: TestClient, bits: int, media_type: str) -> None:
    import pyvips

    levels = np.random.default_rng(0).integers(0, 2**bits, (50, 60, 1)).astype(np.uint8) * np.uint8(
        255 // (2**bits - 1)
    )
    image = pyvips.Image.new_from_memory(levels, 60, 50, 1, "uchar").copy(interpretation="b-w")
    save = image.tiffsave_buffer if media_type == "image/tiff" else image.pngsave_buffer
    response = send(denoisers, "negative", bytes(save(bitdepth=bits)), "?strength=0")
    (answer,) = decode_pages(response.content)
    assert answer.metadata.bits == bits
    np.testing.assert_array_equal(answer.pixels, levels)


def test_bits_on_request(denoisers: TestClient) -> None:
    grey = np.where(page() == 0, 60, 220).astype(np.uint8)
    response = send(denoisers, "negative", picture(grey[:, :, 0]), "?bits=1")
    answer = Image.open(io.BytesIO(response.content))
    assert answer.mode == "1"
    np.testing.assert_array_equal(np.asarray(answer.convert("L")), 255 - page()[:, :, 0])
    response = send(denoisers, "negative", picture(grey[:, :, 0]), "?bits=1", Accept="application/x-npy")
    np.testing.assert_array_equal(np.load(io.BytesIO(response.content))[0], 255 - page())
    refused(
        denoisers.post(denoise_url("page", "?bits=3"), content=picture()), 422, "bits is '3'; allowed are 1, 4 or 8"
    )


def test_a_pdf_of_pages_of_one_bit_stays_one(denoisers: TestClient) -> None:
    dots = np.random.default_rng(0).random((12, 18)) < 0.5
    blots = np.where(dots, 0, 255).astype(np.uint8).repeat(10, 0).repeat(10, 1)
    blots[np.random.default_rng(1).random(blots.shape) < 0.002] = 0
    for sheet in (page()[:, :, 0], blots):
        buffer = io.BytesIO()
        Image.fromarray(sheet).convert("1").save(buffer, "PDF", resolution=72)
        response = denoisers.post(denoise_url("negative", "?dpi=72"), content=buffer.getvalue(), headers=PDF)
        assert response.status_code == 200, response.text
        with pikepdf.open(io.BytesIO(response.content)) as document:
            assert int(document.pages[0].Resources.XObject.Page.BitsPerComponent) == 1
        np.testing.assert_array_equal(render_page(response.content)[:, :, 0], 255 - sheet)


def test_a_pdf_becomes_black_and_white_on_request(denoisers: TestClient) -> None:
    grey = write_pdf((np.where(page() == 0, 60, 220).astype(np.uint8)[:, :, 0], (160, 120)))
    response = denoisers.post(denoise_url("negative", "?dpi=72&bits=1"), content=grey, headers=PDF)
    np.testing.assert_array_equal(render_page(response.content)[:, :, 0], 255 - page()[:, :, 0])
    refused(denoisers.post(denoise_url("page", "?white=9"), content=grey, headers=PDF), 422, "white is for pictures")
