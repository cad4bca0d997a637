"""Tables: rows of numbers by the names of their columns, with other columns carried along as text.

CSV     -> service.codecs.table_formats.dialect -> records -> columns -> Table of at most so many rows
Parquet -> service.codecs.table_formats.parquet -------------------------------^
Table with other numbers -> write_csv | service.codecs.table_formats.parquet.write

Nothing is trusted before it is counted: a line has at most MAX_LINE characters, a cell csv's own limit, and a reader
stops at the row after the last that is allowed. Text that is carried takes no more bytes than the body has.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from service.codecs.table_formats.dialect import (
    HEAD_RECORDS,
    Dialect,
    count_cells,
    count_header_rows,
    find_declared_delimiter,
    find_dialect,
    find_encoding,
    is_comment,
    is_gap,
    name_columns,
    read_records,
    strip_row,
)
from service.errors import InvalidInput, MalformedBody, TooLarge
from service.interruption import check_interruption

MAX_LINE = 1 << 20  # characters
LATENT_NAME = "latent_{}"  # of the columns of latents, from 1

_SLICE = 1 << 20  # bytes
_HEAD_CHARACTERS = 1 << 20
_NAMED = 8  # columns that a sentence names
_ROW_NAMES = {"", "Unnamed: 0", "__index_level_0__"}  # of a first column of row numbers

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TableSchema:
    """What a table's rows become.

    Args:
        owner: what takes the rows, for sentences.
        count: numbers of a row.
        names: of their columns; None: they have none, and a table's columns of numbers are taken in order.
    """

    owner: str
    count: int
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Table:
    """Rows of a table.

    Args:
        numbers: float64 [N,D].
        names: of the D columns; None: neither the table nor the model has names.
        carried_names: of the other columns.
        carried_rows: their cells, N texts in which MARK stands between cells, in UTF-8.
    """

    numbers: Floats
    names: tuple[str, ...] | None = None
    carried_names: tuple[str, ...] = ()
    carried_rows: list[bytes] = field(default_factory=list)

    def carried_cells(self, row: int) -> list[str]:
        """The other columns' cells of a row."""
        return split_cells(self.carried_rows[row]) if self.carried_names else []

    def carried_columns(self) -> dict[str, list[str]]:
        """Name -> its cells. Of columns with one name the last stays."""
        rows = [split_cells(row) for row in self.carried_rows]
        return {name: [row[index] for row in rows] for index, name in enumerate(self.carried_names)}


MARK = "\x1f"  # the unit separator of ASCII; cells that hold it lose it


def join_cells(cells: Sequence[str]) -> bytes:
    """Cells of one row in as many bytes as they have, and one between two."""
    return MARK.join([cell.replace(MARK, "") for cell in cells]).encode("utf-8", "replace")


def split_cells(row: bytes) -> list[str]:
    return row.decode().split(MARK)


def latent_names(count: int) -> tuple[str, ...]:
    """latent_1, latent_2, ..."""
    return tuple(LATENT_NAME.format(number) for number in range(1, count + 1))


def column_names(count: int) -> tuple[str, ...]:
    """column_1, column_2, ...: of columns without a name."""
    return tuple(f"column_{number}" for number in range(1, count + 1))


# --- choosing columns -------------------------------------------------------------------------------------


def choose_columns(
    header: Sequence[str] | None, is_numeric: Sequence[bool], schema: TableSchema, label: str
) -> list[int]:
    """Indices of the columns that are numbers of a row, in the order in which the model takes them.

    By name, if the table and the model have names; else all columns of numbers in order, which must be as many.

    Args:
        header: the names; None: the table has none.
        is_numeric: of each column, whether its first cells are numbers.
    Raises:
        InvalidInput: a column is missing or there twice, or there are more or fewer than the model takes.
    """
    if header is not None and schema.names is not None:
        places: dict[str, list[int]] = {}
        for index, name in enumerate(header):
            places.setdefault(name, []).append(index)
        missing = [name for name in schema.names if name not in places]
        if missing:
            raise InvalidInput(
                f"{label} has no column {_join(missing)}; {schema.owner} takes {_join(schema.names)}, "
                f"the columns are {_join(header)}"
            )
        twice = [name for name in schema.names if len(places[name]) > 1]
        if twice:
            raise InvalidInput(
                f"{label} has {len(places[twice[0]])} columns {twice[0][:100]!r}; give each its own name"
            )
        return [places[name][0] for name in schema.names]
    numeric = [
        index
        for index, is_number in enumerate(is_numeric)
        if is_number and not (header is not None and index == 0 and header[0] in _ROW_NAMES)
    ]
    if len(numeric) != schema.count:
        names = "" if header is None else f" ({_join([header[index] for index in numeric])})" if numeric else ""
        remedy = "" if schema.names is None else f"; or give them the names {_join(schema.names)} in a first line"
        raise InvalidInput(
            f"{label} has {len(numeric)} columns of numbers{names}; {schema.owner} takes {schema.count}{remedy}"
        )
    return numeric


def _join(names: Sequence[str]) -> str:
    text = ", ".join(repr(name[:100]) for name in names[:_NAMED])
    return text if len(names) <= _NAMED else f"{text}, ... ({len(names)} in all)"


# --- reading CSV ------------------------------------------------------------------------------------------


class _Lines:
    """Lines of a CSV without comments. `number` is that of the last line, from 1."""

    def __init__(self, data: bytes, encoding: str, label: str) -> None:
        self.number = 0
        self._label = label
        self._text = io.TextIOWrapper(io.BytesIO(data), encoding, "replace", newline=None)

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(MAX_LINE):
            self.number += 1
            if not self.number % 256:
                check_interruption()
            if len(line) == MAX_LINE and not line.endswith("\n"):
                raise TooLarge(f"{self._label}, line {self.number} has {MAX_LINE} characters or more", limit=MAX_LINE)
            if "\0" in line:
                raise MalformedBody(f"{self._label} is not text: line {self.number} has a zero byte")
            if not is_comment(line, self.number):
                yield line


def read_csv_batches(data: bytes, schema: TableSchema, batch_rows: int, label: str = "the table") -> Iterator[Table]:
    """The rows, at most `batch_rows` at a time; at least one row in all.

    Args:
        data: comma, semicolon, tab, bar or blanks between cells; point or comma in numbers; UTF-8, UTF-16 or
            Windows-1252; first lines in which no cell is a number are the header.
    Raises:
        MalformedBody: it is no text, or quotes are not closed (400).
        TooLarge: a line is too long (413).
        InvalidInput: a column is missing, a row has another number of cells, a cell is a gap or a word (422).
    """
    if not data.strip():
        raise InvalidInput(f"{label} is empty; rows of numbers are expected")
    encoding = find_encoding(data, check_interruption)
    dialect = _find_dialect(data, encoding, schema.count, label)
    lines = _Lines(data, encoding, label)
    records = read_records(lines, dialect.delimiter)
    try:
        yield from _read_records(records, lines, dialect, schema, batch_rows, label)
    except csv.Error as error:
        raise MalformedBody(f"{label}, line {lines.number}: {error}; is a quote not closed?") from error


def read_csv(data: bytes, schema: TableSchema, max_rows: int, label: str = "the table") -> Table:
    """All rows; raises as `read_csv_batches`, and TooLarge for more than `max_rows`."""
    batches = read_csv_batches(data, schema, max_rows, label)
    table = next(batches)
    if next(batches, None) is not None:
        raise TooLarge(f"{label} holds more than {max_rows} rows, which is the limit of one request", limit=max_rows)
    return table


def estimate_cells(data: bytes, count: int, label: str = "the table") -> int:
    """Cells of a CSV, at most, before any is read."""
    delimiter = _find_dialect(data, find_encoding(data, check_interruption), count, label).delimiter
    marks = [b"\n", b"\r", *([b" ", b"\t"] if delimiter == " " else [delimiter.encode()])]
    cells = 1
    for start in range(0, len(data), _SLICE):
        part = data[start : start + _SLICE]
        cells += sum(map(part.count, marks))
        check_interruption()
    return cells


def _read_records(
    records: Iterator[list[str]], lines: _Lines, dialect: Dialect, schema: TableSchema, batch_rows: int, label: str
) -> Iterator[Table]:
    head = [(lines.number, record) for record in islice(records, HEAD_RECORDS)]
    header_count = count_header_rows([row for _, row in head], dialect)
    if header_count == len(head):
        raise InvalidInput(f"{label} has no row with a number in it")
    width = count_cells(head[header_count][1])
    header = name_columns(head[0][1], width) if header_count else None
    if header is not None:
        width = max(width, len(header))
    rows = [strip_row(row, width) for _, row in head[header_count:]]
    is_numeric = [dialect.has_numbers(row[index] for row in rows if len(row) == width) for index in range(width)]
    chosen = choose_columns(header, is_numeric, schema, label)
    kept = set(chosen)
    carried = [index for index in range(width) if index not in kept]
    names = schema.names or (None if header is None else tuple(header[index] for index in chosen))
    carried_names = tuple((header[index] if header is not None else f"column_{index + 1}") for index in carried)
    numbers: list[Floats] = []
    texts: list[bytes] = []

    def numbered_rows() -> Iterator[tuple[int, list[str]]]:
        yield from head[header_count:]
        for record in records:
            yield lines.number, record

    for line, record in numbered_rows():
        row = strip_row(record, width)
        if len(row) != width:
            raise InvalidInput(f"{label}, line {line} has {len(row)} cells; the lines before have {width}")
        if len(numbers) == batch_rows:
            yield Table(np.stack(numbers), names, carried_names, texts)
            numbers, texts = [], []
        numbers.append(_to_numbers(row, chosen, dialect, header, line, label))
        if carried:
            texts.append(join_cells([row[index] for index in carried]))
    yield Table(np.stack(numbers), names, carried_names, texts)


def _to_numbers(
    row: list[str], chosen: list[int], dialect: Dialect, header: list[str] | None, line: int, label: str
) -> Floats:
    """float64 [D] of a row; InvalidInput for a gap or a word."""
    cells = [row[index] for index in chosen]
    if dialect.decimal == ",":
        cells = [dialect.normalize(cell) for cell in cells]
    try:
        numbers = np.array(list(map(float, cells)), np.float64)
        if np.isfinite(numbers).all() and "_" not in "".join(cells):
            return numbers
    except ValueError:
        pass  # found below
    for index in chosen:
        if not dialect.is_number(row[index]):
            cell = row[index].strip()
            column = f'column "{header[index][:100]}"' if header is not None else f"column {index + 1}"
            fault = "is a gap" if is_gap(cell) else "is not a number"
            raise InvalidInput(f'{label}, line {line}, {column}: "{cell[:40]}" {fault}; all numbers must be there')
    return np.array([float(dialect.normalize(row[index])) for index in chosen], np.float64)


def _find_dialect(data: bytes, encoding: str, count: int, label: str) -> Dialect:
    """Of the first lines; raises TooLarge, MalformedBody."""
    head: list[str] = []
    characters = 0
    for line in _Lines(data, encoding, label):
        head.append(line)
        characters += len(line)
        if len(head) == HEAD_RECORDS or characters > _HEAD_CHARACTERS:
            break
    first_line = data[:64].decode(encoding, "replace").split("\n", 1)[0].split("\r", 1)[0]
    return find_dialect(head, count=count, delimiter=find_declared_delimiter(first_line))


# --- writing CSV ------------------------------------------------------------------------------------------


def write_csv(
    header: Sequence[str], carried: Sequence[bytes], columns: Sequence[NDArray[Any] | Sequence[str]]
) -> bytes:
    """CSV as RFC 4180 has it, with a header and line ends of one character.

    Args:
        header: names of all columns: the carried ones first.
        carried: cells of each row (`join_cells`); empty: there are none.
        columns: arrays [N,D] or [N] of numbers, which are written as the shortest text that reads back the same, and
            lists of N texts.
    """
    buffer = io.BytesIO()
    buffer.write(_format_texts(header) + b"\n")
    count = len(columns[0])
    for row in range(count):
        if not row % 256:
            check_interruption()
        parts = [_format_texts(split_cells(carried[row]))] if carried else []
        parts += [_format_numbers(column[row]) if isinstance(column, np.ndarray) else _format_texts([column[row]])
                  for column in columns]  # fmt: skip
        buffer.write(b",".join(parts) + b"\n")
    return buffer.getvalue()


def _format_numbers(numbers: Any) -> bytes:
    text = orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY)
    return text[1:-1] if text.startswith(b"[") else text


def _format_texts(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)  # its own line ends, without which it does not quote those in cells
    return text.getvalue().removesuffix("\r\n").encode("utf-8", "replace")
