"""Child process that renders one PDF with PDFium: `python -m service.codecs.pdf_process MEMORY SECONDS MAX_PAGES`.

stdin: its length, the document     -> stdout: {"sizes": [[width, height], ...]} | {"pages": n} | {"refused": text}
stdin: [page index, dpi], a line    -> stdout: {"shape": [H, W, C]} and the pixels | {"refused": text}

Every response is FRAME (bytes of JSON, bytes of pixels), then the JSON, then the pixels. The process ends with its
stdin. service.codecs.pdf starts it; it imports little else of the service, so it starts fast.
"""

import json
import math
import os
import struct
import sys
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from service import sandbox

POINTS_PER_INCH = 72
LENGTH = struct.Struct(">Q")  # bytes of the document
FRAME = struct.Struct(">II")  # bytes of JSON, bytes of pixels
_INSET = 0.01  # pixels
_DAMAGED = "cannot be read: it is damaged"


def count_pixels(points: float, dpi: int) -> int:
    """Pixels along a side of `points`, at least one."""
    return max(1, round(points * dpi / POINTS_PER_INCH))


def main() -> int:
    """Exit code 0; 1 if the document cannot be opened."""
    import resource

    import pypdfium2

    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the responses
    memory, seconds, max_pages = map(int, sys.argv[1:4])
    (length,) = LENGTH.unpack(sys.stdin.buffer.read(LENGTH.size))
    data = sys.stdin.buffer.read(length)
    sandbox.set_limits(memory, seconds)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes no file
    try:
        document = pypdfium2.PdfDocument(data)
        _respond(output, _describe(document, max_pages))
    except pypdfium2.PdfiumError as error:
        is_locked = error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD
        _respond(output, {"refused": "is locked: send it without a password" if is_locked else _DAMAGED})
        return 1
    for line in sys.stdin.buffer:
        index, dpi = json.loads(line)
        try:
            pixels = _render(document, index, dpi)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  (whatever broken bytes lead it to)
            _respond(output, {"refused": _DAMAGED})
        else:
            _respond(output, {"shape": pixels.shape}, pixels.data)
    return 0


def _respond(output: BinaryIO, response: dict[str, Any], pixels: memoryview | bytes = b"") -> None:
    text = json.dumps(response).encode()
    output.write(FRAME.pack(len(text), memoryview(pixels).nbytes) + text)
    output.write(pixels)
    output.flush()


def _describe(document: Any, max_pages: int) -> dict[str, Any]:
    """Sizes of all pages in points, or why the document is refused."""
    if len(document) > max_pages:
        return {"pages": len(document)}
    sizes = [document.get_page_size(index) for index in range(len(document))]
    if not sizes:
        return {"refused": "has no pages"}
    if not all(math.isfinite(side) and side > 0 for size in sizes for side in size):
        return {"refused": "has a page without a size"}
    return {"sizes": sizes}


def _render(document: Any, index: int, dpi: int) -> NDArray[np.uint8]:
    """[H,W,1] if no pixel has a colour, else RGB [H,W,3]; on white. A scan of that dpi is rendered pixel by pixel."""
    from pypdfium2 import PdfBitmap, raw

    page = document[index]
    points = page.get_size()
    width, height = (count_pixels(side, dpi) for side in points)
    bitmap = PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGR, rev_byteorder=True)
    bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
    # _INSET: PDFium stretches an image over all pixels that it touches, which by rounding is one more than it has
    scale_x, scale_y = ((count - 2 * _INSET) / side for count, side in zip((width, height), points, strict=True))
    matrix, clip = raw.FS_MATRIX(scale_x, 0, 0, scale_y, _INSET, _INSET), raw.FS_RECTF(0, 0, width, height)
    raw.FPDF_RenderPageBitmapWithMatrix(bitmap, page, matrix, clip, raw.FPDF_ANNOT | raw.FPDF_REVERSE_BYTE_ORDER)
    page.close()
    pixels: NDArray[np.uint8] = bitmap.to_numpy()
    is_grey = all((row[:, :1] == row[:, 1:]).all() for row in pixels)
    return np.ascontiguousarray(pixels[:, :, :1] if is_grey else pixels)


if __name__ == "__main__":
    sys.exit(main())
