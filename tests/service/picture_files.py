"""Picture files for tests, made by Pillow and pillow-heif, with the parts that those cannot write put in by hand."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

GAIN_MAP_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" hdrgm:Version="1.0"><dc:rights>mine</dc:rights></rdf:Description>'
    b"</rdf:RDF></x:xmpmeta>"
)


def gradient(height: int = 48, width: int = 64) -> np.ndarray:
    """uint8 [H,W,3], smooth, every channel another."""
    y, x = np.mgrid[:height, :width]
    return np.dstack([x * 255 // width, y * 255 // height, (x + y) * 255 // (height + width)]).astype(np.uint8)


def saved(image: Image.Image | np.ndarray, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, form, **options)
    return buffer.getvalue()


def jpeg(*, segments: tuple[bytes, ...] = (), **options: Any) -> bytes:
    """A JPEG; `segments` (marker and content) are put behind its first marker."""
    data = saved(gradient(), "JPEG", quality=90, **options)
    added = b"".join(segment[:2] + struct.pack(">H", len(segment)) + segment[2:] for segment in segments)
    return data[:2] + added + data[2:]


def jpeg_of_kind(marker: int, bits: int = 8) -> bytes:
    """A JPEG whose frame header says that it is of another kind."""
    data = bytearray(jpeg())
    start = data.index(b"\xff\xc0")
    data[start + 1], data[start + 4] = marker, bits
    return bytes(data)


def png_with_chunks(pixels: np.ndarray, **chunks: bytes) -> bytes:
    data = saved(pixels, "PNG")
    added = b""
    for name, content in chunks.items():
        kind = name.encode()
        added += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data[:33] + added + data[33:]


def png_chunks(data: bytes) -> dict[bytes, bytes]:
    """The last chunk of each kind."""
    chunks, position = {}, 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        chunks[data[position + 4 : position + 8]] = data[position + 8 : position + 8 + length]
        position += length + 12
    return chunks


def heic(pixels: np.ndarray, *, bits: int = 8, count: int = 1, **options: Any) -> bytes:
    """uint8 [H,W,3] -> a HEIC of `count` pictures; with 10 bits its numbers are multiplied by 257 before."""
    if bits == 8:
        file = pillow_heif.from_pillow(Image.fromarray(pixels))
    else:
        size = (pixels.shape[1], pixels.shape[0])
        file = pillow_heif.from_bytes(mode="RGB;16", size=size, data=(pixels.astype(np.uint16) * 257).tobytes())
    for _ in range(count - 1):
        file.add_from_pillow(Image.fromarray(pixels[:32]))
    buffer = io.BytesIO()
    file.save(buffer, quality=95, **options)
    return buffer.getvalue()


def tiff_with_tag(tag: int, value: int, pixels: np.ndarray | None = None) -> bytes:
    """A TIFF of one page in which the value of a tag, which Pillow writes, is replaced; or which has one more tag."""
    data = bytearray(
        saved(gradient() if pixels is None else pixels, "TIFF", tiffinfo={tag: value} if tag > 330 else {})
    )
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        number, kind, length = struct.unpack_from("<HHI", data, entry)
        if number == tag:
            position = entry + 8
            if length > 2:  # of SHORT, beyond the entry
                (position,) = struct.unpack_from("<I", data, position)
            struct.pack_into(
                f"<{length}{'H' if kind == 3 else 'I' if kind == 4 else 'B'}", data, position, *[value] * length
            )
            return bytes(data)
    raise AssertionError(tag)
