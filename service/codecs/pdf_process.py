"""Child process that renders one PDF with PDFium: `python -m service.codecs.pdf_process MEMORY SECONDS MAX_PAGES`.

stdin: its length, the document   -> stdout: {"sizes": [[width, height, unit], ...]} | {"pages": n} | {"refused": text}
stdin: [page index, dpi], a line  -> stdout: {"shape": [H, W, C], "is_bilevel": bool}, pixels | {"refused": text}

PDFium draws form fields only through its form layer, and it does not know UserUnit (PDF 32000, table 30). qpdf reads
that, and adds a missing form dictionary, which programs that merge documents leave out.

Every response is FRAME (bytes of JSON, bytes of pixels), then the JSON, then the pixels. The process ends with its
stdin. service.codecs.pdf starts it; it imports little else of the service, so it starts fast.
"""

import json
import math
import os
import struct
import sys
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from service import sandbox

POINTS_PER_INCH = 72
LENGTH = struct.Struct(">Q")  # bytes of the document
FRAME = struct.Struct(">II")  # bytes of JSON, bytes of pixels
_INSET = 0.01  # pixels
_DAMAGED = "cannot be read: it is damaged"
_DYNAMIC_FORM = (
    "is a dynamic form (XFA), whose pages only its own program draws: open it there, print it to a PDF, and send that"
)
_INVISIBLE = 3  # text render mode of the text layer behind a scan


def count_pixels(points: float, dpi: int) -> int:
    """Pixels along a side of `points`, at least one."""
    return max(1, round(points * dpi / POINTS_PER_INCH))


def main() -> int:
    """Exit code 0; 1 if the document cannot be opened."""
    import resource

    import pikepdf  # noqa: F401  (before the limits)
    import pypdfium2

    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the responses
    memory, seconds, max_pages = map(int, sys.argv[1:4])
    (length,) = LENGTH.unpack(sys.stdin.buffer.read(LENGTH.size))
    data = sys.stdin.buffer.read(length)
    sandbox.set_limits(memory, seconds)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes no file
    data, units = _prepare(data, max_pages)
    try:
        document = pypdfium2.PdfDocument(data)
        document.init_forms()  # before the first page is opened
        _respond(output, _describe(document, units, max_pages))
    except pypdfium2.PdfiumError as error:
        is_locked = error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD
        _respond(output, {"refused": "is locked: send it without a password" if is_locked else _DAMAGED})
        return 1
    for line in sys.stdin.buffer:
        index, dpi = json.loads(line)
        try:
            pixels, is_bilevel = _render(document, index, units.get(index, 1.0), dpi)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  (whatever broken bytes lead it to)
            _respond(output, {"refused": _DAMAGED})
        else:
            _respond(output, {"shape": pixels.shape, "is_bilevel": is_bilevel}, pixels.data)
    return 0


def _respond(output: BinaryIO, response: dict[str, Any], pixels: memoryview | bytes = b"") -> None:
    text = json.dumps(response).encode()
    output.write(FRAME.pack(len(text), memoryview(pixels).nbytes) + text)
    output.write(pixels)
    output.flush()


def _prepare(data: bytes, max_pages: int) -> tuple[bytes, dict[int, float]]:
    """The document, with a form dictionary if it has form fields; UserUnit by page index, where it is not 1."""
    import pikepdf

    try:
        with pikepdf.open(BytesIO(data)) as document:
            if len(document.pages) > max_pages:
                return data, {}
            units = {index: _read_unit(page) for index, page in enumerate(document.pages)}
            if "/AcroForm" not in document.Root and any(map(_has_fields, document.pages)):
                document.Root.AcroForm = pikepdf.Dictionary(Fields=pikepdf.Array())  # PDFium finds the pages' fields
                buffer = BytesIO()
                document.save(buffer, fix_metadata_version=False)
                data = buffer.getvalue()
            return data, {index: unit for index, unit in units.items() if unit != 1}
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  (PDFium reads some documents that qpdf does not, and says what is wrong with others)
        return data, {}


def _read_unit(page: Any) -> float:
    """UserUnit: points of a page's unit; 1 where it makes no sense."""
    try:
        unit = float(page.get("/UserUnit", 1))
    except (TypeError, ValueError, ArithmeticError):
        return 1.0
    return unit if math.isfinite(unit) and unit > 0 else 1.0


def _has_fields(page: Any) -> bool:
    return any(annotation.get("/Subtype") == "/Widget" for annotation in page.get("/Annots", ()))


def _describe(document: Any, units: dict[int, float], max_pages: int) -> dict[str, Any]:
    """All pages' width and height in units, and a unit's points; or why the document is refused."""
    from pypdfium2 import raw

    if len(document) > max_pages:
        return {"pages": len(document)}
    if document.get_formtype() == raw.FORMTYPE_XFA_FULL:
        return {"refused": _DYNAMIC_FORM}
    sizes = [(*document.get_page_size(index), units.get(index, 1.0)) for index in range(len(document))]
    if not sizes:
        return {"refused": "has no pages"}
    if not all(math.isfinite(number) and number > 0 for size in sizes for number in size):
        return {"refused": "has a page without a size"}
    return {"sizes": sizes}


def _render(document: Any, index: int, unit: float, dpi: int) -> tuple[NDArray[np.uint8], bool]:
    """The page, [H,W,1] if no pixel has a colour, else RGB [H,W,3], on white; whether it is a scan of 1 bit.

    Everything that a viewer shows is drawn: form fields and annotations too. A scan of that dpi is rendered pixel by
    pixel.
    """
    from pypdfium2 import PdfBitmap, raw

    page = document[index]
    sides = page.get_size()
    width, height = (count_pixels(side * unit, dpi) for side in sides)
    bitmap = PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGR, rev_byteorder=True)
    bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
    # _INSET: PDFium stretches an image over all pixels that it touches, which by rounding is one more than it has
    scale_x, scale_y = ((count - 2 * _INSET) / side for count, side in zip((width, height), sides, strict=True))
    matrix, clip = raw.FS_MATRIX(scale_x, 0, 0, scale_y, _INSET, _INSET), raw.FS_RECTF(0, 0, width, height)
    flags = raw.FPDF_ANNOT | raw.FPDF_REVERSE_BYTE_ORDER
    raw.FPDF_RenderPageBitmapWithMatrix(bitmap, page, matrix, clip, flags)
    if document.formenv is not None:
        raw.FPDF_FFLDraw(document.formenv, bitmap, page, 0, 0, width, height, 0, flags)
    is_bilevel = _is_bilevel(page)
    page.close()
    pixels: NDArray[np.uint8] = bitmap.to_numpy()
    is_grey = all((row[:, :1] == row[:, 1:]).all() for row in pixels)
    return np.ascontiguousarray(pixels[:, :, :1] if is_grey else pixels), is_bilevel


def _is_bilevel(page: Any) -> bool:
    """Whether nothing is drawn but images of one bit; text that is not shown may lie behind them."""
    from pypdfium2 import raw

    has_image = False
    for item in page.get_objects(max_depth=3):
        if item.type == raw.FPDF_PAGEOBJ_IMAGE:
            if item.get_metadata().bits_per_pixel != 1:
                return False
            has_image = True
        elif item.type == raw.FPDF_PAGEOBJ_TEXT:
            if raw.FPDFTextObj_GetTextRenderMode(item) != _INVISIBLE:
                return False
        elif item.type != raw.FPDF_PAGEOBJ_FORM:  # what a form draws comes next
            return False
    return has_image


if __name__ == "__main__":
    sys.exit(main())
