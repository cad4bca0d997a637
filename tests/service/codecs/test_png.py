import zlib

import pytest

from benchmarks.abuse.bodies import chunk, png
from service.codecs.png import MAX_CHUNKS, MAX_METADATA_BYTES, check_metadata
from service.errors import TooLarge

PIXELS = zlib.compress(bytes(29 * 28))


def noted(*notes: bytes) -> bytes:
    return png(28, 28, PIXELS, b"".join(notes))


def packed(size: int) -> bytes:
    return zlib.compress(bytes(size))


@pytest.mark.parametrize(
    ("kind", "before"), [(b"zTXt", b"key\0\0"), (b"iCCP", b"key\0\0"), (b"iTXt", b"key\0\x01\0de\0Schl\xc3\xbcssel\0")]
)
def test_what_is_packed_beside_the_pixels_is_weighed_unpacked(kind: bytes, before: bytes) -> None:
    half = chunk(kind, before + packed(MAX_METADATA_BYTES // 2))
    check_metadata(noted(half, half), "image")
    with pytest.raises(TooLarge, match=r"image 2 has more than 8388608 bytes of text and profile, once unpacked"):
        check_metadata(noted(half, half, chunk(kind, before + packed(1))), "image 2")


def test_plain_text_is_what_it_is_and_broken_notes_are_left_to_the_reader() -> None:
    check_metadata(noted(chunk(b"tEXt", b"key\0" + bytes(MAX_METADATA_BYTES + 1))), "image")
    check_metadata(
        noted(*(chunk(kind, note) for kind in (b"zTXt", b"iTXt", b"iCCP") for note in (b"", b"a", b"a\0", b"a\0\1"))),
        "",
    )
    check_metadata(noted(chunk(b"zTXt", b"key\0\0no zlib")), "image")
    check_metadata(noted()[:40], "image")


def test_a_picture_of_very_many_chunks_is_refused_but_pixels_may_come_in_many() -> None:
    check_metadata(png(28, 28, PIXELS, chunk(b"IDAT", b"") * (2 * MAX_CHUNKS)), "image")
    with pytest.raises(TooLarge, match="more than 10000 chunks beside its pixels"):
        check_metadata(noted(chunk(b"tEXt", b"a\0b") * MAX_CHUNKS), "image")
