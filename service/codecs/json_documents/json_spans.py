"""Arrays of numbers and long texts inside a JSON document, read in slices of a few milliseconds.

NumberSpan -> slices, cut at commas -> brackets checked, numbers converted -> array of the port's dtype
TextSpan   -> slices                -> base64 decoded -> bytes

Beside the document, memory holds the result and one slice.
"""

import base64
import binascii
import io
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from service.codecs import arrays
from service.errors import InvalidInput, MalformedBody
from service.interruption import check_interruption

SLICE_BYTES = 1 << 17  # read in one step: 1 to 3 ms
_MAX_DATA_URL_BYTES = 1 << 10  # of a data: URL before its comma
_SPACE = b" \t\r\n"
_DIGITS_TO_0 = bytes.maketrans(b"0123456789+-.eE", b"0" * 15)
_MISPLACED = (b"0[", b"]0", b"][", b"[,", b",]")  # of a text without spaces, each number as zeros
_LITERALS = (b"true", b"false", b"null")


class TextSpan:
    """A long text: data[start:stop], between its quotes, escapes as they are."""

    json_name = "text"

    def __init__(self, data: bytes, start: int, stop: int) -> None:
        self.data, self.start, self.stop = data, start, stop

    def __repr__(self) -> str:
        return f"a text of {self.stop - self.start} bytes"

    def decode_base64(self, label: str) -> bytes:
        """Base64, plain or in a data: URL, with or without line breaks -> bytes.

        Raises:
            MalformedBody: no JSON text.
            InvalidInput: no base64; the sentence names the text by `label`.
        """
        position = self.start
        if self.data[position : position + 5].lower() == b"data:":
            comma = self.data.find(b",", position, min(self.stop, position + _MAX_DATA_URL_BYTES))
            position = comma + 1 if comma >= 0 else self.stop
        buffer, rest = io.BytesIO(), b""
        try:
            for piece in self._pieces(position):
                encoded = _append_base64(rest, parse_text(piece).encode("ascii").translate(None, _SPACE))
                end = len(encoded) // 4 * 4
                if b"=" in encoded[-2:]:  # padding waits for the end
                    end = max(0, len(encoded) - 4) // 4 * 4
                buffer.write(base64.b64decode(encoded[:end], validate=True))
                rest = encoded[end:]
            buffer.write(base64.b64decode(rest, validate=True))
        except (ValueError, binascii.Error) as error:  # UnicodeEncodeError is a ValueError
            raise InvalidInput(f"{label} is text that is not a base64 image") from error
        return buffer.getvalue()

    def _pieces(self, position: int) -> Iterator[bytes]:
        """Slices that do not end within an escape; ValueError if there is a backslash that is escaped itself."""
        while position < self.stop:
            check_interruption()
            piece = self.data[position : min(position + SLICE_BYTES, self.stop)]
            if b"\\\\" in piece:
                raise ValueError("a backslash")
            if position + len(piece) < self.stop and b"\\" in piece[-6:]:  # \u0041 has 6 bytes
                piece = piece[: piece.rfind(b"\\")]
            position += len(piece)
            yield piece


class NumberSpan:
    """An array of numbers: data[start:stop], from its first bracket to its last.

    Args:
        count: of its numbers, if it holds nothing else: commas and one.
        depth: brackets at its start, and at its end.
    """

    json_name = "a list"

    def __init__(self, data: bytes, start: int, stop: int, count: int, depth: int) -> None:
        self.data, self.start, self.stop, self.count, self.depth = data, start, stop, count, depth

    def __repr__(self) -> str:
        return f"a list of {self.count} numbers"

    def read(self, label: str, dtype: Any) -> NDArray[Any]:
        """The numbers in their shape, as uint8 (pixels), float32 or float64.

        Raises:
            MalformedBody: no JSON.
            InvalidInput: ragged, empty, too deep, or with values that are no numbers, or none of that dtype. The
                sentence names the array by `label`.
        """
        if self.depth > arrays.MAX_AXES:
            raise InvalidInput(f"{label} is nested more than {arrays.MAX_AXES} lists deep")
        array = np.empty(self.count, dtype)
        shape = _ShapeReader(self.depth, label)
        start = 0
        for text in self._slices(label):
            zeros = _replace_digits(text, label)
            parsed = _parse_numbers(text, as_bytes=dtype == np.uint8)
            numbers: NDArray[Any]
            if dtype == np.uint8:
                numbers = arrays.to_uint8(parsed, label)
            else:
                numbers = arrays.to_floats(parsed, np.dtype(dtype).name, label)
            if len(numbers) != zeros.count(b",") + 1 or start + len(numbers) > self.count:
                raise malformed("numbers and commas do not alternate")
            shape.read(zeros, len(numbers))
            array[start : start + len(numbers)] = numbers
            start += len(numbers)
        return array[:start].reshape(shape.finish())

    def _slices(self, label: str) -> Iterator[bytes]:
        """The text, cut at commas, which are left out."""
        position, data = self.start, self.data
        while position <= self.stop:
            check_interruption()
            end = self.stop
            if end - position > SLICE_BYTES:
                end = data.rfind(b",", position, position + SLICE_BYTES)
                if end < 0:
                    _refuse_character(data[position : position + SLICE_BYTES], label)
                    raise InvalidInput(f"{label} holds a number, or space, of more than {SLICE_BYTES} bytes")
            yield data[position:end]
            position = end + 1


def read_numbers(values: Any, label: str, dtype: Any) -> NDArray[Any]:
    """Nested lists of a document, or a NumberSpan -> array in its shape: uint8 or uint16 for pixels, else any dtype.

    Raises:
        MalformedBody, InvalidInput: as NumberSpan.read and arrays.read_numbers.
    """
    if dtype == np.uint16:
        return arrays.to_uint16(read_numbers(values, label, np.dtype(np.float64)), label)
    if isinstance(values, NumberSpan):
        return values.read(label, dtype)
    numbers = arrays.read_numbers(values, label)
    return arrays.to_uint8(numbers, label) if dtype == np.uint8 else numbers


def parse_text(text: bytes) -> str:
    """A JSON text without its quotes; raises MalformedBody."""
    try:
        parsed: str = orjson.loads(b'"' + text + b'"')
    except orjson.JSONDecodeError as error:
        raise malformed(error.msg) from error
    return parsed


def malformed(reason: str) -> MalformedBody:
    return MalformedBody(f"the body is not JSON: {reason}")


def _append_base64(encoded: bytes, more: bytes) -> bytes:
    """Raises ValueError if there is padding in the middle."""
    if b"=" in encoded and more:
        raise ValueError("padding")
    return encoded + more


class _ShapeReader:
    """The shape of an array, from its brackets: slice by slice, the innermost axis first.

    Between two numbers that end and begin k lists stands "]" * k + "," + "[" * k. In a regular array the k of every
    `periods[level]`-th number is at least `level`.
    """

    def __init__(self, depth: int, label: str) -> None:
        self._label, self._depth = label, depth
        self._periods = [1, *[0] * (depth - 1)]  # level -> numbers in a list of that level; 0: not known yet
        self._count = 0  # numbers so far
        self._closing = -1  # brackets after the last one; -1 at the start

    def read(self, zeros: bytes, count: int) -> None:
        """The next slice of `count` numbers, each as zeros, without spaces."""
        if any(pair in zeros for pair in _MISPLACED) or zeros[:1] in b"]," or zeros[-1:] in b"[,":
            raise malformed("brackets and numbers do not alternate")
        if self._count:
            self._check_lists(np.array([self._closing]), self._count)
        opening, closing = _count_brackets(zeros, count)
        if opening[0] != (self._depth if self._closing < 0 else self._closing) or (opening[1:] != closing[:-1]).any():
            raise malformed("brackets do not match")
        self._check_lists(closing[:-1], self._count + 1)
        self._count += count
        self._closing = int(closing[-1])

    def finish(self) -> tuple[int, ...]:
        """The shape of what was read."""
        if self._closing != self._depth:
            raise malformed("brackets do not match")
        periods = [*[period or self._count for period in self._periods], self._count]
        for level, (period, longer) in enumerate(pairwise(periods)):
            if longer % period:
                self._refuse_ragged(level, longer % period)
        return tuple(longer // period for period, longer in pairwise(periods))[::-1]

    def _check_lists(self, closing: NDArray[Any], first: int) -> None:
        """`closing` brackets after the number `first`, counted from 1, and those that follow it."""
        last = first + len(closing) - 1
        if len(closing) and closing.max() >= self._depth:
            raise malformed("something follows the end of a list")
        for level in range(1, self._depth):
            ends = np.flatnonzero(closing >= level) + first
            period = self._periods[level]
            if not period and len(ends):
                period = self._periods[level] = int(ends[0])
            if not period:
                continue
            irregular = ends[ends % period != 0]
            if len(irregular):
                self._refuse_ragged(level, int(irregular[0]) % period)
            if len(ends) != last // period - (first - 1) // period:
                self._refuse_ragged(level, 2 * period)

    def _refuse_ragged(self, level: int, numbers: int) -> None:
        unit, period = self._periods[level - 1], self._periods[level]
        other = "of more" if numbers > period else f"of {-(-numbers // unit)}"
        raise InvalidInput(f"{self._label} is ragged: lists of {period // unit} and {other} side by side")


def _count_brackets(zeros: bytes, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Of each number: the brackets before it, and those behind it; int64 [count] each."""
    if b"[" not in zeros and b"]" not in zeros:
        return np.zeros(count, np.int64), np.zeros(count, np.int64)
    characters = np.frombuffer(zeros.translate(None, b"0"), np.uint8)
    cuts = np.append(np.flatnonzero(characters == ord(",")), len(characters) - 1)
    opening = np.cumsum(characters == ord("["))[cuts]
    closing = np.cumsum(characters == ord("]"))[cuts]
    return np.diff(opening, prepend=0), np.diff(closing, prepend=0)


def _replace_digits(text: bytes, label: str) -> bytes:
    """Without spaces, each byte of a number as 0; raises InvalidInput, MalformedBody for what is neither number."""
    zeros = text.translate(_DIGITS_TO_0, _SPACE)
    if zeros.translate(None, b"0[],"):
        _refuse_character(text, label)
    if b"[]" in zeros:
        raise InvalidInput(f"{label} holds empty lists; numbers are wanted")
    return zeros


def _refuse_character(text: bytes, label: str) -> None:
    rest = text.lstrip(b"0123456789+-.eE[], \t\r\n")
    if rest.startswith(_LITERALS):
        literal = next(literal for literal in _LITERALS if rest.startswith(literal)).decode()
        raise InvalidInput(f"{label} holds {literal} where numbers are wanted")
    if rest:
        raise malformed(f"unexpected character {rest[:1].decode('latin-1')!r} among numbers")


def _parse_numbers(text: bytes, *, as_bytes: bool) -> NDArray[Any]:
    """Numbers between commas and brackets -> float64, or uint8 if that is wanted and all fit."""
    try:
        numbers = orjson.loads(b"[" + text.translate(None, b"[]") + b"]")
    except orjson.JSONDecodeError as error:
        raise malformed(error.msg) from error
    if as_bytes:
        try:
            return np.frombuffer(bytes(numbers), np.uint8)
        except (TypeError, ValueError):  # real numbers, or not 0..255
            pass
    return np.array(numbers, np.float64)
