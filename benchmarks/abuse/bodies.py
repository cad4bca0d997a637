"""Bodies that no honest client sends: mutants of good ones, and bombs. The same for the same seed.

SEEDS: kind -> (Content-Type, a good body)      mutants(kind, count, seed) -> bodies      bombs() -> Bomb, one an attack
"""

import io
import json
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

PNG_START = b"\x89PNG\r\n\x1a\n"
MIB = 2**20
NPY, JSON, NDJSON = "application/x-npy", "application/json", "application/x-ndjson"
HEIC_IS_INSTALLED = find_spec("pillow_heif") is not None
_TELLING = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)
_TOKENS = (b"[", b"]", b"{", b"}", b",", b":", b'"', b"1e999", b"-", b"NaN", b"null", b"true", b"\\u0000", b"\xff",
           b"9" * 40, b'"inputs"', b"[[[[")  # fmt: skip


@cache
def seeds(side: int = 28) -> dict[str, tuple[str, bytes]]:
    """Kind -> (Content-Type, a good grey body of side x side pixels)."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)
    smooth = np.add.outer(np.arange(side), np.arange(side)).astype(np.uint8)
    return {
        "png": ("image/png", _picture(pixels, "PNG", pnginfo=_notes())),
        "jpeg": ("image/jpeg", _picture(smooth, "JPEG")),
        "webp": ("image/webp", _picture(smooth, "WEBP", lossless=True)),
        "tiff": ("image/tiff", _picture(pixels, "TIFF", compression="tiff_deflate")),
        "bmp": ("image/bmp", _picture(pixels, "BMP")),
        "gif": ("image/gif", _picture(pixels, "GIF")),
        "avif": ("image/avif", _picture(smooth, "AVIF")),
        **({"heic": ("image/heic", _heic(smooth))} if HEIC_IS_INSTALLED else {}),
        "npy": (NPY, npy(pixels)),
        "json": (JSON, json.dumps({"inputs": pixels.tolist()}).encode()),
    }


def list_picture_kinds() -> tuple[str, ...]:
    """The kinds of `seeds` that are picture files."""
    return tuple(kind for kind, (content_type, _) in seeds().items() if content_type.startswith("image/"))


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def mutants(kind: str, count: int, seed: int = 0, side: int = 28) -> Iterator[bytes]:
    """`count` bodies of `kind`, each the good one after 1 to 6 injuries.

    Half of the PNGs have checksums that are right, so that readers go on to what was injured.
    """
    rng = random.Random(f"{kind} {seed}")
    good = seeds(side)[kind][1]
    for number in range(count):
        body = bytearray(good)
        for _ in range(rng.randint(1, 6)):
            _injure(body, rng, text=kind == "json")
        yield _with_checksums(bytes(body)) if kind == "png" and number % 2 else bytes(body)


def _injure(body: bytearray, rng: random.Random, *, text: bool) -> None:
    # headers are what readers believe, so half of the injuries are there
    place = rng.randrange(min(len(body), 120) if rng.random() < 0.5 else len(body)) if body else 0
    kind = rng.randrange(8)
    if kind == 0 and body:
        body[place] ^= 1 << rng.randrange(8)
    elif kind == 1 and body:
        body[place] = rng.randrange(256)
    elif kind == 2:
        body[place:place] = rng.randbytes(rng.randint(1, 30))
    elif kind == 3:
        del body[place : place + rng.randint(1, 50)]
    elif kind == 4:
        del body[place:]
    elif kind == 5:
        body[place:place] = body[place : place + rng.randint(1, 200)]
    elif text:
        body[place : place + rng.randint(0, 3)] = rng.choice(_TOKENS)
    else:
        wide, order = rng.choice(((2, "H"), (4, "I"))), rng.choice("<>")
        body[place : place + wide[0]] = struct.pack(order + wide[1], rng.choice(_TELLING) % 256 ** wide[0])


def _with_checksums(png: bytes) -> bytes:
    """Every chunk's checksum put right, as far as the chunks go."""
    body, place = bytearray(png), len(PNG_START)
    while place + 12 <= len(body):
        (length,) = struct.unpack(">I", body[place : place + 4])
        end = place + 8 + length
        if end + 4 > len(body):
            break
        body[end : end + 4] = struct.pack(">I", zlib.crc32(body[place + 4 : end]))
        place = end + 4
    return bytes(body)


def _picture(pixels: np.ndarray, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def _heic(pixels: np.ndarray) -> bytes:
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(buffer)
    return buffer.getvalue()


def _notes() -> PngInfo:
    notes = PngInfo()
    notes.add_text("Title", "a good one")
    notes.add_text("Comment", "compressed " * 20, zip=True)
    return notes


# --- bombs -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bomb:
    """An attack: what is sent, and the statuses that refuse it. 200 is among them where the picture itself is fine."""

    name: str
    content_type: str
    body: bytes
    statuses: tuple[int, ...]


def bombs() -> list[Bomb]:
    """All attacks; together about 2 MB."""
    return [
        Bomb("PNG of 50,000 x 50,000", "image/png", png(50_000, 50_000, _zeros(6251 * 50_000)), (413,)),
        Bomb("PNG of 2^31 - 1 squared", "image/png", png(2**31 - 1, 2**31 - 1, _zeros(1000)), (413, 422)),
        Bomb("PNG that holds 300 MB for 28 x 28", "image/png", png(28, 28, _zeros(300 << 20)), (200, 422)),
        Bomb("PNG with text of 20 x 60 MB", "image/png", _text_bomb(20, 60 << 20), (200, 413, 422)),
        Bomb("PNG with a profile of 100 MB", "image/png", _profile_bomb(100 << 20), (200, 413, 422)),
        Bomb("PNG with 100,000 chunks", "image/png", png(28, 28, _good_rows(), chunk(b"tEXt", b"a\0b") * 100_000),
             (200, 413, 422)),
        Bomb("JPEG of 65,500 x 65,500", "image/jpeg", _jpeg_of(65_500), (413, 422)),
        Bomb("JPEG of 10,000 x 10,000 with 2,650 scans", "image/jpeg", _scans_of(10_000, 2_650), (413,)),
        Bomb("JPEG with 1,000,000 fill bytes as its end", "image/jpeg", seeds()["jpeg"][1][:-2] + b"\xff" * 1_000_000,
             (200, 422)),
        Bomb("JPEG of 250,000 empty segments", "image/jpeg", b"\xff\xd8" + b"\xff\xfe\0\2" * 250_000, (413, 422)),
        Bomb("BMP of 60,000 x 1,000 whose rows break off", "image/bmp", _short_rows(60_000, 1_000), (413,)),
        Bomb("BMP of 100,000 runs without pixels", "image/bmp", _bmp_of(8, 8, b"\0\2\0\0" * 100_000), (422,)),
        Bomb("WebP of 16,383 x 16,383", "image/webp", _webp_of(16_383), (413, 422)),
        Bomb("GIF of 65,535 x 65,535", "image/gif", b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\1L\0;",
             (413, 422)),
        Bomb("GIF of 100,000 frames", "image/gif", b"GIF89a\x1c\0\x1c\0\x80\0\0\0\0\0\xff\xff\xff"
             + b",\0\0\0\0\1\0\1\0\0\2\2D\1\0" * 100_000 + b";", (422,)),
        Bomb("AVIF of 65,536 x 65,536", "image/avif", _avif_of(65_536), (413, 422)),
        Bomb("AVIF of 28 x 28 that says it has 7,000 x 7,000", "image/avif", _avif_of(7_000), (200, 413, 422)),
        Bomb("TIFF of 2^32 - 1 squared", "image/tiff", tiff(2**32 - 1, 2**32 - 1), (413, 422)),
        Bomb("TIFF whose tags count 2^32 - 1 values", "image/tiff", tiff(28, 28, count=2**32 - 1), (422,)),
        Bomb("TIFF of 65,535 samples a pixel", "image/tiff", tiff(28, 28, samples=65_535), (422,)),
        Bomb("TIFF whose pages are a ring", "image/tiff", tiff(28, 28, following=8), (200, 422)),
        Bomb("TIFF with 65,535 tags that are not there", "image/tiff", b"II*\0\x08\0\0\0\xff\xff" + b"\0" * 40, (422,)),
        Bomb(".npy of 2^60 items", NPY, _npy_of("(1152921504606846976,)"), (400, 413, 422)),
        Bomb(".npy of 10^40 items", NPY, _npy_of(f"({10**40},)"), (400, 413, 422)),
        Bomb(".npy of 5,000 axes", NPY, _npy_of("(" + "1," * 4_900 + ")"), (400, 422)),
        Bomb(".npy whose header is nested", NPY, _npy_of("(" * 9_000), (400,)),
        Bomb("JSON of 1,000,000 lists", JSON, b'{"inputs":' + b"[" * 1_000_000, (413,)),
        Bomb("JSON of 900 lists, closed", JSON, b'{"inputs":' + b"[" * 900 + b"1" + b"]" * 900 + b"}", (400, 422)),
        Bomb("JSON of 100,000 objects", JSON, b'{"inputs":' * 100_000 + b"1" + b"}" * 100_000, (413,)),
        Bomb("JSON of a number of 100,000 digits", JSON, b'{"inputs": [' + b"9" * 100_000 + b"]}", (400, 422)),
        Bomb("JSON of 100,000 members", JSON, json.dumps({str(i): 0 for i in range(100_000)}).encode(), (413,)),
        Bomb("form of 20,000 parts", "multipart/form-data; boundary=b", _form_of(20_000), (413, 422)),
        Bomb("form with a header of 1 MB", "multipart/form-data; boundary=b",
             b'--b\r\nContent-Disposition: form-data; name="' + b"a" * MIB + b'"\r\n\r\nx\r\n--b--\r\n', (400, 422)),
    ]  # fmt: skip


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, packed: bytes, notes: bytes = b"") -> bytes:
    """A grey one of 8 bits (of 1 bit if it is vast), whose pixels are `packed`, with further chunks before them."""
    depth = 1 if width > 10_000 else 8
    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return PNG_START + chunk(b"IHDR", head) + notes + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def _zeros(count: int) -> bytes:
    """So many zeros, deflated: a thousandth of it."""
    packer, packed, block = zlib.compressobj(9), [], bytes(1 << 20)
    for start in range(0, count, len(block)):
        packed.append(packer.compress(block[: count - start]))
    return b"".join([*packed, packer.flush()])


def _good_rows() -> bytes:
    return zlib.compress(bytes(29 * 28))


def _text_bomb(notes: int, size: int) -> bytes:
    packed = _zeros(size)
    return png(28, 28, _good_rows(), b"".join(chunk(b"zTXt", b"note%d\0\0" % i + packed) for i in range(notes)))


def _profile_bomb(size: int) -> bytes:
    return png(28, 28, _good_rows(), chunk(b"iCCP", b"profile\0\0" + _zeros(size)))


def _jpeg_of(side: int) -> bytes:
    body = bytearray(seeds()["jpeg"][1])
    frame = body.index(b"\xff\xc0")
    body[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    return bytes(body)


def _scans_of(side: int, count: int) -> bytes:
    """A progressive one of a megabyte; each scan has a few bytes of data, and costs a pass over all blocks."""
    buffer = io.BytesIO()
    Image.new("L", (64, 64)).save(buffer, "JPEG", progressive=True)
    body = bytearray(buffer.getvalue())
    frame = body.index(b"\xff\xc2")
    body[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    scan = body[body.rindex(b"\xff\xda") : -2]
    return bytes(body[:-2] + (scan + bytes(330)) * count + body[-2:])


def _bmp_of(width: int, height: int, runs: bytes) -> bytes:
    """Run-length encoded, 8 bits, a palette of one grey."""
    palette = bytes(4) * 256
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 2835, 2835, 256, 0)
    start = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + info + palette + runs


def _short_rows(width: int, height: int) -> bytes:
    """Each row is one pixel and its end; a decoder fills up the rest."""
    return _bmp_of(width, height, b"\x01\x05\0\0" * height + b"\0\1")


def _avif_of(side: int) -> bytes:
    """A small AVIF whose box of the size says another."""
    data = bytearray(_picture(np.zeros((28, 28), np.uint8), "AVIF"))
    place = data.index(b"ispe") + 8
    data[place : place + 8] = struct.pack(">II", side, side)
    return bytes(data)


def _webp_of(side: int) -> bytes:
    """A lossless one: 14 bits each, less one, after the signature."""
    body = bytearray(seeds()["webp"][1])
    frame = body.index(b"VP8L") + 9
    body[frame : frame + 4] = struct.pack("<I", (side - 1) | (side - 1) << 14)
    return bytes(body)


def tiff(width: int, height: int, count: int = 1, samples: int = 1, following: int = 0) -> bytes:
    """A grey one of one strip that says such things of itself; `following`: where its next page is to be."""
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
               (273, 4, count, 200), (277, 3, 1, samples), (278, 4, 1, height), (279, 4, count, 784)]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", following)
    return head.ljust(200, b"\0") + bytes(784)


def _npy_of(shape: str) -> bytes:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(784)


def _form_of(parts: int) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nx\r\n' * parts + b"--b--\r\n"
