"""Parser of multipart/form-data, for a body that is in memory already and bounded.

body, Content-Type -> parse_form -> FormPart, in the order of the body

Nothing is written to disk, so a read-only container needs no scratch space.
"""

import io
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import MalformedBody, TooLarge
from service.interruption import check_interruption

_SLICE_BYTES = 1 << 18  # parsed in one step
_SPARE_DELIMITERS = 1000  # boundaries that end no part: the parser takes 2 us for each, in Python


@dataclass
class FormPart:
    """One field of a form: its name, the name of its file (None: it was sent as text), and its bytes."""

    name: str
    filename: str | None
    data: bytes


def parse_form(body: bytes, content_type: str, max_parts: int) -> list[FormPart]:
    """Parts in the order of the body.

    Args:
        content_type: of the request, with the boundary.
    Raises:
        MalformedBody: no boundary, a part without a name, or a body that ends in the middle.
        TooLarge: more than `max_parts`.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise MalformedBody("the form's Content-Type has no boundary; let the client set it (curl: -F)")
    collector = _PartCollector(max_parts)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": collector.begin,
                "on_header_field": collector.header_field,
                "on_header_value": collector.header_value,
                "on_header_end": collector.header_end,
                "on_part_data": collector.data,
                "on_part_end": collector.end,
                "on_end": collector.finish,
            },
        )
        for start in range(0, len(body), _SLICE_BYTES):
            check_interruption()
            piece = body[start : start + _SLICE_BYTES]
            collector.count_delimiters(piece.count(b"--" + boundary))
            parser.write(piece)
        parser.finalize()
    except FormParserError as error:
        raise MalformedBody("the body is not the multipart form that its Content-Type says") from error
    if not collector.is_finished:
        raise MalformedBody("the form is cut off: its closing boundary is missing")
    return collector.parts


class _PartCollector:
    """Callbacks of the parser, which collect its events into parts."""

    def __init__(self, max_parts: int) -> None:
        self.parts: list[FormPart] = []
        self.is_finished = False
        self._max_parts = max_parts
        self._field = self._value = self._disposition = b""
        self._data = io.BytesIO()  # grows, and gives its content away, without a copy of it all
        self._delimiters = 0

    def count_delimiters(self, count: int) -> None:
        """`count` more; raises TooLarge (413) if the parts that may be there do not have so many."""
        self._delimiters += count
        if self._delimiters > self._max_parts + _SPARE_DELIMITERS:
            raise TooLarge(
                f"the form has its boundary more than {self._max_parts + _SPARE_DELIMITERS} times; it may have "
                f"{self._max_parts} parts",
                limit=self._max_parts,
            )

    def begin(self) -> None:
        self._disposition = b""
        self._data = io.BytesIO()

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field = self._value = b""

    def data(self, data: bytes, start: int, end: int) -> None:
        self._data.write(memoryview(data)[start:end])

    def end(self) -> None:
        options = parse_options_header(self._disposition)[1]
        if b"name" not in options:
            raise MalformedBody("a part of the form has no name in its Content-Disposition")
        if len(self.parts) == self._max_parts:
            raise TooLarge(f"the form has more than {self._max_parts} parts", limit=self._max_parts)
        name, filename = options[b"name"].decode("utf-8", "replace"), options.get(b"filename")
        file = None if filename is None else filename.decode("utf-8", "replace")
        self.parts.append(FormPart(name, file, self._data.getvalue()))

    def finish(self) -> None:
        self.is_finished = True
