"""Dialect of a CSV: encoding, delimiter, decimal sign, comments and header, as spreadsheets, R and loggers write them.

bytes -> find_encoding -> lines -> find_dialect -> read_records -> count_header_rows -> name_columns

Serving and training (through service.model.files.table_dialect) read tables by these rules alone, so a table that a
model was trained on is read as the same numbers when it is served. What each does with a row that cannot be used is
its own matter.
"""

import codecs
import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

DELIMITERS = (",", ";", "\t", "|", " ")
GAPS = {"", "na", "n/a", "#n/a", "nan", "null", "none", "-", "?", "inf", "-inf", "+inf", "infinity", "-infinity"}
HEAD_RECORDS = 100  # by which delimiter and decimal sign are found

_SLICE = 1 << 20  # bytes
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ONE_OR_TWO = re.compile(r"[+-]?\d+,\d+")
_SEPARATOR = re.compile(r"sep=(.)")  # a first line as spreadsheets write it
_NOT_IN_CP1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")

DecimalSign = Literal[".", ","]


class AmbiguousRows(ValueError):
    """Rows such as "12,5", the argument, may be one number with a decimal comma, or two numbers."""


@dataclass(frozen=True)
class Dialect:
    """How the rows of a CSV are written; between blanks, tabs count as blanks and several count as one."""

    delimiter: str
    decimal: DecimalSign = "."

    def normalize(self, cell: str) -> str:
        """The cell with a decimal point; with a decimal comma, a point makes it no number."""
        cell = cell.strip()
        return cell if self.decimal == "." else cell.replace(".", "!").replace(",", ".")

    def is_number(self, cell: str) -> bool:
        """Whether the cell is a finite number."""
        text = self.normalize(cell)
        return _NUMBER.fullmatch(text) is not None and math.isfinite(float(text))

    def has_numbers(self, cells: Iterable[str]) -> bool:
        """Whether half of a column's cells that are no gaps are numbers."""
        filled = [cell for cell in cells if not is_gap(cell)]
        return bool(filled) and 2 * sum(map(self.is_number, filled)) >= len(filled)


def is_gap(cell: str) -> bool:
    """Whether the cell is empty, or a word for that there is no number."""
    return cell.strip().lower() in GAPS


def find_encoding(data: bytes, check: Callable[[], None] = lambda: None) -> str:
    """A codec of Python, by the byte order mark; without one UTF-16 if every other byte is 0, UTF-8 if it is that, else
    Windows-1252, or Latin-1 if it has bytes that are not in that.

    Args:
        check: called now and then; it may raise.
    """
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
            check()
    except UnicodeDecodeError:
        return "latin-1" if _NOT_IN_CP1252.search(data) else "cp1252"
    return "utf-8"


def find_declared_delimiter(first_line: str) -> str | None:
    """That of a first line "sep=;"."""
    declared = _SEPARATOR.fullmatch(first_line.strip("\r\n\ufeff"))
    return declared[1] if declared and declared[1].isascii() else None


def is_comment(line: str, number: int) -> bool:
    """Whether a line, the `number`th from 1, is none of the table's."""
    return line.startswith(("#", "%")) or (number == 1 and _SEPARATOR.fullmatch(line.strip("\r\n\ufeff")) is not None)


def read_records(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """Records with at least one cell that is not blank, of lines without comments; raises csv.Error."""
    if delimiter == " ":
        lines = (re.sub(r"[ \t]+", " ", line.strip()) + "\n" for line in lines)
    for record in csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter != " "):
        if any(cell and not cell.isspace() for cell in record):
            yield record


def find_dialect(
    lines: Sequence[str],
    *,
    count: int | None = None,
    delimiter: str | None = None,
    decimal: DecimalSign | None = None,
    has_other_columns: bool = False,
) -> Dialect:
    """The dialect with which the first records are of numbers and equally long.

    Args:
        lines: the first lines of the table, without comments.
        count: numbers that a row must have, if that is known; it decides whether 12,5 is one number or two.
        delimiter, decimal: if they are known.
        has_other_columns: whether there are columns that are no numbers of a row, such as labels.
    Raises:
        AmbiguousRows: the count is not known, and nothing else says what such rows are.
    """
    fallback = delimiter or ("," if decimal != "," else ";")
    best, best_score, best_length = Dialect(fallback, decimal or "."), (-1.0, False, -1.0, 0), 0
    for candidate in [delimiter] if delimiter else DELIMITERS:
        try:
            records = list(islice(read_records(lines, candidate), HEAD_RECORDS))
        except csv.Error:
            continue
        for sign in [decimal] if decimal else list[DecimalSign]([".", ","]):
            dialect = Dialect(candidate, sign)
            rows = records[count_header_rows(records, dialect) :]
            lengths = [count_cells(row) for row in rows]
            length = _find_usual_length(lengths)
            if length < (2 if count is None else 1):
                continue
            cells = [cell for row, n in zip(rows, lengths, strict=True) if n == length for cell in row[:n]]
            share = sum(map(dialect.is_number, cells)) / len(cells)
            fits = share > 0 and max(map(len, rows)) >= (count or 0)
            score = (round(share, 2) if fits else 0.0, length == count, lengths.count(length) / len(lengths), length)
            if score > best_score:
                best, best_score, best_length = dialect, score, length
    if count is None and delimiter is None and best.delimiter in {",", ";"} and best_length in (0, 2):
        return _judge_single_column(lines, best, decimal, has_other_columns)
    return best


def _find_usual_length(lengths: Sequence[int]) -> int:
    """The most frequent one, of several the largest; 0 of none."""
    return max(set(lengths), key=lambda length: (lengths.count(length), length), default=0)


def _judge_single_column(
    lines: Sequence[str], best: Dialect, decimal: DecimalSign | None, has_other_columns: bool
) -> Dialect:
    """Rows of digits, a comma and digits: one number with a decimal comma, two numbers, or not to be known."""
    rows = [line.strip().strip('"') for line in lines if line.strip()]
    header = rows[0] if rows and not _ONE_OR_TWO.fullmatch(rows[0]) else None
    rows = rows[1:] if header is not None else rows
    if not rows or not all(_ONE_OR_TWO.fullmatch(row) or _NUMBER.fullmatch(row) for row in rows):
        return best
    fractions = [row.split(",") for row in rows if "," in row]
    if not fractions:
        return best
    one = Dialect(";", ",")
    if decimal == ",":
        return one
    is_decimal = (
        (header is None and len(fractions) < len(rows))  # some rows have no comma
        or (header is not None and "," not in header)
        or any(whole == "-0" or (len(fraction) > 1 and fraction.startswith("0")) for whole, fraction in fractions)
    )
    if is_decimal:
        return one
    if decimal == "." or header is not None or has_other_columns:
        return best
    raise AmbiguousRows(rows[0])


def count_header_rows(rows: Sequence[Sequence[str]], dialect: Dialect) -> int:
    """First rows in which no cell is a number, and not all are gaps."""
    is_header = (not any(map(dialect.is_number, row)) and not all(map(is_gap, row)) for row in rows)
    return next((number for number, value in enumerate(is_header) if not value), len(rows))


def count_cells(row: Sequence[str]) -> int:
    """Cells without the empty ones behind a delimiter at the row's end."""
    width = len(row)
    while width > 1 and not row[width - 1].strip():
        width -= 1
    return width


def name_columns(header: Sequence[str], width: int) -> list[str]:
    """Names of `width` columns or more, "" where there is none; a header one shorter than the rows is R's, whose first
    column are the rows' names.
    """
    names = [name.strip() for name in header]
    while len(names) > max(1, width) and not names[-1]:
        names = names[:-1]
    if len(names) == width - 1:
        return ["", *names]
    return names + [""] * (width - len(names))


def strip_row(row: list[str], width: int) -> list[str]:
    """Without the empty cells behind a delimiter at its end."""
    while len(row) > width and not row[-1].strip():
        row = row[:-1]
    return row
