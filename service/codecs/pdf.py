"""PDFs, with the extra `pdf`: rendered by PDFium in a child process, written by qpdf.

bytes -> Reader.open (pages, their sizes) -> Reader.render_page -> Picture
Picture -> Writer.add_page -> Writer.to_bytes

PDFs are untrusted input, and PDFium is a large program in C++. Each document has a child process of its own
(service.codecs.pdf_process): one that crashes, hangs or exceeds its memory ends alone. The service takes pixels from it
and nothing else.

A PDF that is written holds one picture a page, of the page's size. A picture is lossless, and has as few bits as it
needs, unless that takes more than a byte a pixel, as photographs do. Text layers, links and outlines are not copied:
text recognition is to be run again on the clean pages anyhow.
"""

import json
import logging
import math
import os
import select
import threading
import time
import zlib
from dataclasses import dataclass
from decimal import Decimal
from importlib.util import find_spec
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service import sandbox
from service.codecs import images
from service.codecs.formats import JPEG, PNG
from service.codecs.image_formats import png
from service.codecs.pdf_process import FRAME, LENGTH, count_pixels
from service.errors import InvalidInput, TooLarge
from service.imaging.picture import Metadata, Picture, Pixels

IS_INSTALLED = find_spec("pypdfium2") is not None and find_spec("pikepdf") is not None
INSTALL_COMMAND = "pip install 'autoencoder-service[pdf]'"
_MIB = 2**20
_MAX_PACKED_LEVELS = 16
_MAX_LOSSLESS = 1.0  # bytes a pixel; what takes more becomes JPEG


@dataclass(frozen=True)
class Limits:
    """`pages` of a document, `pixels` and `side` of a page, `seconds` for each, `memory` of the process in bytes."""

    pages: int
    pixels: int
    side: int
    seconds: float
    memory: int


class PageSize(NamedTuple):
    """A page's width and height in units of `unit` points (UserUnit)."""

    width: float
    height: float
    unit: float = 1.0

    def count_pixels(self, dpi: int) -> tuple[int, int]:
        """Width and height in pixels."""
        return count_pixels(self.width * self.unit, dpi), count_pixels(self.height * self.unit, dpi)


class Reader:
    """One document. Its methods block; `close` may be called from another thread and ends them.

    All methods raise InvalidInput for what cannot be read, TooLarge for what is over a limit.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        seconds = math.ceil(limits.seconds * (limits.pages + 1))  # a backstop: each page has its own
        self._process = sandbox.spawn("service.codecs.pdf_process", str(limits.memory), str(seconds), str(limits.pages))

    def close(self) -> None:
        """End the process, and with it a call that another thread waits for."""
        self._process.kill()
        with self._lock:  # pipes are closed only when no thread reads them: their numbers may soon be another file's
            sandbox.terminate(self._process)

    def open(self, data: bytes, dpi: int) -> list[PageSize]:
        """Each page's size; every page is within the limits when rendered at `dpi`."""
        response, _ = self._request(LENGTH.pack(len(data)) + data, "the PDF")
        sizes = [PageSize(*map(float, size)) for size in response["sizes"]]
        for number, size in enumerate(sizes, 1):
            self._check_size(*size.count_pixels(dpi), number, dpi)
        return sizes

    def render_page(self, number: int, dpi: int) -> Picture:
        """Page `number`, from 1: uint8 [H,W,1] if it holds no colour, else [H,W,3]; 1 bit if it is a scan of 1 bit."""
        label = f"page {number} of the PDF"
        response, data = self._request(json.dumps([number - 1, dpi]).encode() + b"\n", label)
        height, width, channels = shape = tuple(map(int, response["shape"]))
        self._check_size(width, height, number, dpi)
        if channels not in (1, 3) or math.prod(shape) != len(data):
            raise InvalidInput(f"{label} cannot be drawn")
        metadata = Metadata(bits=1 if response["is_bilevel"] is True and channels == 1 else None)
        return Picture(np.frombuffer(data, np.uint8).reshape(shape), metadata)

    def _check_size(self, width: int, height: int, number: int, dpi: int) -> None:
        limits = self._limits
        if width * height > limits.pixels or max(width, height) > limits.side:
            raise TooLarge(
                f"page {number} is {width}x{height} at {dpi} dpi ({width * height / 1e6:.4g} Mpixel); the limit is "
                f"{limits.pixels / 1e6:.4g} Mpixel and {limits.side} a side: ask for fewer with ?dpi=",
                limit=limits.pixels,
            )

    def _request(self, message: bytes, label: str) -> tuple[dict[str, Any], bytearray]:
        """A message to the process -> the JSON and the pixels of its response; errors name the input by `label`."""
        limit = time.monotonic() + self._limits.seconds
        try:
            with self._lock:
                response, pixels = self._exchange(message, limit)
        except TimeoutError as error:
            seconds = self._limits.seconds
            raise InvalidInput(f"{label} takes longer than {seconds:g} s to be read, which is the limit") from error
        except (OSError, ValueError) as error:
            memory = self._limits.memory // _MIB
            raise InvalidInput(f"{label} cannot be read: it ended its reader, which may have {memory} MiB") from error
        if "pages" in response:
            raise TooLarge(f"{label} has {response['pages']} pages; the limit is {self._limits.pages}")
        if "refused" in response:
            raise InvalidInput(f"{label} {response['refused']}")
        return response, pixels

    def _exchange(self, message: bytes, limit: float) -> tuple[dict[str, Any], bytearray]:
        if self._process.stdin is None:
            raise AssertionError("This is a bug: the process has pipes")
        self._process.stdin.write(message)
        self._process.stdin.flush()
        text_size, pixels_size = FRAME.unpack(self._receive(FRAME.size, limit))
        response: dict[str, Any] = json.loads(self._receive(min(text_size, _MIB), limit))
        return response, self._receive(min(pixels_size, 3 * self._limits.pixels), limit)

    def _receive(self, count: int, limit: float) -> bytearray:
        """So many bytes; TimeoutError at `limit` (monotonic seconds), OSError if the process ends before."""
        pipe = self._process.stdout
        if pipe is None:
            raise AssertionError("This is a bug: the process has pipes")
        data = bytearray()
        poll = select.poll()  # unlike select.select, takes descriptors above 1023
        poll.register(pipe, select.POLLIN)
        while len(data) < count:
            if not poll.poll(max(0.0, limit - time.monotonic()) * 1000):
                raise TimeoutError
            chunk = os.read(pipe.fileno(), min(count - len(data), _MIB))
            if not chunk:
                raise OSError("no answer")
            data += chunk
        return data


class Writer:
    """Pictures -> a PDF, a page each."""

    def __init__(self) -> None:
        import pikepdf

        logging.getLogger("pikepdf").setLevel(logging.WARNING)  # it logs a banner
        self._document = pikepdf.new()

    def add_page(self, picture: Picture, size: PageSize) -> int:
        """A page of that size which is covered by `picture`, 8 bits, grey or RGB; the bytes that it takes."""
        from pikepdf import Dictionary, Name, Stream

        data, entries = _encode(picture)
        height, width = picture.pixels.shape[:2]
        image = Stream(
            self._document,
            data,
            Type=Name.XObject,
            Subtype=Name.Image,
            Width=width,
            Height=height,
            **entries,
        )
        sides = size.width, size.height
        page = self._document.add_blank_page()
        page.MediaBox = [0, 0, *sides]  # pikepdf refuses sizes below 3 and above 14400
        if size.unit != 1:
            page.UserUnit = Decimal(repr(size.unit))
        page.Resources = Dictionary(XObject=Dictionary(Page=image))
        page.Contents = Stream(self._document, b"%.4f 0 0 %.4f 0 0 cm /Page Do" % sides)
        return len(data)

    def to_bytes(self) -> bytes:
        """The PDF."""
        buffer = BytesIO()
        self._document.save(buffer)
        return buffer.getvalue()


def _encode(picture: Picture) -> tuple[bytes, dict[str, Any]]:
    """Data of an image in a PDF, and its entries (PDF 32000, 7.4 and 8.9.5); only a JPEG loses something.

    Black and white is CCITT G4 or Flate, whatever is smaller; up to 16 grey levels have as few bits as they need; the
    rest are the compressed rows of a PNG.
    """
    from pikepdf import Dictionary, Name

    height, width, channels = picture.pixels.shape
    space = Name.DeviceGray if channels == 1 else Name.DeviceRGB
    if channels == 1:
        levels = np.flatnonzero(np.bincount(picture.pixels.ravel(), minlength=256))
        if len(levels) <= _MAX_PACKED_LEVELS:
            return _encode_few_levels(picture.pixels, levels)
    bare = Picture(picture.pixels)
    rows = png.extract_rows(images.encode(bare, PNG))
    if len(rows) > _MAX_LOSSLESS * height * width:
        return images.encode(bare, JPEG), {"Filter": Name.DCTDecode, "ColorSpace": space, "BitsPerComponent": 8}
    parameters = Dictionary(Predictor=15, Colors=channels, BitsPerComponent=8, Columns=width)
    return rows, {"Filter": Name.FlateDecode, "DecodeParms": parameters, "ColorSpace": space, "BitsPerComponent": 8}


def _encode_few_levels(pixels: Pixels, levels: NDArray[np.int64]) -> tuple[bytes, dict[str, Any]]:
    """[H,W,1] of up to 16 different `levels` -> rows of 1, 2 or 4 bits, or CCITT G4."""
    from pikepdf import Array, Dictionary, Name, String

    height, width = pixels.shape[:2]
    bits = next(bits for bits in (1, 2, 4) if len(levels) <= 2**bits)
    indices = np.searchsorted(levels, np.arange(256)).astype(np.uint8)[pixels[:, :, 0]]
    bit_planes = [(indices >> bit) & 1 for bit in reversed(range(bits))]
    data = zlib.compress(np.packbits(np.stack(bit_planes, axis=2).reshape(height, width * bits), axis=1).tobytes(), 6)
    if levels.tolist() in ([0, 255], [255]):
        entries = {"ColorSpace": Name.DeviceGray, "BitsPerComponent": 1}
        fax = images.encode_g4(pixels)
        if len(fax) <= len(data):
            parameters = Dictionary(K=-1, Columns=width, Rows=height)
            return fax, {"Filter": Name.CCITTFaxDecode, "DecodeParms": parameters, **entries}
        if len(levels) == 2:
            return data, {"Filter": Name.FlateDecode, **entries}
    table = String(bytes(levels.astype(np.uint8)))
    space = Array([Name.Indexed, Name.DeviceGray, len(levels) - 1, table])
    return data, {"Filter": Name.FlateDecode, "ColorSpace": space, "BitsPerComponent": bits}
