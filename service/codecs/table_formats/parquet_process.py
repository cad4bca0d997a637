"""Child process that reads one Parquet file: `python -m service.codecs.table_formats.parquet_process MEMORY SECONDS`.

stdin: QUESTION (bytes of JSON, bytes of the file), {"owner", "count", "names", "max_rows", "max_text"}, the file
stdout: FRAME (bytes of JSON, bytes of numbers, bytes of text), JSON, float64 [N,D], the carried rows
JSON:   {"rows": N, "names": [...], "carried": [...], "lengths": [...]} | {"status": 413 | 422, "refused": text}

Parquet is untrusted input for a large program in C++; a file of few bytes may unpack to any size. The process has
limits of memory and time; parquet.py, which starts it, takes numbers and text from it and nothing else.
"""

import json
import os
import struct
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from service import sandbox
from service.codecs.table_formats.tables import Floats, TableSchema, choose_columns, join_cells
from service.errors import InvalidInput

QUESTION = struct.Struct(">QQ")
FRAME = struct.Struct(">QQQ")
LABEL = "the table"


def main() -> int:
    """Exit code 0; whatever ends it earlier is for the parent a file that cannot be read."""
    import resource

    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # the others reserve a GiB of addresses at once
    import pyarrow.parquet  # noqa: F401  (before the limits)

    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the response
    memory, seconds = map(int, sys.argv[1:3])
    question_size, file_size = QUESTION.unpack(sys.stdin.buffer.read(QUESTION.size))
    question = json.loads(sys.stdin.buffer.read(question_size))
    data = sys.stdin.buffer.read(file_size)
    sandbox.set_limits(memory, seconds)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes no file
    response, numbers, texts = _read(data, question)
    header = json.dumps(response).encode()
    output.write(FRAME.pack(len(header), len(numbers), len(texts)) + header)
    output.write(numbers)
    output.write(texts)
    output.flush()
    return 0


def _read(data: bytes, question: dict[str, Any]) -> tuple[dict[str, Any], bytes, bytes]:
    """The response's three parts."""
    import pyarrow as pa
    from pyarrow import parquet

    names = question["names"]
    schema = TableSchema(question["owner"], question["count"], None if names is None else tuple(names))
    try:
        file = parquet.ParquetFile(pa.BufferReader(data))
        rows = file.metadata.num_rows
        if rows > question["max_rows"]:
            limit = question["max_rows"]
            sentence = f"{LABEL} holds {rows} rows; the limit of one request is {limit}"
            return {"status": 413, "refused": sentence, "limit": limit}, b"", b""
        if rows < 1:
            return _refuse(f"{LABEL} is empty: it has no rows")
        table = file.read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        return _refuse(f"{LABEL} cannot be read as Parquet: {str(error).splitlines()[0][:200]}")
    try:
        columns = [column for index in range(table.num_columns) for column in _expand(table, index)]
        chosen = choose_columns(
            [column.name for column in columns], [column.numbers is not None for column in columns], schema, LABEL
        )
        numbers = _stack([columns[index] for index in chosen])
    except InvalidInput as error:
        return _refuse(error.detail)
    header = [column.name for column in columns]
    carried = [index for index in range(len(columns)) if index not in set(chosen)]
    cells = [columns[index].list_texts() for index in carried]
    texts = [join_cells([column[row] for column in cells]) for row in range(rows)] if carried else []
    if sum(map(len, texts)) > question["max_text"]:
        limit = question["max_text"]
        sentence = f"{LABEL} carries more than {limit} bytes of text"
        return {"status": 413, "refused": sentence, "limit": limit}, b"", b""
    response = {
        "rows": rows,
        "names": list(names) if names is not None else [header[index] for index in chosen],
        "carried": [header[index] for index in carried],
        "lengths": list(map(len, texts)),
    }
    return response, np.ascontiguousarray(numbers).tobytes(), b"".join(texts)


def _stack(columns: list["_Column"]) -> Floats:
    """float64 [N,D]; InvalidInput for words and gaps."""
    for column in columns:
        if column.numbers is None:
            raise InvalidInput(f"{LABEL}, column {column.name[:100]!r} holds no numbers")
        is_finite = np.isfinite(column.numbers)
        if not is_finite.all():
            row = int(np.argmin(is_finite)) + 1
            raise InvalidInput(f"{LABEL}, row {row}, column {column.name[:100]!r} is a gap or no finite number")
    return np.stack([column.numbers for column in columns if column.numbers is not None], axis=1)


def _refuse(sentence: str) -> tuple[dict[str, Any], bytes, bytes]:
    return {"status": 422, "refused": sentence}, b"", b""


@dataclass(frozen=True)
class _Column:
    """A column's `name`, its `values` as pyarrow has them, float64 [N] `numbers` if it is of numbers."""

    name: str
    values: Any
    numbers: Floats | None = None

    def list_texts(self) -> list[str]:
        """Its cells; "" where there is none."""
        values = self.values.to_pylist() if hasattr(self.values, "to_pylist") else self.values
        return ["" if value is None else str(value) for value in values]


def _expand(table: Any, index: int) -> list[_Column]:
    """A column; one of lists of equal length, as embeddings are, as many columns."""
    import pyarrow as pa

    name, column = table.column_names[index], table.column(index)
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        values = column.to_pylist()
        if len({None if row is None else len(row) for row in values}) == 1 and values[0] is not None:
            try:
                matrix = np.array(values, np.float64)
            except (TypeError, ValueError):  # lists of text, or of lists
                return [_Column(name, column)]
            return [_Column(f"{name}.{place}", numbers.tolist(), numbers) for place, numbers in enumerate(matrix.T)]
        return [_Column(name, column)]
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return [_Column(name, column, np.asarray(column.to_numpy(), np.float64))]
    return [_Column(name, column)]


if __name__ == "__main__":
    sys.exit(main())
