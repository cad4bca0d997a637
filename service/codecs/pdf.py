"""PDFs, with the extra `pdf`: drawn by PDFium in a process of its own, written by qpdf.

bytes -> Reader.open (pages, their sizes) -> Reader.page -> Picture        Picture -> Writer.add -> Writer.bytes

PDFs come from strangers, and PDFium is a large program in C++: one that crashes, hangs or wants too much memory takes
its own process along, which belongs to this one document. The service takes pixels from it and nothing else.

What is written are pictures, one a page, of the page's size. They are lossless unless that takes more than a byte a
pixel, as photographs do. A text layer, links and outlines do not outlive it: text would have to be read again anyhow
from what is now clean.
"""

import json
import logging
import math
import os
import select
import struct
import sys
import threading
import time
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service import sandbox
from service.errors import InvalidInput, TooLarge
from service.imaging.picture import Picture

POINTS = 72  # to an inch
_FRAME = struct.Struct(">II")  # bytes of JSON, bytes of pixels
_LENGTH = struct.Struct(">Q")
_MIB = 2**20
_INSIDE = 0.01  # pixels
_DAMAGED = "cannot be read: it is damaged"
_LOSSLESS = 1.0  # bytes a pixel; what takes more becomes JPEG


@dataclass(frozen=True)
class Limits:
    """`pages` of a document, `pixels` and `side` of a page, `seconds` for each, `memory` of the process in bytes."""

    pages: int
    pixels: int
    side: int
    seconds: float
    memory: int


class Reader:
    """One document. Its methods block; `close` may be called from another thread and ends them.

    Raises of all: InvalidInput for what cannot be read, TooLarge for what is over a limit.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        seconds = math.ceil(limits.seconds * (limits.pages + 1))  # a backstop: each page has its own
        self._helper = sandbox.start("service.codecs.pdf", str(limits.memory), str(seconds), str(limits.pages))

    def close(self) -> None:
        """Ends the process, and with it what another thread waits for."""
        self._helper.kill()
        with self._lock:  # its pipes are closed when nobody reads them, else their numbers may be another file's by now
            sandbox.end(self._helper)

    def open(self, data: bytes, dpi: int) -> list[tuple[float, float]]:
        """Each page's width and height in points; all of them fit into the limits when drawn at `dpi`."""
        answer, _ = self._ask(_LENGTH.pack(len(data)) + data, "the PDF")
        sizes = [(float(width), float(height)) for width, height in answer["sizes"]]
        for number, (width, height) in enumerate(sizes, 1):
            self._check(_pixels(width, dpi), _pixels(height, dpi), number, dpi)
        return sizes

    def page(self, number: int, dpi: int) -> Picture:
        """Page `number`, from 1: uint8 [H,W,1] if it holds no colour, else [H,W,3]."""
        which = f"page {number} of the PDF"
        answer, raw = self._ask(json.dumps([number - 1, dpi]).encode() + b"\n", which)
        height, width, channels = shape = tuple(map(int, answer["shape"]))
        self._check(width, height, number, dpi)
        if channels not in (1, 3) or math.prod(shape) != len(raw):
            raise InvalidInput(f"{which} cannot be drawn")
        pixels = np.frombuffer(raw, np.uint8).reshape(shape)
        return Picture(pixels)

    def _check(self, width: int, height: int, number: int, dpi: int) -> None:
        limits = self._limits
        if width * height > limits.pixels or max(width, height) > limits.side:
            raise TooLarge(
                f"page {number} is {width}x{height} at {dpi} dpi ({width * height / 1e6:.4g} Mpixel); the limit is "
                f"{limits.pixels / 1e6:.4g} Mpixel and {limits.side} a side: ask for fewer with ?dpi=",
                limit=limits.pixels,
            )

    def _ask(self, question: bytes, which: str) -> tuple[dict[str, Any], bytearray]:
        until = time.monotonic() + self._limits.seconds
        try:
            with self._lock:
                answer, raw = self._exchange(question, until)
        except TimeoutError as late:
            seconds = self._limits.seconds
            raise InvalidInput(f"{which} takes longer than {seconds:g} s to be read, which is the limit") from late
        except (OSError, ValueError) as died:
            memory = self._limits.memory // _MIB
            raise InvalidInput(f"{which} cannot be read: it ended its reader, which may have {memory} MiB") from died
        if "pages" in answer:
            raise TooLarge(f"{which} has {answer['pages']} pages; the limit is {self._limits.pages}")
        if "refused" in answer:
            raise InvalidInput(f"{which} {answer['refused']}")
        return answer, raw

    def _exchange(self, question: bytes, until: float) -> tuple[dict[str, Any], bytearray]:
        if self._helper.stdin is None:
            raise AssertionError("This is a bug: the helper has pipes")
        self._helper.stdin.write(question)
        self._helper.stdin.flush()
        told, pixels = _FRAME.unpack(self._read(_FRAME.size, until))
        answer: dict[str, Any] = json.loads(self._read(min(told, _MIB), until))
        return answer, self._read(min(pixels, 3 * self._limits.pixels), until)

    def _read(self, count: int, until: float) -> bytearray:
        """So many bytes; TimeoutError, or OSError if it ends before."""
        pipe = self._helper.stdout
        if pipe is None:
            raise AssertionError("This is a bug: the helper has pipes")
        data = bytearray()
        while len(data) < count:
            ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError
            piece = os.read(pipe.fileno(), min(count - len(data), _MIB))
            if not piece:
                raise OSError("no answer")
            data += piece
        return data


class Writer:
    """Pictures -> a PDF, a page each."""

    def __init__(self) -> None:
        import pikepdf

        logging.getLogger("pikepdf").setLevel(logging.WARNING)  # it greets
        self._made = pikepdf.new()

    def add(self, picture: Picture, size: tuple[float, float]) -> int:
        """A page of `size` points that is covered by `picture`, 8 bits, grey or RGB; the bytes that it takes."""
        from pikepdf import Dictionary, Name, Stream

        data, filtered = _packed(picture)
        height, width, channels = picture.pixels.shape
        image = Stream(
            self._made,
            data,
            Type=Name.XObject,
            Subtype=Name.Image,
            Width=width,
            Height=height,
            ColorSpace=Name.DeviceGray if channels == 1 else Name.DeviceRGB,
            BitsPerComponent=8,
            **filtered,
        )
        page = self._made.add_blank_page(page_size=size)
        page.Resources = Dictionary(XObject=Dictionary(Page=image))
        page.Contents = Stream(self._made, b"%.4f 0 0 %.4f 0 0 cm /Page Do" % size)
        return len(data)

    def bytes(self) -> bytes:
        buffer = BytesIO()
        self._made.save(buffer)
        return buffer.getvalue()


def _packed(picture: Picture) -> tuple[bytes, dict[str, Any]]:
    """Data of an image in a PDF, and how it is packed: a PNG's own rows (PDF 32000, 7.4.4.4), or a JPEG as it is."""
    from pikepdf import Dictionary, Name

    from service.codecs import images, png

    height, width, channels = picture.pixels.shape
    bare = Picture(picture.pixels)
    rows = png.rows(images.encode(bare, "image/png"))
    if len(rows) > _LOSSLESS * height * width:
        return images.encode(bare, "image/jpeg"), {"Filter": Name.DCTDecode}
    as_png = Dictionary(Predictor=15, Colors=channels, BitsPerComponent=8, Columns=width)
    return rows, {"Filter": Name.FlateDecode, "DecodeParms": as_png}


def _pixels(points: float, dpi: int) -> int:
    return max(1, round(points * dpi / POINTS))


# --- in the process of its own -----------------------------------------------------------------------------


def main() -> int:
    """A document on stdin, then pages that are wanted, a line each; ends with stdin."""
    import resource

    import pypdfium2

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    memory, seconds, most = map(int, sys.argv[1:4])
    (length,) = _LENGTH.unpack(sys.stdin.buffer.read(_LENGTH.size))
    data = sys.stdin.buffer.read(length)
    sandbox.limit(memory, seconds)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes no file
    try:
        document = pypdfium2.PdfDocument(data)
        _answer(answers, _described(document, most))
    except pypdfium2.PdfiumError as error:
        locked = error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD
        _answer(answers, {"refused": "is locked: send it without a password" if locked else _DAMAGED})
        return 1
    for line in sys.stdin.buffer:
        number, dpi = json.loads(line)
        try:
            pixels = _drawn(document, number, dpi)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  (whatever broken bytes lead it to)
            _answer(answers, {"refused": _DAMAGED})
        else:
            _answer(answers, {"shape": pixels.shape}, pixels.data)
    return 0


def _answer(answers: Any, told: dict[str, Any], raw: memoryview | bytes = b"") -> None:
    written = json.dumps(told).encode()
    answers.write(_FRAME.pack(len(written), memoryview(raw).nbytes) + written)
    answers.write(raw)
    answers.flush()


def _described(document: Any, most: int) -> dict[str, Any]:
    if len(document) > most:
        return {"pages": len(document)}
    sizes = [document.get_page_size(number) for number in range(len(document))]
    if not sizes:
        return {"refused": "has no pages"}
    if not all(math.isfinite(side) and side > 0 for size in sizes for side in size):
        return {"refused": "has a page without a size"}
    return {"sizes": sizes}


def _drawn(document: Any, number: int, dpi: int) -> NDArray[np.uint8]:
    """[H,W,1] if no pixel has a colour, else RGB [H,W,3]; on white. A scan of that many dpi comes pixel by pixel."""
    from pypdfium2 import PdfBitmap, raw

    page = document[number]
    points = page.get_size()
    width, height = (_pixels(side, dpi) for side in points)
    bitmap = PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGR, rev_byteorder=True)
    bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
    # _INSIDE: PDFium stretches a picture over all pixels that it touches, by a hair one more than it has
    across, down = ((n - 2 * _INSIDE) / side for n, side in zip((width, height), points, strict=True))
    matrix, whole = raw.FS_MATRIX(across, 0, 0, down, _INSIDE, _INSIDE), raw.FS_RECTF(0, 0, width, height)
    raw.FPDF_RenderPageBitmapWithMatrix(bitmap, page, matrix, whole, raw.FPDF_ANNOT | raw.FPDF_REVERSE_BYTE_ORDER)
    page.close()
    pixels: NDArray[np.uint8] = bitmap.to_numpy()
    grey = all((row[:, :1] == row[:, 1:]).all() for row in pixels)
    return np.ascontiguousarray(pixels[:, :, :1] if grey else pixels)


if __name__ == "__main__":
    sys.exit(main())
