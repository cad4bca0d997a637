"""Tables as spreadsheets, R and loggers write them; columns by name; text carried along."""

import csv
import io

import numpy as np
import pytest

from service.codecs.table_formats import tables
from service.codecs.table_formats.tables import TableSchema
from service.errors import InvalidInput, MalformedBody, TooLarge

NAMED = TableSchema("ecg", 2, ("a", "b"))
UNNAMED = TableSchema("ecg", 2)


def read(text: str, schema: TableSchema = NAMED, encoding: str = "utf-8", max_rows: int = 10) -> tables.Table:
    return tables.read_csv(text.encode(encoding), schema, max_rows)


def test_columns_are_taken_by_name_and_the_others_are_carried() -> None:
    table = read('name,b,id,a\n"x, ""y""",1,7,2\nz,3,8,4e-3\n')
    assert table.numbers.tolist() == [[2, 1], [0.004, 3]]
    assert table.carried_names == ("name", "id")
    assert table.carried_columns() == {"name": ['x, "y"', "z"], "id": ["7", "8"]}


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("a,b\n1.5,2\n", "utf-8"),
        ("a,b\r\n1.5,2\r\n", "utf-8-sig"),
        ("a\tb\r1.5\t2\r", "utf-8"),
        ("a;b\n1,5;2\n", "utf-16"),
        ("sep=;\na;b\n1,5;2\n", "utf-8"),
        ('"a","b"\n"1,5","2"\n', "utf-8"),
        ("# made by a logger\n\na|b\n1.5|2\n\n", "utf-8"),
        ("1.5,2\n", "utf-8"),
        ("a,b,\n1.5,2,\n", "utf-8"),
        ('"",a,b\n"1",1.5,2\n', "utf-8"),
        ("a,b\nV,A\n1.5,2\n", "cp1252"),
        ("größe,a,b\n1 cm ü,1.5,2\n", "cp1252"),
    ],
)
def test_dialects(text: str, encoding: str) -> None:
    assert read(text, encoding=encoding).numbers.tolist() == [[1.5, 2]]


def test_one_number_with_a_decimal_comma_or_two_is_what_the_model_takes() -> None:
    assert read("1,5\n2,5\n", UNNAMED).numbers.tolist() == [[1, 5], [2, 5]]
    assert read("1,5\n2,5\n", TableSchema("ecg", 1)).numbers.tolist() == [[1.5], [2.5]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,c\n1,2\n", "has no column 'b'; ecg takes 'a', 'b', the columns are 'a', 'c'"),
        ("a,b,b\n1,2,3\n", "has 2 columns 'b'"),
        ("1,2,3\n", "has 3 columns of numbers; ecg takes 2; or give them the names 'a', 'b' in a first line"),
        ("a,b\n1,2\n3,\n", 'line 3, column "b": "" is a gap'),
        ("a,b\n1,2\n3,NaN\n", '"NaN" is a gap'),
        ("a,b\n1,2\n3,inf\n", '"inf" is a gap'),
        ("a,b\n1,2\n3,x\n", '"x" is not a number'),
        ("a,b\n1,2\n3,1_0\n", '"1_0" is not a number'),
        ("a,b\n1,2\n3\n", "line 3 has 1 cells; the lines before have 2"),
        ("a,b\n", "has no row with a number in it"),
        ("  \n", "is empty"),
    ],
)
def test_what_cannot_be_used_is_named_with_line_and_column(text: str, sentence: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        read(text)
    assert sentence in refusal.value.detail


def test_columns_of_numbers_are_counted_where_the_model_has_no_names() -> None:
    assert read("u,label,v\n1,x,2\n", UNNAMED).names == ("u", "v")
    with pytest.raises(InvalidInput, match="has 3 columns of numbers \\('u', 'v', 'w'\\); ecg takes 2"):
        read("u,v,w\n1,2,3\n", UNNAMED)


def test_limits_are_kept_before_anything_is_made_of_the_rest() -> None:
    with pytest.raises(TooLarge, match="more than 10 rows"):
        read("a,b\n" + "1,2\n" * 11)
    assert len(read("a,b\n" + "1,2\n" * 10).numbers) == 10
    with pytest.raises(TooLarge, match="line 2 has 1048576 characters or more"):
        read("a,b\n" + "1" * (1 << 21))
    with pytest.raises(MalformedBody, match="quote not closed"):
        read('a,b\n1,2\n"3,4\n' + "5,6\n" * 100_000, max_rows=1_000_000)
    with pytest.raises(MalformedBody, match="zero byte"):
        read("a,b\n" + "1,2\n" * 2000 + "\0,1\n", max_rows=10_000)


def test_cells_are_counted_before_they_are_read() -> None:
    data = b"a,b\n" + b"1,2\n" * 1000
    assert 2002 <= tables.estimate_cells(data, 2) <= 2003
    assert tables.estimate_cells("a;b\n1,5;2\n".encode("utf-16"), 2) >= 4


@pytest.mark.parametrize("seed", range(300))
def test_any_bytes_are_read_or_refused(seed: int) -> None:
    generator = np.random.default_rng(seed)
    data = bytearray(b'name,b,id,a\n"x, y",1,7,2\nz,3,8,4e-3\nq,5,9,-1\n')
    for place in generator.integers(0, len(data), 4):
        data[place] = generator.choice(np.frombuffer(b'\0\n\r",;\t.x9\xff\xe2-', np.uint8))
    try:
        table = tables.read_csv(bytes(data), NAMED, 10)
    except (InvalidInput, MalformedBody, TooLarge):
        return
    assert np.isfinite(table.numbers).all()
    assert table.numbers.shape[1] == 2


def test_batches_hold_all_rows_in_order() -> None:
    data = b"a,b,n\n" + b"".join(b"%d,0,n%d\n" % (i, i) for i in range(25))
    batches = list(tables.read_csv_batches(data, NAMED, 10))
    assert [len(batch.numbers) for batch in batches] == [10, 10, 5]
    assert np.concatenate([batch.numbers[:, 0] for batch in batches]).tolist() == list(range(25))
    assert batches[2].carried_columns()["n"][-1] == "n24"


def test_what_is_written_is_read_back_the_same() -> None:
    numbers = np.random.default_rng(0).normal(0, 1e-6, (20, 2))
    texts = [tables.join_cells([text]) for text in ["a,b", 'quote "', "two\nlines", "é한", *["x"] * 16]]
    data = tables.write_csv(["note", "a", "b", "flag"], texts, [numbers, ["true"] * 20])
    table = tables.read_csv(data, NAMED, 100)
    assert (table.numbers == numbers).all()
    assert table.carried_columns()["note"][:4] == ["a,b", 'quote "', "two\nlines", "é한"]
    assert len(list(csv.reader(io.StringIO(data.decode())))) == 21


def test_single_precision_is_written_as_short_as_it_reads_back() -> None:
    data = tables.write_csv(["a"], [], [np.array([[0.1], [1 / 3]], np.float32)])
    assert data == b"a\n0.1\n0.33333334\n"
