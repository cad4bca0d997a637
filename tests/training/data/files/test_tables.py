"""Tables as people have them: read with what was read said, or refused with the line and what helps."""

import bz2
import datetime
import gzip
import io
import lzma
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from training.data import datasets, labels
from training.data.files.readers import read_samples
from training.data.files.stored_samples import StoredSamples
from training.errors import DataError
from training.recipe import AutoencoderData

NUMBERS = np.random.default_rng(0).standard_normal((120, 6)).round(4)
ROWS = [[f"{number:.4f}" for number in row] for row in NUMBERS]
NAMES = ["a", "b", "c", "d", "e", "f"]


def join(rows: list[list[str]], delimiter: str = ",", end: str = "\n") -> str:
    return "".join(delimiter.join(row) + end for row in rows)


def read(folder: Path, content: str | bytes, name: str = "t.csv", **options: Any) -> StoredSamples:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_samples(path, AutoencoderData(source=str(path), **options))


def pack_zip(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("t.csv", data)
    return buffer.getvalue()


COMMA = [[cell.replace(".", ",") for cell in row] for row in ROWS]
QUOTED = [[f'"{cell}"' for cell in row] for row in ROWS]
PLAIN = join(ROWS)
READABLE: dict[str, tuple[str, str | bytes, str]] = {
    "plain": ("t.csv", PLAIN, "header: no;"),
    "crlf": ("t.csv", join(ROWS, end="\r\n"), "header: no;"),
    "old Mac": ("t.csv", join(ROWS, end="\r"), "header: no;"),
    "byte order mark": ("t.csv", PLAIN.encode("utf-8-sig"), "header: no;"),
    "header": ("t.csv", join([NAMES, *ROWS]), "header: yes;"),
    "header with numbers in words": ("t.csv", join([["x1", "x2", "3d", "v-4", "n5", "six"], *ROWS]), "header: yes"),
    "units below": ("t.csv", join([NAMES, ["V", "V", "A", "A", "", "K"], *ROWS]), "header: 2 lines"),
    "quoted": ("t.csv", join([[f'"{n}"' for n in NAMES], *QUOTED]), "header: yes;"),
    "quoted decimal commas": ("t.csv", join([[f'"{cell}"' for cell in row] for row in COMMA]), "decimal comma"),
    "semicolons": ("t.csv", join(ROWS, ";"), "delimiter ;"),
    "semicolons and decimal commas": ("t.csv", join([NAMES, *COMMA], ";"), "delimiter ;, decimal comma"),
    "tabs": ("t.tsv", join(ROWS, "\t"), "delimiter tab"),
    "tabs and decimal commas": ("t.txt", join(COMMA, "\t"), "delimiter tab, decimal comma"),
    "bars": ("t.csv", join([NAMES, *ROWS], "|"), "delimiter |"),
    "blanks": ("t.dat", join([["  " + " ".join(row) + " "] for row in ROWS]), "delimiter blanks"),
    "several blanks": ("t.txt", join([["   ".join(row)] for row in ROWS]), "delimiter blanks"),
    "numpy.savetxt": ("t.txt", "# a b c d e f\n" + join(ROWS, " "), "delimiter blanks"),
    "blanks behind commas": ("t.csv", join(ROWS, ", "), "header: no;"),
    "Excel's declaration": ("t.csv", "sep=;\r\n" + join(ROWS, ";"), "delimiter ;"),
    "comments": ("t.csv", "# unit: volt\n\n" + join(ROWS[:60]) + "# pause\n" + join(ROWS[60:]), "header: no;"),
    "trailing commas": ("t.csv", join([[*row, ""] for row in ROWS]), "header: no;"),
    "trailing commas, with header": ("t.csv", join([[*NAMES, ""], *([*row, ""] for row in ROWS)]), "header: yes;"),
    "trailing commas, not in the header": ("t.csv", join([NAMES, *([*row, ""] for row in ROWS)]), "header: yes;"),
    "trailing comma in the header alone": ("t.csv", join([[*NAMES, ""], *ROWS]), "header: yes;"),
    "blank lines": ("t.csv", "\n" + PLAIN.replace("\n", "\n\n"), "header: no;"),
    "no end of line": ("t.csv", PLAIN.rstrip(), "header: no;"),
    "UTF-16": ("t.csv", PLAIN.encode("utf-16"), "UTF-16"),
    "UTF-16 without a mark": ("t.csv", PLAIN.encode("utf-16-be"), "UTF-16"),
    "UTF-32": ("t.csv", PLAIN.encode("utf-32"), "UTF-32"),
    "Latin-1": ("t.csv", join([["Größe", *NAMES[1:]], *ROWS]).encode("latin-1"), "Windows-1252"),
    "gzip": ("t.csv.gz", gzip.compress(PLAIN.encode()), "gzip"),
    "gzip, not named": ("t.csv", gzip.compress(PLAIN.encode()), "gzip"),
    "gzip alone": ("t.gz", gzip.compress(PLAIN.encode()), "gzip"),
    "bzip2": ("t.csv.bz2", bz2.compress(PLAIN.encode()), "bzip2"),
    "xz": ("t.csv.xz", lzma.compress(PLAIN.encode()), "xz"),
    "zstd": ("t.csv.zst", pa.compress(PLAIN.encode(), "zstd", asbytes=True), "zstd"),
    "zip": ("t.zip", pack_zip(PLAIN.encode()), "zip"),
    "R's row names": (
        "t.csv",
        join([['""', *NAMES], *([f'"{n}"', *row] for n, row in enumerate(ROWS, 1))]),
        "header: yes;",
    ),
    "R's write.table": (
        "t.txt",
        join([[f'"{n}"' for n in NAMES], *([f'"{n}"', *row] for n, row in enumerate(ROWS, 1))], " "),
        "header: yes, delimiter blanks",
    ),
    "pandas' index": ("t.csv", join([["", *NAMES], *([str(n), *row] for n, row in enumerate(ROWS))]), "header: yes;"),
    "named row names": (
        "t.csv",
        join([["", *NAMES], *([f"Mazda {n}", *row] for n, row in enumerate(ROWS))]),
        "header: yes;",
    ),
    "label of words": ("t.csv", join([[*NAMES, "species"], *([*row, "setosa"] for row in ROWS)]), "header: yes;"),
    "label of words without header": ("t.csv", join([[*row, "setosa"] for row in ROWS]), "header: no;"),
    "words with delimiters in them": ("t.csv", join([[*row, '"a, ""b"", c"'] for row in ROWS]), "header: no;"),
    "words over two lines": ("t.csv", join([[*row, '"a\nb"'] for row in ROWS]), "header: no;"),
    "times": ("t.csv", join([["time", *NAMES], *(["2024-01-01 00:00:00", *row] for row in ROWS)]), "header: yes;"),
    "times without header": ("t.csv", join([["01.02.2024 13:00", *row] for row in ROWS]), "header: no;"),
    "an empty column": ("t.csv", join([[*row[:3], "", *row[3:]] for row in ROWS]), "header: no;"),
}  # fmt: skip


@pytest.mark.parametrize("name", READABLE)
def test_a_table_as_programs_write_it_is_read(tmp_path: Path, name: str) -> None:
    file, content, words = READABLE[name]
    stored = read(tmp_path, content, file)
    assert np.array_equal(stored.samples, NUMBERS)
    assert stored.remarks[0].startswith("read: 120 rows, 6 columns, header: ")
    assert words in stored.remarks[0]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("comments", "2 comment lines"),
        ("R's row names", "column 0 (from 0) (row numbers)"),
        ("named row names", "column 0 (from 0) (words, many kinds)"),
        ("label of words", 'column "species" (words, 1 kinds)'),
        ("times", 'column "time" (times)'),
        ("an empty column", "column 3 (from 0) (empty)"),
    ],
)
def test_what_is_left_out_of_a_table_is_said(tmp_path: Path, name: str, reason: str) -> None:
    file, content, _ = READABLE[name]
    assert read(tmp_path, content, file).remarks[1] == f"left out: {reason}"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (join([["", *ROWS[0][1:]], *ROWS]), 'line 1: column 0 (from 0): "" is a gap'),
        (join([*ROWS[:40], [*ROWS[0][:2], "NA", *ROWS[0][3:]], *ROWS]), 'line 41: column 2 (from 0): "NA" is a gap'),
        (join([NAMES, *ROWS[:3], [*ROWS[0][:2], "nan", *ROWS[0][3:]]]), 'line 5: column "c": "nan" is a gap'),
        (join([NAMES, *ROWS[:3], [*ROWS[0][:2], "1e999", *ROWS[0][3:]]]), 'line 5: column "c": "1e999" is'),
        (join([NAMES, *ROWS[:3], [*ROWS[0][:2], "o.5", *ROWS[0][3:]]]), 'line 5: column "c": "o.5" is not a number'),
        (join([NAMES, *ROWS[:3], [*ROWS[0][:2], "1_0", *ROWS[0][3:]]]), 'line 5: column "c": "1_0" is not a number'),
        (join([*COMMA, ["1.000,5", *COMMA[0][1:]]], ";"), '"1.000,5" is not a number'),
        (join([*ROWS, ROWS[0][:4]]), "line 121: 4 cells, the lines before have 6"),
        (join([*ROWS, [*ROWS[0], "7"]]), "line 121: 7 cells"),
        (join([NAMES, *([["x", "y", "z", "u", "v", "w"]] * 60)]), "no row with a number"),
        ("", "is empty"),
        ("\ufeff \n", "is empty"),
        ("# nothing but a comment\n", "no row with a number"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0\0\0\0\0", "is not text"),
        (b"\xff\xfe\x00", "cannot be read as text"),
        (gzip.compress(PLAIN.encode())[:-20], "damaged or cut off"),
        ("1,5\n2,5\n3,7\n", "is one number with a decimal comma, or two numbers"),
    ],
)
def test_what_cannot_be_read_is_refused_with_line_and_remedy(
    tmp_path: Path, content: str | bytes, sentence: str
) -> None:
    with pytest.raises(DataError) as error:
        read(tmp_path, content)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["book.xlsx", "book.ods"])
def test_workbooks_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="workbook of a spreadsheet; save the sheet as CSV"):
        read(tmp_path, b"PK\x03\x04", name)


def test_rows_with_gaps_are_all_named_or_left_out_and_counted(tmp_path: Path) -> None:
    rows = [list(row) for row in ROWS]
    rows[3][1], rows[50][2], rows[70] = "", "NaN", rows[70][:3]
    with pytest.raises(DataError, match=r"line 4: .*\(also line 51, 71\).*leave_out_damaged"):
        read(tmp_path, join(rows))
    stored = read(tmp_path, join(rows), leave_out_damaged=True)
    assert np.array_equal(stored.samples, np.delete(NUMBERS, [3, 50, 70], axis=0))
    assert stored.remarks[1] == "left out: 3 rows with gaps or words (line 4, 51, 71)"


@pytest.mark.parametrize("decimal", [",", "."])
def test_one_column_or_two_is_as_the_recipe_says(tmp_path: Path, decimal: str) -> None:
    stored = read(tmp_path, "1,5\n2,5\n3,7\n", decimal=decimal)
    assert stored.samples.tolist() == ([[1.5], [2.5], [3.7]] if decimal == "," else [[1, 5], [2, 5], [3, 7]])


@pytest.mark.parametrize("content", ["-0,5\n2,5\n", "1,05\n2,5\n", "1,5\n2\n", "x\n1,5\n2,5\n"])
def test_one_column_with_a_decimal_comma_is_known_by_its_numbers(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content).samples.shape == (2, 1)


def test_columns_are_named_or_counted(tmp_path: Path) -> None:
    table = join([["id", *NAMES, "species"], *([str(n * 7), *row, "ab"[n % 2]] for n, row in enumerate(ROWS))])
    stored = read(tmp_path, table, label_column="species", ignore=["id", 2])
    assert stored.columns == ("a", "c", "d", "e", "f")
    assert np.array_equal(stored.samples, np.delete(NUMBERS, 1, axis=1))
    assert stored.labels is not None
    assert stored.labels.tolist() == ["ab"[n % 2] for n in range(120)]
    assert stored.remarks[1] == (
        'left out: column "id" (data.ignore), column "b" (data.ignore), column "species" (the label, 2 kinds)'
    )
    for options, sentence in (
        ({"label_column": "speceis"}, "has no column 'speceis'; its columns are id, a, b"),
        ({"ignore": [9]}, "has no column 9; it has 8"),
    ):
        with pytest.raises(DataError, match=sentence):
            read(tmp_path, table, **options)
    with pytest.raises(DataError, match="it has no header"):
        read(tmp_path, PLAIN, ignore=["a"])


def test_a_column_that_may_be_a_label_is_named(tmp_path: Path) -> None:
    rows = [[*row, str(n % 3)] for n, row in enumerate(ROWS)]
    assert 'column "class" holds only 3 whole numbers' in read(tmp_path, join([[*NAMES, "class"], *rows])).remarks[1]
    words = [[*row, "xyz"[n % 3]] for n, row in enumerate(ROWS)]
    assert 'column "class" may be a label' in read(tmp_path, join([[*NAMES, "class"], *words])).remarks[2]
    assert len(read(tmp_path, PLAIN).remarks) == 1


def test_a_label_column_of_words_gives_the_classes(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [[*row, ("no", "yes")[n % 2]] for n, row in enumerate(ROWS)]
    path.write_text(join([[*NAMES, "class"], *rows]))
    data = labels.load(AutoencoderData(source=str(path), label_column="class"))
    assert data.names == ("no", "yes")
    by_row = {tuple(row): n % 2 for n, row in enumerate(NUMBERS)}
    for samples, classes in ((data.dataset.train, data.train), (data.dataset.test, data.test)):
        for sample, label in zip(samples, classes, strict=True):
            assert min(by_row, key=lambda row: float(np.abs(np.array(row) - sample).max())) in by_row
            nearest = min(by_row, key=lambda row: float(np.abs(np.array(row) - sample).max()))
            assert by_row[nearest] == label


def test_a_parquet_file_is_read_as_the_csv_of_the_same_table(tmp_path: Path) -> None:
    columns: dict[str, Any] = {name: NUMBERS[:, i] for i, name in enumerate(NAMES)}
    columns["count"] = np.arange(120, dtype=np.int32)
    columns["species"] = ["ab"[n % 2] for n in range(120)]
    columns["time"] = [datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)] * 120
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    data = AutoencoderData(source="t", label_column="species", ignore=("count",))
    stored = read_samples(tmp_path / "t.parquet", data)
    assert np.array_equal(stored.samples, NUMBERS)
    assert stored.columns == tuple(NAMES)
    assert stored.remarks[0].startswith("read: 120 rows, 6 columns, Parquet; numbers from")
    assert 'column "time" (times)' in stored.remarks[1]


def test_gaps_and_lists_in_a_parquet_file(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"x": [1.0, None, 3.0], "y": [1, 2, 3]}), tmp_path / "gaps.parquet")
    with pytest.raises(DataError, match=r'row 2: column "x": a gap'):
        read_samples(tmp_path / "gaps.parquet", AutoencoderData(source="t"))
    stored = read_samples(tmp_path / "gaps.parquet", AutoencoderData(source="t", leave_out_damaged=True))
    assert stored.samples.tolist() == [[1, 1], [3, 3]]
    parquet.write_table(pa.table({"embedding": NUMBERS.tolist()}), tmp_path / "lists.parquet")
    assert np.array_equal(read_samples(tmp_path / "lists.parquet", AutoencoderData(source="t")).samples, NUMBERS)
    parquet.write_table(pa.table({"embedding": [[1.0], [1.0, 2.0]]}), tmp_path / "ragged.parquet")
    with pytest.raises(DataError, match="lists of different lengths"):
        read_samples(tmp_path / "ragged.parquet", AutoencoderData(source="t"))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_samples(tmp_path / "broken.parquet", AutoencoderData(source="t"))


def test_the_lines_are_said_before_training(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(PLAIN)
    remarks = datasets.load(AutoencoderData(source=str(tmp_path / "t.csv"))).remarks
    assert remarks[0].startswith("read: 120 rows, 6 columns, header: no")
    assert remarks[-1].startswith("120 samples: ")


@given(
    st.lists(
        st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=3, max_size=3),
        min_size=2,
        max_size=20,
    ),
    st.sampled_from([(",", "."), (";", ","), (";", "."), ("\t", ","), ("|", "."), (" ", ".")]),
    st.booleans(),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
@settings(max_examples=150, deadline=None)
def test_numbers_come_back_bit_for_bit_however_the_table_is_written(
    tmp_path_factory: pytest.TempPathFactory,
    numbers: list[list[float]],
    style: tuple[str, str],
    header: bool,
    code: str,
) -> None:
    delimiter, decimal = style
    rows = [[repr(number).replace(".", decimal) for number in row] for row in numbers]
    text = join([["x", "y", "z"], *rows] if header else rows, delimiter)
    stored = read(tmp_path_factory.mktemp("tables"), text.encode(code))
    assert stored.samples.tolist() == numbers
