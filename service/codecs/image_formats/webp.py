"""Chunks of a WebP (RFC 9649): whether its pixels are coded without loss."""

import struct


def is_lossless(data: bytes) -> bool:
    """Whether the picture is in a chunk VP8L; that of an animation is not looked at."""
    position = 12
    while position + 8 <= len(data):
        kind, (size,) = data[position : position + 4], struct.unpack_from("<I", data, position + 4)
        if kind in (b"VP8L", b"VP8 "):
            return kind == b"VP8L"
        position += 8 + size + size % 2
    return False
