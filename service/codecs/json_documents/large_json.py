"""Reader of large JSON documents, whose numbers and texts never become Python objects all at once.

bytes -> outline: arrays of numbers and texts are located, numbers are counted -> parse -> document with spans in it

orjson makes the objects of a whole document in one step: up to 90 bytes a number, 35 bytes a byte, and meanwhile
Python runs nothing else. Here it makes those of the frame, which is the document without its arrays of numbers and its
texts, and no larger than a small document. The rest is read in slices (service.codecs.json_documents.json_spans).
"""

import secrets
from typing import Any

import numpy as np
import orjson

from service.codecs.json_documents.json_spans import NumberSpan, TextSpan, malformed, parse_text
from service.errors import InvalidInput, TooLarge
from service.interruption import check_interruption

# Larger documents are read here. Of smaller ones orjson makes objects of at most 9 MiB, in at most 15 ms (`[],[],...`),
# and it is faster with them. It is the limit of a frame, too.
LARGE_BYTES = 1 << 18

_SEARCH_BYTES = 1 << 22  # that one step goes through, in a millisecond
_MIN_ARRAY_BYTES = 1 << 12  # shorter arrays stay in the frame
_MIN_TEXT_BYTES = 1 << 6  # shorter texts stay in the frame
_MAX_STRING_BYTES = 1 << 12  # texts up to that become str
_MAX_ESCAPED_QUOTES = 1 << 16  # of a document
_MAX_BACKSLASHES = 64  # in a row
_MAX_BRACKETS = 1 << 10  # with spaces between them, at either end of an array
_SPACE = b" \t\r\n"


class Outline:
    """Where arrays of numbers and texts are in the document data[:stop].

    Raises:
        TooLarge: the frame is (413).
        InvalidInput: a text of escapes that no client sends (422).
    """

    def __init__(self, data: bytes, stop: int | None = None) -> None:
        self._data, self._stop = data, len(data) if stop is None else stop
        self._frame = bytearray()
        self._spans: list[NumberSpan | TextSpan] = []
        self._mark = secrets.token_hex(8)  # of placeholders; a document cannot contain it on purpose
        self._next_braces = {b"{": -1, b"}": -1}  # the position of the next one
        self._escaped_quotes = 0
        self._locate()

    @property
    def numbers(self) -> int:
        """Numbers in all of its arrays, at most: commas are counted."""
        return sum([span.count for span in self._spans if isinstance(span, NumberSpan)])

    def parse(self) -> Any:
        """The document, with spans in the place of its arrays of numbers and long texts; raises MalformedBody."""
        try:
            document = orjson.loads(self._frame)
        except orjson.JSONDecodeError as error:
            raise malformed(error.msg) from error
        if (span := self._find_span(document)) is not None:
            return span
        containers = [document]
        while containers:
            container = containers.pop()
            for key, value in container.items() if isinstance(container, dict) else enumerate(container):
                span = self._find_span(value)
                if span is not None:
                    container[key] = span
                elif isinstance(value, dict | list):
                    containers.append(value)
        return document

    def _find_span(self, value: Any) -> NumberSpan | str | TextSpan | None:
        """What a placeholder stands for, None for other values."""
        if isinstance(value, str) and value.startswith(self._mark):
            span = self._spans[int(value[len(self._mark) :])]
            if span.stop - span.start > _MAX_STRING_BYTES:
                return span
            return parse_text(self._data[span.start : span.stop])
        if isinstance(value, list) and len(value) == 2 and value[0] == self._mark:
            return self._spans[value[1]]
        return None

    def _locate(self) -> None:
        position = 0
        while position < self._stop:
            check_interruption()
            quote = self._find(b'"', position, self._stop)
            self._locate_arrays(position, quote)
            if quote == self._stop:
                return
            end = self._find_end_of_text(quote + 1)
            is_key = self._data[end + 1 : end + 65].lstrip(_SPACE)[:1] == b":"
            if end - quote > _MIN_TEXT_BYTES and end < self._stop and not is_key:
                self._keep_bytes(f'"{self._mark}{len(self._spans)}"'.encode())
                self._spans.append(TextSpan(self._data, quote + 1, end))
            else:
                self._keep(quote, end + 1)
            position = end + 1

    def _locate_arrays(self, start: int, stop: int) -> None:
        """Between texts. An array of numbers ends at the last bracket before a brace, or before the next text."""
        while stop - start > _MIN_ARRAY_BYTES:
            first = self._find(b"[", start, stop)
            brace = min(stop, self._find_brace(b"{", first), self._find_brace(b"}", first))
            span = self._measure_array(first, brace)
            if span is None:
                self._keep(start, min(stop, brace + 1))
                start = brace + 1
            else:
                self._keep(start, first)
                self._keep_bytes(f'["{self._mark}",{len(self._spans)}]'.encode())
                self._spans.append(span)
                start = span.stop
        self._keep(start, stop)

    def _measure_array(self, first: int, brace: int) -> NumberSpan | None:
        """The array that begins at `first`; None if it is short, or is not closed before `brace`."""
        if brace - first <= _MIN_ARRAY_BYTES:
            return None
        head = self._data[first : first + _MAX_BRACKETS]
        depth = head[: len(head) - len(head.lstrip(b"[" + _SPACE))].count(b"[")
        stop = self._find_last(b"]", first, brace) + 1
        tail = self._data[max(first, stop - _MAX_BRACKETS) : stop]
        brackets = tail[len(tail.rstrip(b"]" + _SPACE)) :]
        surplus = brackets.count(b"]") - depth  # brackets of lists that the array is in
        if surplus < 0:
            return None
        for _ in range(surplus):
            brackets = brackets[: brackets.rindex(b"]")].rstrip(_SPACE)
        stop -= len(tail) - len(tail.rstrip(b"]" + _SPACE)) - len(brackets)
        if stop - first <= _MIN_ARRAY_BYTES:
            return None
        return NumberSpan(self._data, first, stop, self._count_commas(first, stop) + 1, depth)

    def _find_end_of_text(self, start: int) -> int:
        """The closing quote of the text from `start`, or the document's end."""
        position = start
        while True:
            quote = self._find(b'"', position, self._stop)
            before = self._data[max(start, quote - _MAX_BACKSLASHES) : quote]
            backslashes = len(before) - len(before.rstrip(b"\\"))
            if quote == self._stop or (backslashes % 2 == 0 and backslashes < _MAX_BACKSLASHES):
                return quote
            self._escaped_quotes += 1
            if backslashes == _MAX_BACKSLASHES or self._escaped_quotes > _MAX_ESCAPED_QUOTES:
                raise InvalidInput("a text of the body is made of quotes and backslashes; images are sent as base64")
            position = quote + 1

    def _find(self, character: bytes, start: int, stop: int) -> int:
        """The first one in data[start:stop], `stop` if there is none."""
        while start < stop:
            end = min(start + _SEARCH_BYTES, stop)
            position = self._data.find(character, start, end)
            if position >= 0:
                return position
            start = end
        return stop

    def _find_last(self, character: bytes, start: int, stop: int) -> int:
        """The last one in data[start:stop], `start` if there is none."""
        while start < stop:
            begin = max(start, stop - _SEARCH_BYTES)
            position = self._data.rfind(character, begin, stop)
            if position >= 0:
                return position
            stop = begin
        return start

    def _find_brace(self, brace: bytes, start: int) -> int:
        """The next one from `start` on. Found once: a search for one that is far away is not repeated."""
        if self._next_braces[brace] < start:
            self._next_braces[brace] = self._find(brace, start, self._stop)
        return self._next_braces[brace]

    def _count_commas(self, start: int, stop: int) -> int:
        characters = np.frombuffer(self._data, np.uint8, stop - start, start)
        slices = range(0, len(characters), _SEARCH_BYTES)
        return sum([int(np.count_nonzero(characters[i : i + _SEARCH_BYTES] == ord(","))) for i in slices])

    def _keep(self, start: int, stop: int) -> None:
        """data[start:stop] belongs to the frame."""
        self._check_frame(max(0, stop - start))
        self._frame += self._data[start:stop]

    def _keep_bytes(self, text: bytes) -> None:
        self._check_frame(len(text))
        self._frame += text

    def _check_frame(self, size: int) -> None:
        if len(self._frame) + size > LARGE_BYTES:
            raise TooLarge(
                f"the JSON holds more than {LARGE_BYTES} bytes beside arrays of numbers and base64 texts; "
                "send an array as .npy, and many images as a form",
                limit=LARGE_BYTES,
            )
