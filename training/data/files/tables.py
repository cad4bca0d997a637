"""Tables: a sample a row, in CSV files as spreadsheets, R and loggers write them, and in Parquet.

CSV text -> dialect (delimiter, decimal sign, header) -> records by Python's csv -> columns of numbers | left out
Parquet  -> pyarrow ------------------------------------------------------------^     -> StoredSamples

A header is one or more first rows in which no cell is a number. Columns of words or times, row numbers and empty
columns are left out and named. A word among numbers and a gap are refused with line and column; with
`data.leave_out_damaged` such rows are left out and counted.
"""

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.data.files.stored_samples import StoredSamples, join_names
from training.data.files.table_text import TableText, read_text
from training.errors import DataError
from training.recipe import AutoencoderData

Kind = Literal["number", "words", "times", "row numbers", "empty"]
Floats = NDArray[np.float64]

CSV_SUFFIXES = {".csv", ".tsv", ".txt", ".dat"}
PARQUET_SUFFIXES = {".parquet", ".pq"}
WORKBOOK_SUFFIXES = {".xlsx", ".xls", ".xlsm", ".ods", ".numbers"}
DELIMITERS = (",", ";", "\t", "|", " ")
GAPS = {"", "na", "n/a", "#n/a", "nan", "null", "none", "-", "?", "inf", "-inf", "+inf", "infinity", "-infinity"}
SAMPLE_RECORDS = 1000  # by which delimiter, header and kinds of columns are found
CHUNK_ROWS = 4096
FEW_KINDS = 20  # whole numbers of a column that may be a label
LEAVE_OUT = (
    "fill the cell, leave the column out (--set 'data.ignore=[...]'), or such rows (--set data.leave_out_damaged=true)"
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NUMBER_WITH_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")
_TIME = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|\d{1,2}:\d{2}")
_ONE_OR_TWO = re.compile(r"[+-]?\d+,\d+")
_DELIMITER_NAMES = {"\t": "tab", " ": "blanks"}


@dataclass(frozen=True)
class Dialect:
    """How a CSV is written: `delimiter`; `decimal` sign."""

    delimiter: str
    decimal: Literal[".", ","]

    def is_number(self, cell: str) -> bool:
        """Whether the cell is a finite number."""
        text = self.normalize(cell)
        return _NUMBER.fullmatch(text) is not None and math.isfinite(float(text))

    def normalize(self, cell: str) -> str:
        """The cell with a decimal point; with a decimal comma, a point makes it no number."""
        cell = cell.strip()
        return cell if self.decimal == "." else cell.replace(".", "!").replace(",", ".")


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


class _Records:
    """The records of a CSV, without blank lines and comments; `line` is that of the last record, from 1."""

    def __init__(self, text: str, delimiter: str) -> None:
        self.line = 0
        self.comments = 0
        self._delimiter = delimiter
        self._text = text

    def __iter__(self) -> Iterator[list[str]]:
        for record in csv.reader(self._lines(), delimiter=self._delimiter, skipinitialspace=self._delimiter != " "):
            if any(cell.strip() for cell in record):
                yield record

    def _lines(self) -> Iterator[str]:
        for line in self._text.splitlines(keepends=True):
            self.line += 1
            if line.startswith(("#", "%")) or (self.line == 1 and re.fullmatch(r"sep=.", line.strip())):
                self.comments += 1
                continue
            # blanks may be several, and before and behind a row
            yield re.sub(r"[ \t]+", " ", line.strip()) + "\n" if self._delimiter == " " else line


def _read_csv(path: Path, source: TableText, data: AutoencoderData) -> StoredSamples:
    dialect = _find_dialect(source.text, data, path)
    records = _Records(source.text, dialect.delimiter)
    try:
        rows = iter(records)
        first_rows = [(records.line, row) for row in islice(rows, SAMPLE_RECORDS)]
        header_count = next(
            (n for n, (_, row) in enumerate(first_rows) if not _is_header(row, dialect)), len(first_rows)
        )
        samples = [row for _, row in first_rows[header_count:]]
        if not samples:
            raise DataError(f"{path} has no row with a number in it")
        columns = _name_columns(first_rows[0][1] if header_count else None, samples[0])
        width = len(columns.names)
        samples = [_strip_row(row, width) for row in samples]
        columns.kinds = [_find_kind([row[i] for row in samples if len(row) == width], dialect) for i in range(width)]
        _choose_columns(columns, samples, data, path)
        converter = _RowConverter(columns, dialect)
        for line, row in first_rows[header_count:]:
            converter.add(line, _strip_row(row, width))
        for row in rows:
            converter.add(records.line, _strip_row(row, width))
    except csv.Error as error:
        raise DataError(f"{path}, line {records.line}: {error}") from error
    details = [f"header: {'no' if not header_count else 'yes' if header_count == 1 else f'{header_count} lines'}"]
    if dialect.delimiter != "," and width > 1:
        details.append(f"delimiter {_DELIMITER_NAMES.get(dialect.delimiter, dialect.delimiter)}")
    if dialect.decimal == ",":
        details.append("decimal comma")
    details += source.remarks
    left_out = [f"{records.comments} comment lines"] if records.comments else []
    return _finish(path, columns, converter, details, left_out, data)


def _find_dialect(text: str, data: AutoencoderData, path: Path) -> Dialect:
    """The delimiter with which the first records are equally long and of numbers, and the decimal sign.

    Raises:
        DataError: rows such as 12,5 may be one number or two.
    """
    lines = [line for line in text.splitlines()[:SAMPLE_RECORDS] if line.strip() and not line.startswith(("#", "%"))]
    if not lines:
        raise DataError(f"{path} has no row with a number in it")
    declared = re.fullmatch(r"sep=(.)", text.split("\n", 1)[0].strip("\r\n"))  # as Excel writes it
    delimiter = data.delimiter or (declared[1] if declared else None)
    candidates = [delimiter] if delimiter else list(DELIMITERS)
    best, best_score = Dialect(delimiter or ("," if data.decimal != "," else ";"), data.decimal or "."), (0.0, 0.0, 0)
    for candidate in candidates:
        try:
            records = list(islice(_Records("\n".join(lines), candidate), 100))
        except csv.Error:
            continue
        lengths = [len(record) for record in records]
        length = max(set(lengths), key=lengths.count)
        if length < 2:
            continue
        cells = [cell.strip() for record in records if len(record) == length for cell in record]
        for decimal in (
            (data.decimal,) if data.decimal else ((".",) if candidate == "," and '"' not in text else (".", ","))
        ):
            dialect = Dialect(candidate, decimal)
            share = sum(dialect.is_number(cell) for cell in cells) / max(1, len(cells))
            score = (round(share, 2), lengths.count(length) / len(lengths), length)
            if score > best_score:
                best, best_score = dialect, score
    if delimiter is None and best.delimiter in {",", ";"} and best_score[2] in (0, 2):
        return _judge_single_column(lines, best, data, path)
    return best


def _judge_single_column(lines: Sequence[str], best: Dialect, data: AutoencoderData, path: Path) -> Dialect:
    """Rows of digits, a comma and digits: one number with a decimal comma, two numbers, or not to be known."""
    rows = [line.strip().strip('"') for line in lines]
    header = rows[0] if not _ONE_OR_TWO.fullmatch(rows[0]) else None
    rows = rows[1:] if header is not None else rows
    if not rows or not all(_ONE_OR_TWO.fullmatch(row) or _NUMBER.fullmatch(row) for row in rows):
        return best
    fractions = [row.split(",") for row in rows if "," in row]
    if not fractions:
        return best
    one = Dialect(";", ",")
    if data.decimal == ",":
        return one
    is_decimal = (
        len(fractions) < len(rows)  # some rows have no comma
        or (header is not None and "," not in header)
        or any(whole == "-0" or (len(fraction) > 1 and fraction.startswith("0")) for whole, fraction in fractions)
    )
    if is_decimal:
        return one
    if data.decimal == "." or header is not None or data.label_column is not None or data.ignore:
        return best
    raise DataError(
        f"{path}: {rows[0]} is one number with a decimal comma, or two numbers; say which: "
        "--set 'data.decimal=\",\"' or --set 'data.decimal=\".\"'"
    )


def _is_header(row: Sequence[str], dialect: Dialect) -> bool:
    """Whether no cell is a number, and not all are gaps."""
    return not any(dialect.is_number(cell) for cell in row) and any(cell.strip().lower() not in GAPS for cell in row)


def _name_columns(header: Sequence[str] | None, first_row: Sequence[str]) -> Columns:
    """Names from the header; a header one shorter than the rows is R's, whose first column are the rows' names."""
    width = len(first_row)
    if header is None:
        while width > 1 and not first_row[width - 1].strip():
            width -= 1  # behind a delimiter at the end of the row
        return Columns([str(index) for index in range(width)], has_header=False)
    names = [name.strip() for name in header]
    if len(names) == width - 1 and first_row[-1].strip():
        names = ["", *names]
    while len(names) > 1 and not names[-1] and (len(names) > width or not first_row[-1].strip()):
        names = names[:-1]
    return Columns(names, has_header=True)


def _strip_row(row: list[str], width: int) -> list[str]:
    """Without the empty cells behind a delimiter at its end."""
    while len(row) > width and not row[-1].strip():
        row = row[:-1]
    return row


def _find_kind(cells: Sequence[str], dialect: Dialect) -> Kind:
    """By the cells that are no gaps: numbers, if half of them are."""
    filled = [cell.strip() for cell in cells if cell.strip().lower() not in GAPS]
    if not filled:
        return "empty"
    if 2 * sum(dialect.is_number(cell) for cell in filled) >= len(filled):
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
                fault = "is a gap" if word.lower() in GAPS else "is not a number"
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
