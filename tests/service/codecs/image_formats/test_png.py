import zlib

import pytest

from benchmarks.abuse.bodies import chunk, png
from service.codecs.image_formats.png import MAX_CHUNKS, MAX_METADATA_BYTES, check_metadata
from service.errors import TooLarge

PIXELS = zlib.compress(bytes(29 * 28))


def with_chunks(*chunks: bytes) -> bytes:
    return png(28, 28, PIXELS, b"".join(chunks))


def compress(size: int) -> bytes:
    return zlib.compress(bytes(size))


@pytest.mark.parametrize(
    ("kind", "prefix"), [(b"zTXt", b"key\0\0"), (b"iCCP", b"key\0\0"), (b"iTXt", b"key\0\x01\0de\0Schl\xc3\xbcssel\0")]
)
def test_compressed_metadata_is_measured_decompressed(kind: bytes, prefix: bytes) -> None:
    half = chunk(kind, prefix + compress(MAX_METADATA_BYTES // 2))
    check_metadata(with_chunks(half, half), "image")
    with pytest.raises(TooLarge, match=r"image 2 has more than 8388608 bytes of text and profile, once unpacked"):
        check_metadata(with_chunks(half, half, chunk(kind, prefix + compress(1))), "image 2")


def test_plain_text_is_not_limited_and_broken_metadata_is_left_to_the_reader() -> None:
    check_metadata(with_chunks(chunk(b"tEXt", b"key\0" + bytes(MAX_METADATA_BYTES + 1))), "image")
    check_metadata(
        with_chunks(
            *(chunk(kind, note) for kind in (b"zTXt", b"iTXt", b"iCCP") for note in (b"", b"a", b"a\0", b"a\0\1"))
        ),
        "",
    )
    check_metadata(with_chunks(chunk(b"zTXt", b"key\0\0no zlib")), "image")
    check_metadata(with_chunks()[:40], "image")


def test_a_picture_of_very_many_chunks_is_refused_but_pixels_may_come_in_many() -> None:
    check_metadata(png(28, 28, PIXELS, chunk(b"IDAT", b"") * (2 * MAX_CHUNKS)), "image")
    with pytest.raises(TooLarge, match="more than 10000 chunks beside its pixels"):
        check_metadata(with_chunks(chunk(b"tEXt", b"a\0b") * MAX_CHUNKS), "image")
