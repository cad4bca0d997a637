"""Tables: a sample a row, in CSV files as spreadsheets, R and loggers write them, and in Parquet.

CSV text -> dialect (delimiter, decimal sign, header) -> records by Python's csv -> columns of numbers | left out
Parquet  -> pyarrow ------------------------------------------------------------^     -> StoredSamples

A header is one or more first rows in which no cell is a number. Columns of words or times, row numbers and empty
columns are left out and named. A word among numbers and a gap are refused with line and column; with
`data.leave_out_damaged` such rows are left out and counted.
"""

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.model.files.table_dialect import (
    AmbiguousRows,
    Dialect,
    count_cells,
    count_header_rows,
    find_declared_delimiter,
    find_dialect,
    is_comment,
    is_gap,
    name_columns,
    read_records,
    strip_row,
)
from training.data.files.stored_samples import StoredSamples, join_names
from training.data.files.table_text import TableText, read_text
from training.errors import DataError
from training.recipe import AutoencoderData

Kind = Literal["number", "words", "times", "row numbers", "empty"]
Floats = NDArray[np.float64]

CSV_SUFFIXES = {".csv", ".tsv", ".txt", ".dat"}
PARQUET_SUFFIXES = {".parquet", ".pq"}
WORKBOOK_SUFFIXES = {".xlsx", ".xls", ".xlsm", ".ods", ".numbers"}
SAMPLE_RECORDS = 1000  # by which delimiter, header and kinds of columns are found
CHUNK_ROWS = 4096
FEW_KINDS = 20  # whole numbers of a column that may be a label
LEAVE_OUT = (
    "fill the cell, leave the column out (--set 'data.ignore=[...]'), or such rows (--set data.leave_out_damaged=true)"
)
_TIME = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|\d{1,2}:\d{2}")
_DELIMITER_NAMES = {"\t": "tab", " ": "blanks"}


@dataclass
class Columns:
    """All columns of a table and what is done with each.

    `names` of a table without a header are their numbers, from 0. `labels`: index of the label's column.
    """

    names: list[str]
    has_header: bool
    kinds: list[Kind] = field(default_factory=list)
    ignored: set[int] = field(default_factory=set)
    label: int | None = None

    @property
    def numeric(self) -> list[int]:
        """Indices of the columns that make a sample."""
        return [
            index
            for index, kind in enumerate(self.kinds)
            if kind == "number" and index not in self.ignored and index != self.label
        ]

    def describe(self, index: int) -> str:
        """`column "b"`, or `column 1 (from 0)` of a table without names."""
        return f'column "{self.names[index]}"' if self.has_header and self.names[index] else f"column {index} (from 0)"

    def find(self, key: int | str, path: Path) -> int:
        """The index of a column by its name or number; DataError if there is none."""
        if isinstance(key, str):
            if self.has_header and self.names.count(key) == 1:
                return self.names.index(key)
            if self.has_header and key in self.names:
                raise DataError(f"{path} has {self.names.count(key)} columns {key!r}; give the number, counted from 0")
            named = f"its columns are {join_names(self.names)}" if self.has_header else "it has no header"
            raise DataError(f"{path} has no column {key!r}; {named}")
        if not 0 <= key < len(self.names):
            raise DataError(f"{path} has no column {key}; it has {len(self.names)}, counted from 0")
        return key


def read_table(path: Path, data: AutoencoderData) -> StoredSamples:
    """float64 [N,D], a sample a row; `labels` and `columns` where the table has them.

    Args:
        data: its `label_column`, `ignore`, `delimiter`, `decimal` and `leave_out_damaged` apply.
    Raises:
        DataError: with the line, the column and what helps.
    """
    if path.suffix.lower() in PARQUET_SUFFIXES:
        return _read_parquet(path, data)
    return _read_csv(path, read_text(path), data)


# --- CSV -------------------------------------------------------------------------------------------------


class _Lines:
    """Lines of a CSV without comments, which are counted; `number` is that of the last line, from 1."""

    def __init__(self, text: str) -> None:
        self.number = self.comments = 0
        self._text = text

    def __iter__(self) -> Iterator[str]:
        for line in io.StringIO(self._text, newline=None):
            self.number += 1
            if is_comment(line, self.number):
                self.comments += 1
            else:
                yield line


def _read_csv(path: Path, source: TableText, data: AutoencoderData) -> StoredSamples:
    dialect = _find_dialect(source.text, data, path)
    lines = _Lines(source.text)
    rows = read_records(lines, dialect.delimiter)
    try:
        first_rows = [(lines.number, row) for row in islice(rows, SAMPLE_RECORDS)]
        header_count = count_header_rows([row for _, row in first_rows], dialect)
        samples = [row for _, row in first_rows[header_count:]]
        if not samples:
            raise DataError(f"{path} has no row with a number in it")
        columns = _name_columns(first_rows[0][1] if header_count else None, samples[0], path)
        width = len(columns.names)
        samples = [strip_row(row, width) for row in samples]
        columns.kinds = [_find_kind([row[i] for row in samples if len(row) == width], dialect) for i in range(width)]
        _choose_columns(columns, samples, data, path)
        converter = _RowConverter(columns, dialect)
        for line, row in first_rows[header_count:]:
            converter.add(line, strip_row(row, width))
        for row in rows:
            converter.add(lines.number, strip_row(row, width))
    except csv.Error as error:
        raise DataError(f"{path}, line {lines.number}: {error}") from error
    details = [f"header: {'no' if not header_count else 'yes' if header_count == 1 else f'{header_count} lines'}"]
    if dialect.delimiter != "," and width > 1:
        details.append(f"delimiter {_DELIMITER_NAMES.get(dialect.delimiter, dialect.delimiter)}")
    if dialect.decimal == ",":
        details.append("decimal comma")
    details += source.remarks
    left_out = [f"{lines.comments} comment lines"] if lines.comments else []
    return _finish(path, columns, converter, details, left_out, data)


def _find_dialect(text: str, data: AutoencoderData, path: Path) -> Dialect:
    """By the first lines and what the recipe says; DataError if there are none, or 12,5 may be one number or two."""
    lines = [line for line in islice(_Lines(text), SAMPLE_RECORDS) if line.strip()]
    if not lines:
        raise DataError(f"{path} has no row with a number in it")
    delimiter = data.delimiter or find_declared_delimiter(text.split("\n", 1)[0])
    has_other_columns = data.label_column is not None or bool(data.ignore)
    try:
        return find_dialect(lines, delimiter=delimiter, decimal=data.decimal, has_other_columns=has_other_columns)
    except AmbiguousRows as error:
        raise DataError(
            f"{path}: {error} is one number with a decimal comma, or two numbers; say which: "
            "--set 'data.decimal=\",\"' or --set 'data.decimal=\".\"'"
        ) from error


def _name_columns(header: Sequence[str] | None, first_row: Sequence[str], path: Path) -> Columns:
    """Names from the header; numbers from 0 without one."""
    width = count_cells(first_row)
    if header is None:
        return Columns([str(index) for index in range(width)], has_header=False)
    if (count := count_cells(header)) < width - 1:
        raise DataError(
            f"{path}: its first line has {count} cell{'s' * (count != 1)}, its rows have {width}; give each "
            "column a name, or begin lines that are no part of the table with #"
        )
    return Columns(name_columns(header, width), has_header=True)


def _find_kind(cells: Sequence[str], dialect: Dialect) -> Kind:
    """By the cells that are no gaps: numbers, if half of them are."""
    filled = [cell.strip() for cell in cells if not is_gap(cell)]
    if not filled:
        return "empty"
    if dialect.has_numbers(filled):
        return "number"
    return "times" if sum(_TIME.match(cell) is not None for cell in filled) * 2 > len(filled) else "words"


class _RowConverter:
    """Collects rows as numbers, and the problems of those that are none."""

    def __init__(self, columns: Columns, dialect: Dialect) -> None:
        self.problems: list[tuple[int, str]] = []  # line, sentence
        self.labels: list[str] = []
        self.words: dict[int, set[str]] = {index: set() for index, kind in enumerate(columns.kinds) if kind == "words"}
        self._columns, self._dialect = columns, dialect
        self._numeric = columns.numeric
        self._rows: list[list[float]] = []
        self._chunks: list[Floats] = []

    def add(self, line: int, row: Sequence[str]) -> None:
        width = len(self._columns.names)
        if len(row) != width:
            self.problems.append((line, f"{len(row)} cells, the lines before have {width}"))
            return
        numbers = self._convert_fast(row)
        if numbers is not None:
            self._append(row, numbers)
            return
        numbers = []
        for index in self._numeric:
            cell = row[index]
            if not self._dialect.is_number(cell):
                word = cell.strip()
                fault = "is a gap" if is_gap(word) else "is not a number"
                self.problems.append((line, f'{self._columns.describe(index)}: "{word[:40]}" {fault}'))
                return
            numbers.append(float(self._dialect.normalize(cell)))
        self._append(row, numbers)

    def _append(self, row: Sequence[str], numbers: list[float]) -> None:
        if self._columns.label is not None:
            self.labels.append(row[self._columns.label].strip())
        for index, words in self.words.items():
            if len(words) <= FEW_KINDS:
                words.add(row[index].strip())
        self._rows.append(numbers)
        if len(self._rows) == CHUNK_ROWS:
            self._chunks.append(np.array(self._rows, np.float64))
            self._rows = []

    def _convert_fast(self, row: Sequence[str]) -> list[float] | None:
        """The numbers of a row by Python's own rules, None unless they are certainly those of `Dialect.is_number`."""
        cells = [row[index] for index in self._numeric]
        if self._dialect.decimal == ",":
            cells = [self._dialect.normalize(cell) for cell in cells]
        try:
            numbers = [float(cell) for cell in cells]
        except ValueError:
            return None
        return numbers if math.isfinite(sum(numbers)) and not any("_" in cell for cell in cells) else None

    def numbers(self) -> Floats:
        """float64 [N,D] of all rows so far."""
        last = np.array(self._rows, np.float64).reshape(len(self._rows), len(self._numeric))
        return np.concatenate([*self._chunks, last])


# --- Parquet ---------------------------------------------------------------------------------------------


def _read_parquet(path: Path, data: AutoencoderData) -> StoredSamples:
    """By pyarrow; a column of lists of equal length, as embeddings are stored, is as many columns."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{path}: Parquet is read by pyarrow: pip install pyarrow") from error
    try:
        table = parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    if not table.num_rows:
        raise DataError(f"{path} is empty: it has no rows")
    columns = Columns([], has_header=True)
    arrays: list[Any] = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = column.to_numpy()
        if (
            pa.types.is_list(column.type)
            or pa.types.is_large_list(column.type)
            or pa.types.is_fixed_size_list(column.type)
        ):
            lengths = {None if row is None else len(row) for row in values}
            if len(lengths) > 1 or None in lengths:
                raise DataError(f"{path}: column {name!r} holds lists of different lengths; all must be equally long")
            matrix = np.stack(list(values))
            columns.names += [f"{name}.{index}" for index in range(matrix.shape[1])]
            columns.kinds += ["number" if matrix.dtype.kind in "iufb" else "words"] * matrix.shape[1]
            arrays += list(matrix.T)
            continue
        is_number = values.dtype.kind in "iufb" or pa.types.is_decimal(column.type)
        columns.names.append(name)
        columns.kinds.append("number" if is_number else "times" if values.dtype.kind in "Mm" else "words")
        arrays.append(values.astype(np.float64) if is_number else values)
    _choose_columns(columns, [], data, path)
    if columns.names and "__index_level_0__" in columns.names:  # pandas' index
        columns.kinds[columns.names.index("__index_level_0__")] = "row numbers"
    converter = _RowConverter(columns, Dialect(",", "."))
    matrix = (
        np.stack([np.asarray(arrays[index], np.float64) for index in columns.numeric], 1)
        if columns.numeric
        else np.empty((table.num_rows, 0))
    )
    is_finite = np.isfinite(matrix).all(axis=1)
    for row in np.flatnonzero(~is_finite):
        index = columns.numeric[int(np.argmin(np.isfinite(matrix[row])))]
        converter.problems.append((int(row) + 1, f"{columns.describe(index)}: a gap or no finite number"))
    for index, words in converter.words.items():
        words |= set(map(str, arrays[index][:SAMPLE_RECORDS]))
    if columns.label is not None:
        converter.labels = [str(label) for label in np.asarray(arrays[columns.label])[is_finite]]
    return _finish(path, columns, converter, ["Parquet"], [], data, matrix[is_finite])


# --- both ------------------------------------------------------------------------------------------------


def _choose_columns(columns: Columns, samples: Sequence[Sequence[str]], data: AutoencoderData, path: Path) -> None:
    """Sets the label, the ignored columns, and row numbers: a nameless first column of whole numbers in order."""
    if data.label_column is not None:
        columns.label = columns.find(data.label_column, path)
    columns.ignored = {columns.find(key, path) for key in data.ignore}
    if columns.has_header and columns.names[0] in ("", "Unnamed: 0") and samples:
        cells = [row[0].strip() for row in samples if len(row) == len(columns.names)]
        is_counted = all(cell.isdecimal() for cell in cells) and all(int(b) == int(a) + 1 for a, b in pairwise(cells))
        if is_counted:
            columns.kinds[0] = "row numbers"


def _finish(
    path: Path,
    columns: Columns,
    converter: _RowConverter,
    details: Sequence[str],
    left_out: Sequence[str],
    data: AutoencoderData,
    matrix: Floats | None = None,
) -> StoredSamples:
    """The samples with remarks; DataError if rows cannot be used and are not to be left out, or nothing is left."""
    line_word = "row" if matrix is not None else "line"
    if converter.problems and not data.leave_out_damaged:
        line, sentence = converter.problems[0]
        others = [str(line) for line, _ in converter.problems[1:]]
        more = f" (also {line_word} {join_names(others)})" if others else ""
        raise DataError(f"{path}, {line_word} {line}: {sentence}{more}; {LEAVE_OUT}")
    numbers = converter.numbers() if matrix is None else matrix
    if not numbers.size:
        raise DataError(f"{path} has no column of numbers; its columns are {join_names(columns.names)}")
    reasons = list(left_out)
    for index, kind in enumerate(columns.kinds):
        if index == columns.label:
            reasons.append(f"{columns.describe(index)} (the label, {len(set(converter.labels))} kinds)")
        elif index in columns.ignored:
            reasons.append(f"{columns.describe(index)} (data.ignore)")
        elif kind == "words":
            count = len(converter.words[index])
            kinds = f"{count} kinds" if count <= FEW_KINDS else "many kinds"
            reasons.append(f"{columns.describe(index)} (words, {kinds})")
        elif kind != "number":
            reasons.append(f"{columns.describe(index)} ({kind})")
    if converter.problems:
        lines = join_names(str(line) for line, _ in converter.problems)
        reasons.append(f"{len(converter.problems)} rows with gaps or words ({line_word} {lines})")
    remarks = [
        f"read: {len(numbers)} rows, {numbers.shape[1]} column{'s' * (numbers.shape[1] != 1)}, {', '.join(details)}; "
        f"numbers from {numbers.min():.6g} to {numbers.max():.6g}"
    ]
    if reasons:
        remarks.append("left out: " + ", ".join(reasons))
    remarks += _find_likely_labels(columns, converter, numbers)
    names = tuple(columns.names[index] for index in columns.numeric) if columns.has_header else None
    labels = np.array(converter.labels) if columns.label is not None else None
    return StoredSamples(numbers, None, tuple(remarks), labels, names)


def _find_likely_labels(columns: Columns, converter: _RowConverter, numbers: Floats) -> list[str]:
    """A line on the column that may be a label: few words, or few whole numbers that are many times there."""
    if columns.label is not None:
        return []
    for index, words in converter.words.items():
        if index not in columns.ignored and 2 <= len(words) <= FEW_KINDS:
            return [f"{columns.describe(index)} may be a label: data.label_column says so"]
    for position, index in enumerate(columns.numeric):
        values = np.unique(numbers[:, position])
        if 2 <= len(values) <= min(FEW_KINDS, len(numbers) // 5) and (values == np.rint(values)).all():
            return [
                f"{columns.describe(index)} holds only {len(values)} whole numbers and may be a label: "
                "data.label_column leaves it out of the samples"
            ]
    return []
