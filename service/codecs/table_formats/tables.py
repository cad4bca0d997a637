"""Tables: rows of numbers by the names of their columns, with other columns carried along as text.

CSV     -> encoding -> dialect -> header -> records by Python's csv -> Table of at most so many rows
Parquet -> service.codecs.table_formats.parquet -------------------------------^
Table with other numbers -> write_csv | service.codecs.table_formats.parquet.write

Nothing is trusted before it is counted: a line has at most MAX_LINE characters, a cell csv's own limit, and a reader
stops at the row after the last that is allowed. Text that is carried takes no more bytes than the body has.
"""

import codecs
import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from service.errors import InvalidInput, MalformedBody, TooLarge
from service.interruption import check_interruption

DELIMITERS = (",", ";", "\t", "|")
MAX_LINE = 1 << 20  # characters
LATENT_NAME = "latent_{}"  # of the columns of latents, from 1

_SLICE = 1 << 20  # bytes
_HEAD_RECORDS = 100  # by which delimiter, decimal sign and header are found
_HEAD_CHARACTERS = 1 << 20
_NAMED = 8  # columns that a sentence names
_GAPS = {"", "na", "n/a", "#n/a", "nan", "null", "none", "-", "?", "inf", "-inf", "+inf", "infinity", "-infinity"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_SEPARATOR = re.compile(r"sep=(.)")  # a first line as spreadsheets write it
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


@dataclass(frozen=True)
class Dialect:
    """How a CSV is written: `encoding` (a codec of Python), `delimiter`, `decimal` sign."""

    encoding: str
    delimiter: str
    decimal: Literal[".", ","] = "."

    def normalize(self, cell: str) -> str:
        """The cell with a decimal point; with a decimal comma, a point makes it no number."""
        cell = cell.strip()
        return cell if self.decimal == "." else cell.replace(".", "!").replace(",", ".")

    def is_number(self, cell: str) -> bool:
        """Whether the cell is a finite number."""
        text = self.normalize(cell)
        return _NUMBER.fullmatch(text) is not None and math.isfinite(float(text))


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
            if line.startswith(("#", "%")) or (self.number == 1 and _SEPARATOR.fullmatch(line.strip())):
                continue
            yield line


def _records(lines: Iterator[str] | Sequence[str], delimiter: str) -> Iterator[list[str]]:
    """Records with at least one cell that is not blank."""
    for record in csv.reader(lines, delimiter=delimiter, skipinitialspace=True):
        if any(cell and not cell.isspace() for cell in record):
            yield record


def read_csv_batches(data: bytes, schema: TableSchema, batch_rows: int, label: str = "the table") -> Iterator[Table]:
    """The rows, at most `batch_rows` at a time; at least one row in all.

    Args:
        data: comma, semicolon, tab or bar between cells; point or comma in numbers; UTF-8, UTF-16 or Windows-1252;
            first lines in which no cell is a number are the header.
    Raises:
        MalformedBody: it is no text, or quotes are not closed (400).
        TooLarge: a line is too long (413).
        InvalidInput: a column is missing, a row has another number of cells, a cell is a gap or a word (422).
    """
    if not data.strip():
        raise InvalidInput(f"{label} is empty; rows of numbers are expected")
    dialect = find_dialect(data, schema.count, label)
    lines = _Lines(data, dialect.encoding, label)
    records = _records(iter(lines), dialect.delimiter)
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


def count_cells(data: bytes, count: int, label: str = "the table") -> int:
    """Cells of a CSV, at most, before any is read."""
    delimiter = find_dialect(data, count, label).delimiter.encode()
    cells = 1
    for start in range(0, len(data), _SLICE):
        part = data[start : start + _SLICE]
        cells += part.count(delimiter) + part.count(b"\n") + part.count(b"\r")
        check_interruption()
    return cells


def _read_records(
    records: Iterator[list[str]], lines: _Lines, dialect: Dialect, schema: TableSchema, batch_rows: int, label: str
) -> Iterator[Table]:
    head = [(lines.number, record) for record in islice(records, _HEAD_RECORDS)]
    header_count = next((n for n, (_, row) in enumerate(head) if any(map(dialect.is_number, row))), len(head))
    if header_count == len(head):
        raise InvalidInput(f"{label} has no row with a number in it")
    width = _count_cells(head[header_count][1])
    header = _name_columns(head[0][1], width) if header_count else None
    if header is not None:
        width = max(width, len(header))
    rows = [_strip(row, width) for _, row in head[header_count:]]
    is_numeric = [_has_numbers([row[index] for row in rows if len(row) == width], dialect) for index in range(width)]
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
        row = _strip(record, width)
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
            fault = "is a gap" if cell.lower() in _GAPS else "is not a number"
            raise InvalidInput(f'{label}, line {line}, {column}: "{cell[:40]}" {fault}; all numbers must be there')
    return np.array([float(dialect.normalize(row[index])) for index in chosen], np.float64)


def _has_numbers(cells: Sequence[str], dialect: Dialect) -> bool:
    """Whether half of the cells that are no gaps are numbers."""
    filled = [cell for cell in cells if cell.strip().lower() not in _GAPS]
    return bool(filled) and 2 * sum(map(dialect.is_number, filled)) >= len(filled)


def _count_cells(row: Sequence[str]) -> int:
    """Cells without the empty ones behind a delimiter at the row's end."""
    width = len(row)
    while width > 1 and not row[width - 1].strip():
        width -= 1
    return width


def _name_columns(header: Sequence[str], width: int) -> list[str]:
    """Names; a header one shorter than the rows is R's, whose first column are the rows' names."""
    names = [name.strip() for name in header]
    while len(names) > max(1, width) and not names[-1]:
        names = names[:-1]
    if len(names) == width - 1:
        return ["", *names]
    return names + [""] * (width - len(names))


def _strip(row: list[str], width: int) -> list[str]:
    while len(row) > width and not row[-1].strip():
        row = row[:-1]
    return row


def find_dialect(data: bytes, count: int, label: str = "the table") -> Dialect:
    """The dialect with which the first records are of numbers and equally long.

    Args:
        count: numbers that a row must have: it decides whether 12,5 is one number or two.
    Raises:
        TooLarge, MalformedBody: of the first lines.
    """
    encoding = _find_encoding(data)
    head: list[str] = []
    characters = 0
    for line in _Lines(data, encoding, label):
        head.append(line)
        characters += len(line)
        if len(head) == _HEAD_RECORDS or characters > _HEAD_CHARACTERS:
            break
    declared = _SEPARATOR.match(data[:64].decode(encoding, "replace").lstrip("\ufeff"))
    best, best_score = Dialect(encoding, ","), (-1.0, False, -1.0, 0)
    for delimiter in [declared[1]] if declared and declared[1].isascii() else DELIMITERS:
        try:
            records = list(_records(head, delimiter))
        except csv.Error:
            continue
        if not records:
            continue
        lengths = [_count_cells(record) for record in records]
        length = max(set(lengths), key=lengths.count)
        cells = [cell for record in records for cell in record[:length]]
        for dialect in (Dialect(encoding, delimiter), Dialect(encoding, delimiter, ",")):
            share = sum(map(dialect.is_number, cells)) / max(1, len(cells))
            fits = share > 0 and max(map(len, records)) >= count
            score = (round(share, 2) if fits else 0.0, length == count, lengths.count(length) / len(lengths), length)
            if score > best_score:
                best, best_score = dialect, score
    return best


def _find_encoding(data: bytes) -> str:
    """By the byte order mark; without one UTF-16 if every other byte is 0, UTF-8 if it is that, else Windows-1252."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return encoding
    start = data[:4096]
    if b"\0" in start:
        return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for position in range(0, len(data), _SLICE):
            decoder.decode(data[position : position + _SLICE], position + _SLICE >= len(data))
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


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
