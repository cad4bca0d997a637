"""PDFs for tests, and what is in them."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def open_reader(data: bytes, limits: Limits = LIMITS) -> Iterator[Reader]:
    reader = Reader(limits)
    try:
        reader.open(data, 72)
        yield reader
    finally:
        reader.close()
