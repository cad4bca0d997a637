"""Serving and training read the same numbers from a table, however it is written."""

from pathlib import Path

import numpy as np
import pytest

from service.codecs.table_formats import tables
from service.codecs.table_formats.tables import TableSchema
from service.errors import InvalidInput
from training.data.files.readers import read_samples
from training.errors import DataError
from training.recipe import AutoencoderData

ROWS = [[1.5, -2.0, 3e-4], [0.25, 5.0, 6.0], [7.0, 8.125, -9.0], [1.0, 0.5, 2.0]]


def write(delimiter: str = ",", decimal: str = ".", end: str = "\n", quote: str = "") -> str:
    return "".join(
        delimiter.join(f"{quote}{value!r}{quote}".replace(".", decimal) for value in row) + end for row in ROWS
    )


TABLES: dict[str, bytes] = {
    "commas": write().encode(),
    "semicolons, decimal commas": write(";", ",").encode(),
    "tabs, decimal commas": write("\t", ",", "\r\n").encode(),
    "bars, lone carriage returns": write("|", end="\r").encode(),
    "blanks": write(" ").encode(),
    "several blanks, before and behind": write("   ").replace("\n", "  \n  ").encode(),
    "blanks and a header": ("a b c\n" + write(" ")).encode(),
    "quoted decimal commas": write(decimal=",", quote='"').encode(),
    "a blank behind each comma": write(", ").encode(),
    "sep=": ("sep=;\n" + write(";", ",")).encode(),
    "byte order mark and sep=": ("sep=|\n" + write("|")).encode("utf-8-sig"),
    "a header": ("a,b,c\n" + write()).encode(),
    "a header and units": ("a,b,c\nV,mA,°C\n" + write()).encode(),
    "R's row names": ("a,b,c\n" + "".join(f"r{n},{line}\n" for n, line in enumerate(write().splitlines()))).encode(),
    "pandas' row numbers": (
        ",a,b,c\n" + "".join(f"{n},{line}\n" for n, line in enumerate(write().splitlines()))
    ).encode(),
    "a delimiter at each end": ("a;b;c;\n" + write(";", ",", ";\n")).encode(),
    "times and words": (
        "time,a,b,state,c\n" + "".join("2026-01-0{},{},{},ok,{}\n".format(n, *row) for n, row in enumerate(ROWS, 1))
    ).encode(),
    "comments and blank lines": ("# logger 3\n% x\n\na,b,c\n\n" + write() + "\n# end\n").encode(),
    "UTF-16": write(";", ",").encode("utf-16"),
    "UTF-16 without a mark": write().encode("utf-16-be"),
    "UTF-32": ("a,b,c\n" + write()).encode("utf-32"),
    "Windows-1252": ("größe,b,c\n" + write()).encode("cp1252"),
    "bytes that Windows-1252 lacks": ("a\x81,b,c\n" + write()).encode("latin-1"),
    "a line separator in a name": ("a\u2028,b,c\n" + write()).encode(),
}


def schema_of(names: tuple[str, ...] | None, count: int) -> TableSchema:
    return TableSchema("model", count, names)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_the_same_in_training_and_in_serving(tmp_path: Path, name: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(TABLES[name])
    samples = read_samples(path, AutoencoderData(source=str(path)))
    np.testing.assert_array_equal(samples.samples, ROWS)
    for names in (samples.columns, None):
        table = tables.read_csv(TABLES[name], schema_of(names, 3), 10)
        np.testing.assert_array_equal(table.numbers, ROWS)
        assert table.names == samples.columns


@pytest.mark.parametrize(
    ("content", "count"),
    [
        ("12,5\n-0,25\n", 1),
        ("x\n12,5\n13,5\n", 1),
        ("12,5\n13\n14,25\n", 1),
        ("x,y\n12,5\n13,5\n", 2),
        ("7\n8\n9\n", 1),
    ],
)
def test_a_comma_means_the_same_to_both(tmp_path: Path, content: str, count: int) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(content)
    samples = read_samples(path, AutoencoderData(source=str(path)))
    assert samples.samples.shape[1] == count
    table = tables.read_csv(content.encode(), schema_of(samples.columns, count), 10)
    np.testing.assert_array_equal(table.numbers, samples.samples)


@pytest.mark.parametrize(
    "content",
    ["a,b\n1,2\n3,\n", "a,b\nNA,\n1,2\n", "a,b\n1,2\n3,x\n", "a,b\n1,2\n3,1_0\n", "a,b\n1,2\n3\n", "a,b\n", "x y z\n"],
)
def test_what_one_refuses_the_other_refuses(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(DataError):
        read_samples(path, AutoencoderData(source=str(path)))
    with pytest.raises(InvalidInput):
        tables.read_csv(content.encode(), schema_of(("a", "b"), 2), 10)


def test_a_title_above_the_names_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("Measurements of May\na,b,c\n1,2,3\n4,5,6\n")
    with pytest.raises(DataError, match="its first line has 1 cell, its rows have 3"):
        read_samples(path, AutoencoderData(source=str(path)))
