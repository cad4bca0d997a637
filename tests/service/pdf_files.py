"""PDFs for tests, and what is in them."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pikepdf
import pypdfium2

from service.codecs.pdf import Limits, Reader

LIMITS = Limits(pages=10, pixels=4_000_000, side=10_000, seconds=20, memory=1 << 30)
COLOUR = np.random.default_rng(2).integers(0, 256, (30, 50, 3), dtype=np.uint8)
SMOOTH = np.repeat(np.arange(0, 240, 4, dtype=np.uint8), 40).reshape(60, 40)


def write_pdf(*pages: tuple[np.ndarray, tuple[float, float]], **rotations: int) -> bytes:
    """Pages of pictures [H,W] or [H,W,3], each with its size in points; `rotations`: page1=90."""
    document = pikepdf.new()
    for number, (pixels, size) in enumerate(pages, 1):
        height, width = pixels.shape[:2]
        space = pikepdf.Name.DeviceGray if pixels.ndim == 2 else pikepdf.Name.DeviceRGB
        image = pikepdf.Stream(
            document,
            pixels.tobytes(),
            Type=pikepdf.Name.XObject,
            Subtype=pikepdf.Name.Image,
            Width=width,
            Height=height,
            ColorSpace=space,
            BitsPerComponent=8,
        )
        page = document.add_blank_page(page_size=size)
        page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(Im=image))
        page.Contents = pikepdf.Stream(document, b"q %f 0 0 %f 0 0 cm /Im Do Q" % size)
        page.Rotate = rotations.get(f"page{number}", 0)
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def render_page(data: bytes, number: int = 0, dpi: int = 72) -> np.ndarray:
    """uint8 [H,W,3], by PDFium in this process."""
    page = pypdfium2.PdfDocument(data)[number]
    return np.asarray(page.render(scale=dpi / 72, rev_byteorder=True).to_numpy())


def page_sizes(data: bytes) -> list[tuple[float, float]]:
    document = pypdfium2.PdfDocument(data)
    return [document.get_page_size(number) for number in range(len(document))]


FIELD = (40, 20, 140, 60)  # the rectangle of the annotation in `write_form`, of a page of 200 x 100
BLUE = b"0 0 1 rg 0 0 100 40 re f"


def write_form(kind: str, *, has_dictionary: bool = True, needs_appearances: bool = False, **page_values: Any) -> bytes:
    """A page of 200 x 100 points with a form field, or a stamp, in FIELD; `page_values`: Rotate, CropBox, UserUnit."""
    document = pikepdf.new()
    page = document.add_blank_page(page_size=(200, 100))

    def appearance(content: bytes = BLUE) -> pikepdf.Stream:
        return pikepdf.Stream(
            document, content, Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Form, BBox=[0, 0, 100, 40]
        )

    states = pikepdf.Dictionary(N=pikepdf.Dictionary(Yes=appearance(), Off=appearance(b" ")))
    normal = pikepdf.Dictionary(N=appearance())
    options = pikepdf.Array([pikepdf.String("one"), pikepdf.String("two")])
    name, text = pikepdf.Name, pikepdf.String
    kinds: dict[str, dict[str, Any]] = {
        "text": {"FT": name.Tx, "V": text("HELLO"), "AP": normal},
        "text without appearance": {"FT": name.Tx, "V": text("HELLO")},
        "checked": {"FT": name.Btn, "V": name.Yes, "AS": name.Yes, "AP": states},
        "unchecked": {"FT": name.Btn, "V": name.Off, "AS": name.Off, "AP": states},
        "radio": {"FT": name.Btn, "Ff": 1 << 15, "V": name.Yes, "AS": name.Yes, "AP": states},
        "choice": {"FT": name.Ch, "Ff": 1 << 17, "V": text("two"), "Opt": options},
        "list": {"FT": name.Ch, "V": text("two"), "I": pikepdf.Array([1]), "Opt": options},
        "signature": {"FT": name.Sig, "AP": normal},
        "button": {"FT": name.Btn, "Ff": 1 << 16, "AP": normal},
        "stamp": {"Subtype": name.Stamp, "AP": normal},
        "hidden": {"FT": name.Tx, "AP": normal, "F": 2},
        "not for viewers": {"FT": name.Tx, "AP": normal, "F": 32},
        "not printed": {"FT": name.Tx, "AP": normal, "F": 0},
    }
    font = pikepdf.Dictionary(Type=name.Font, Subtype=name.Type1, BaseFont=name.Helvetica)
    annotation = pikepdf.Dictionary(
        Type=name.Annot, Subtype=name.Widget, Rect=list(FIELD), F=4, T=text("field"), DA=text("/F 24 Tf 0 g")
    )
    for key, value in kinds[kind].items():
        annotation[f"/{key}"] = value
    annotation = document.make_indirect(annotation)
    page.Annots = pikepdf.Array([annotation])
    for key, value in page_values.items():
        page[f"/{key}"] = value
    if has_dictionary and kind != "stamp":
        resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F=document.make_indirect(font)))
        document.Root.AcroForm = pikepdf.Dictionary(
            Fields=pikepdf.Array([annotation]), DR=resources, NeedAppearances=needs_appearances
        )
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of a form dictionary that is missing
        document.save(buffer)
    return buffer.getvalue()


@contextmanager
def open_reader(data: bytes, limits: Limits = LIMITS) -> Iterator[Reader]:
    reader = Reader(limits)
    try:
        reader.open(data, 72)
        yield reader
    finally:
        reader.close()
