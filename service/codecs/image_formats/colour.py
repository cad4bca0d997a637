"""Colour spaces of files without a profile: gamma and primaries of a PNG, code points of PNG and AVIF -> ICC profiles.

chunks of a PNG {cICP, sRGB, gAMA, cHRM} -> to_profile -> ICC profile (ICC.1:2022), for formats that have no such chunks

The strongest of them counts, in that order (PNG, third edition, 4.3). Code points are those of ITU-T H.273; for the
transfer functions of high dynamic range (PQ, HLG) the profile has them in its tag `cicp` as well. Pixels that mean sRGB
need no profile.
"""

import struct
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Primaries = tuple[float, ...]  # x, y of white, red, green, blue (CIE 1931)
Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # a pixel's number, 0..1 -> light, 0..1

_SRGB_PRIMARIES: Primaries = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_PRIMARIES: dict[int, Primaries] = {  # H.273, table 2
    1: _SRGB_PRIMARIES,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (0.3127, 0.3290, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (0.3127, 0.3290, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
_PQ, _HLG = 16, 18
_TOLERANCE = 0.003  # of a chromaticity: writers round to 2 or 3 digits
_SRGB_GAMMA = (0.43, 0.47)  # gAMA of 1/2.2 is what writers of sRGB put down
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SAMPLES = 4096  # of a curve: PQ needs that many in the shadows


def to_profile(chunks: Mapping[str, bytes], channels: int) -> bytes | None:
    """An ICC profile for pixels of a PNG with these chunks; None if they mean sRGB, or nothing that is known.

    Args:
        chunks: content of cICP (4 bytes), sRGB (1), gAMA (4), cHRM (32).
        channels: colours without alpha, 1 (grey) or 3 (RGB).
    """
    points = chunks.get("cICP")
    if points is not None and points[0] in _PRIMARIES and points[1] in _CURVES:
        if points[0] == 1 and points[1] in (1, 6, 13, 14, 15):  # BT.709 pixels are displayed like sRGB
            return None
        return _write_profile(_PRIMARIES[points[0]], _CURVES[points[1]], channels, points if channels == 3 else None)
    if "sRGB" in chunks:
        return None
    primaries, exponent = _SRGB_PRIMARIES, 1 / 2.2
    if "gAMA" in chunks:
        exponent = struct.unpack(">I", chunks["gAMA"])[0] / 100_000
    if "cHRM" in chunks:
        primaries = tuple(value / 100_000 for value in struct.unpack(">8I", chunks["cHRM"]))
    is_srgb_like = all(abs(a - b) <= _TOLERANCE for a, b in zip(primaries, _SRGB_PRIMARIES, strict=True))
    if (is_srgb_like or channels == 1) and _SRGB_GAMMA[0] <= exponent <= _SRGB_GAMMA[1]:
        return None
    if not 0.05 <= exponent <= 5 or not _is_triangle(primaries):
        return None
    return _write_profile(primaries, lambda number: number ** (1 / exponent), channels, None)


def code_points_to_chunks(primaries: int, transfer: int) -> dict[str, bytes]:
    """The chunk cICP for code points of H.273, of an AVIF or HEIC; none where they are not specified or mean sRGB."""
    if primaries not in _PRIMARIES or transfer not in _CURVES or (primaries == 1 and transfer in (1, 6, 13, 14, 15)):
        return {}
    return {"cICP": bytes([primaries, transfer, 0, 1])}


def _is_triangle(primaries: Primaries) -> bool:
    """Whether white, red, green and blue are chromaticities of a display."""
    if any(not 0 < y <= 1 or not 0 <= x <= 1 for x, y in zip(primaries[::2], primaries[1::2], strict=True)):
        return False
    (red_x, red_y), (green_x, green_y), (blue_x, blue_y) = zip(primaries[2::2], primaries[3::2], strict=True)
    area = (green_x - red_x) * (blue_y - red_y) - (blue_x - red_x) * (green_y - red_y)
    return abs(area) > 0.01


def _write_profile(primaries: Primaries, curve: Curve, channels: int, points: bytes | None) -> bytes:
    """An ICC profile of a display: curve and, for three channels, the colours of its primaries under D50."""
    samples = np.clip(curve(np.linspace(0, 1, _SAMPLES)), 0, 1)
    tone = b"curv\0\0\0\0" + struct.pack(">I", _SAMPLES) + np.rint(samples * 65535).astype(">u2").tobytes()
    tags: dict[bytes, bytes] = {
        b"desc": _text("colour space of the file"), b"cprt": _text("no copyright"), b"wtpt": _xyz(_D50)
    }  # fmt: skip
    if channels == 1:
        tags[b"kTRC"] = tone
    else:
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), _colorants(primaries).T, strict=True):
            tags[name] = _xyz(column)
        tags |= {b"rTRC": tone, b"gTRC": tone, b"bTRC": tone}
    if points is not None:
        tags[b"cicp"] = b"cicp\0\0\0\0" + points[:2] + b"\0\x01"
    table, content, places = struct.pack(">I", len(tags)), bytearray(), {}
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        if value not in places:  # the three curves are one
            places[value] = start + len(content)
            content += value + b"\0" * (-len(value) % 4)
        table += name + struct.pack(">II", places[value], len(value))
    space = b"GRAY" if channels == 1 else b"RGB "
    head = struct.pack(">I4sI4s4s4s12s4s", start + len(content), b"\0\0\0\0", 0x04400000, b"mntr", space, b"XYZ ",
                       struct.pack(">6H", 2026, 1, 1, 0, 0, 0), b"acsp")  # fmt: skip
    head = head.ljust(68, b"\0") + struct.pack(">3i", *(_fixed(value) for value in _D50))
    return head.ljust(128, b"\0") + table + bytes(content)


def _colorants(primaries: Primaries) -> NDArray[np.float64]:
    """[3,3]: XYZ of red, green and blue in its columns, adapted to D50 (Bradford; ICC.1:2022, annex E)."""
    white, *colours = (
        np.array([x / y, 1, (1 - x - y) / y]) for x, y in zip(primaries[::2], primaries[1::2], strict=True)
    )
    matrix = np.stack(colours, axis=1)
    matrix = matrix * np.linalg.solve(matrix, white)
    ratio = (_BRADFORD @ np.array(_D50)) / (_BRADFORD @ white)
    adapted: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ np.diag(ratio) @ _BRADFORD @ matrix
    return adapted


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(encoded), 28) + encoded


def _xyz(values: tuple[float, ...] | NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(_fixed(float(value)) for value in values))


def _fixed(value: float) -> int:
    return round(value * 65536)


# --- transfer functions (H.273, table 3), from a pixel's number to light ---------------------------------------


def _bt709(number: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(number < 0.081, number / 4.5, ((number + 0.099) / 1.099) ** (1 / 0.45))


def _srgb(number: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(number <= 0.04045, number / 12.92, ((number + 0.055) / 1.055) ** 2.4)


def _smpte240(number: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(number < 0.0912, number / 4, ((number + 0.1115) / 1.1115) ** (1 / 0.45))


def _pq(number: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084; 1.0 is 10,000 candela a square metre."""
    power = number ** (32 / 2523)
    light: NDArray[np.float64] = (np.maximum(power - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * power)) ** (8192 / 1305)
    return light


def _hlg(number: NDArray[np.float64]) -> NDArray[np.float64]:
    """ARIB STD-B67, light of the scene."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(number <= 0.5, number**2 / 3, (np.exp((number - c) / a) + b) / 12)


def _power(exponent: float) -> Curve:
    return lambda number: number**exponent


_CURVES: dict[int, Curve] = {
    1: _bt709, 4: _power(2.2), 5: _power(2.8), 6: _bt709, 7: _smpte240, 8: _power(1.0), 13: _srgb, 14: _bt709,
    15: _bt709, _PQ: _pq, 17: _power(2.6), _HLG: _hlg,
}  # fmt: skip
