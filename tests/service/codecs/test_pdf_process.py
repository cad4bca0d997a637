"""The process that renders a PDF: pixels of a scan, documents that exhaust it, spoilt documents."""

import io
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pikepdf
import pytest

from service.codecs.pdf import Limits
from service.errors import InvalidInput
from tests.abuse import pdfs
from tests.service.pdf_files import FIELD, SMOOTH, open_reader, write_form, write_pdf


@pytest.mark.parametrize("points", [(595.2, 841.92), (595.2756, 841.8898), (408, 528), (123.12, 77.76)])
def test_a_scan_of_the_same_resolution_comes_pixel_by_pixel(points: tuple[float, float]) -> None:
    width, height = (round(side * 100 / 72) for side in points)
    scan = np.random.default_rng(3).integers(0, 256, (height, width), dtype=np.uint8)
    with open_reader(write_pdf((scan, points))) as reader:
        np.testing.assert_array_equal(reader.render_page(1, 100).pixels[:, :, 0], scan)


def test_a_page_that_wants_too_much_memory_ends_its_own_reader_only() -> None:
    data = write_pdf((SMOOTH, (72, 72)))
    small = Limits(10, 10**9, 50_000, 20, 1 << 26)
    with (
        open_reader(data, small) as reader,
        pytest.raises(InvalidInput, match=r"page 1 of the PDF .*, which may have 64 M"),
    ):
        reader.render_page(1, 20_000)  # 20000x20000 pixels of three bytes


def ink(data: bytes, dpi: int = 72) -> np.ndarray:
    """bool [H,W]: where page 1 is not white."""
    with open_reader(data) as reader:
        return np.asarray((reader.render_page(1, dpi).pixels < 250).any(axis=2))


def inside(rectangle: tuple[int, int, int, int], height: int, width: int) -> np.ndarray:
    """bool [H,W]: a rectangle (left, bottom, right, top) of a page, in pixels from its top."""
    left, bottom, right, top = rectangle
    mask = np.zeros((height, width), bool)
    mask[height - top : height - bottom, left:right] = True
    return mask


@pytest.mark.parametrize("kind", ["text", "checked", "radio", "signature", "button", "not printed", "stamp"])
def test_what_a_field_or_a_stamp_looks_like_is_drawn(kind: str) -> None:
    np.testing.assert_array_equal(ink(write_form(kind)), inside(FIELD, 100, 200))


@pytest.mark.parametrize("kind", ["text without appearance", "choice", "list"])
@pytest.mark.parametrize("needs_appearances", [False, True])
def test_a_value_without_an_appearance_is_drawn(kind: str, needs_appearances: bool) -> None:
    drawn = ink(write_form(kind, needs_appearances=needs_appearances))
    assert drawn.sum() > 300
    assert not (drawn & ~inside(FIELD, 100, 200)).any()


@pytest.mark.parametrize("kind", ["hidden", "not for viewers", "unchecked"])
def test_what_a_viewer_does_not_show_is_not_drawn(kind: str) -> None:
    assert not ink(write_form(kind)).any()


@pytest.mark.parametrize("kind", ["text", "stamp"])
def test_fields_lie_where_they_belong_on_pages_that_are_turned_cropped_or_enlarged(kind: str) -> None:
    whole = inside(FIELD, 100, 200)
    np.testing.assert_array_equal(ink(write_form(kind, Rotate=90)), np.rot90(whole, -1))
    np.testing.assert_array_equal(ink(write_form(kind, Rotate=180)), np.rot90(whole, 2))
    cropped = whole[10:90, 20:180]
    np.testing.assert_array_equal(ink(write_form(kind, CropBox=[20, 10, 180, 90])), cropped)
    turned = write_form(kind, CropBox=[20, 10, 180, 90], Rotate=270)
    np.testing.assert_array_equal(ink(turned), np.rot90(cropped))
    large = ink(write_form(kind, UserUnit=3, Rotate=90))
    np.testing.assert_array_equal(large, np.rot90(whole.repeat(3, 0).repeat(3, 1), -1))


def test_fields_whose_dictionary_was_lost_are_drawn() -> None:
    np.testing.assert_array_equal(ink(write_form("text", has_dictionary=False)), inside(FIELD, 100, 200))


def test_a_dynamic_form_is_refused_and_a_static_one_is_drawn() -> None:
    for is_dynamic in (False, True):
        with pikepdf.open(io.BytesIO(write_form("text"))) as document:
            document.Root.AcroForm.XFA = pikepdf.String("x")
            document.Root.NeedsRendering = is_dynamic
            buffer = io.BytesIO()
            document.save(buffer)
        if is_dynamic:
            with pytest.raises(InvalidInput, match=r"the PDF is a dynamic form \(XFA\).* print it to a PDF"):
                ink(buffer.getvalue())
        else:
            assert ink(buffer.getvalue()).any()


@pytest.mark.parametrize("unit", [0, -2, "text", None])
def test_a_user_unit_that_makes_no_sense_is_one(unit: Any) -> None:
    value = pikepdf.String(unit) if isinstance(unit, str) else pikepdf.Array([1]) if unit is None else unit
    assert ink(write_form("stamp", UserUnit=value)).shape == (100, 200)


def nested_forms(document: pikepdf.Pdf) -> dict[str, Any]:
    """Twelve forms, each of which draws the one before ten times."""
    form: dict[str, Any] = {"Type": pikepdf.Name.XObject, "Subtype": pikepdf.Name.Form, "BBox": [0, 0, 600, 900]}
    inner = pikepdf.Stream(document, b"0 0 500 500 re f", **form)
    for _ in range(12):
        resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(X=inner))
        inner = pikepdf.Stream(document, b"/X Do " * 10, Resources=resources, **form)
    resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(X=inner))
    return {"Resources": resources, "Contents": pikepdf.Stream(document, b"/X Do")}


def megabytes_of_spaces(document: pikepdf.Pdf) -> dict[str, Any]:
    """300 MB of spaces in 300 KB."""
    compressor = zlib.compressobj(9)
    contents = pikepdf.Stream(document, b"")
    data = b"".join([compressor.compress(b" " * (1 << 20)) for _ in range(300)]) + compressor.flush()
    contents.write(data, filter=pikepdf.Name.FlateDecode)
    return {"Contents": contents}


@pytest.mark.parametrize("bomb", [nested_forms, megabytes_of_spaces])
def test_small_documents_that_become_large_end_their_own_reader(bomb: Callable[[pikepdf.Pdf], dict[str, Any]]) -> None:
    document = pikepdf.new()
    page = document.add_blank_page(page_size=(100, 100))
    for name, value in bomb(document).items():
        page[f"/{name}"] = value
    buffer = io.BytesIO()
    document.save(buffer)
    assert buffer.tell() < 400_000
    limits = Limits(10, 10**6, 10_000, 2, 1 << 26)
    with (
        open_reader(buffer.getvalue(), limits) as reader,
        pytest.raises(InvalidInput, match=r"page 1 of the PDF (cann|take)"),
    ):
        reader.render_page(1, 72)


def test_spoilt_documents_are_drawn_or_refused_with_a_sentence() -> None:
    outcomes = pdfs.run(30)
    assert outcomes.total() == 30
    assert 0 < outcomes["drawn"] < 30
    assert outcomes["the PDF cannot be read"] > 0
