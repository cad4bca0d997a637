"""Parquet: a child process with limits reads it; names, lists, text, and files that are none."""

import io
import threading
import time
from typing import Any

import numpy as np
import pytest

from service.codecs.table_formats import parquet
from service.codecs.table_formats.tables import TableSchema, join_cells
from service.errors import InvalidInput, TooLarge
from service.interruption import Interruption, interruptible

pa: Any = pytest.importorskip("pyarrow")
NAMED = TableSchema("ecg", 2, ("a", "b"))


def to_parquet(**columns: Any) -> bytes:
    from pyarrow import parquet as files

    buffer = io.BytesIO()
    files.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def test_columns_are_taken_by_name_and_the_others_are_carried() -> None:
    table = parquet.read(to_parquet(b=[1, 2], note=["x", None], a=[0.5, 1.5], id=[7, 8]), NAMED, 10)
    assert table.numbers.tolist() == [[0.5, 1], [1.5, 2]]
    assert table.carried_columns() == {"note": ["x", ""], "id": ["7", "8"]}


def test_lists_are_columns() -> None:
    table = parquet.read(to_parquet(vector=[[1.0, 2.0], [3.0, 4.0]], text=["p", "q"]), TableSchema("ecg", 2), 10)
    assert table.numbers.tolist() == [[1, 2], [3, 4]]
    assert table.names == ("vector.0", "vector.1")


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"a": [1.0], "c": [2.0]}, "no column 'b'"),
        ({"a": [1.0, 2.0], "b": [2.0, None]}, "row 2, column 'b' is a gap"),
        ({"a": [1.0], "b": ["x"]}, "column 'b' holds no numbers"),
        ({"a": pa.array([], pa.float64()), "b": pa.array([], pa.float64())}, "is empty"),
    ],
)
def test_what_cannot_be_used_is_named(columns: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parquet.read(to_parquet(**columns), NAMED, 10)
    assert sentence in refusal.value.detail


def test_an_empty_file_is_called_empty() -> None:
    with pytest.raises(InvalidInput, match="the table is empty"):
        parquet.read(b"", TableSchema("ecg", 2), 10)


def test_rows_are_counted_before_they_are_unpacked() -> None:
    data = to_parquet(a=np.zeros(5_000_000), b=np.zeros(5_000_000))
    assert len(data) < 100_000  # 80 MB unpacked
    start = time.monotonic()
    with pytest.raises(TooLarge, match="holds 5000000 rows; the limit of one request is 10"):
        parquet.read(data, NAMED, 10)
    assert time.monotonic() - start < 15


def test_carried_text_has_a_limit() -> None:
    data = to_parquet(a=[0.0] * 100, b=[0.0] * 100, note=["x" * 1_000_000] * 100)
    assert len(data) < 1_500_000
    with pytest.raises((TooLarge, InvalidInput)):
        parquet.read(data, NAMED, 1000)


@pytest.mark.parametrize("seed", range(6))
def test_damaged_files_are_refused(seed: int) -> None:
    data = bytearray(to_parquet(a=list(range(50)), b=list(range(50)), note=["n"] * 50))
    generator = np.random.default_rng(seed)
    for place in generator.integers(4, len(data) - 4, 30):
        data[place] = generator.integers(0, 256)
    try:
        table = parquet.read(bytes(data), NAMED, 100)
    except (InvalidInput, TooLarge):
        return
    assert table.numbers.shape == (50, 2)


def test_nobody_waits_for_it() -> None:
    interruption = Interruption()
    threading.Timer(0.05, interruption.stop).start()
    with interruptible(interruption), pytest.raises(InterruptedError):  # it takes 0.3 s to start
        parquet.read(to_parquet(a=[1.0], b=[2.0]), NAMED, 10)


def test_what_is_written_is_read_back_with_its_types() -> None:
    from pyarrow import parquet as files

    cells = [join_cells(["x", "7", "0.5"]), join_cells(["y", "8", "1.5"])]
    data = parquet.write(["note", "id", "share", "a", "b"], cells, [np.array([[1, 2], [3, 4]], np.float32)])
    table = files.read_table(io.BytesIO(data))
    assert [str(kind) for kind in table.schema.types] == ["string", "int64", "double", "float", "float"]
    assert parquet.read(data, NAMED, 10).numbers.tolist() == [[1, 2], [3, 4]]
