"""Parquet, with the extra `parquet`: read by pyarrow in a child process, written by pyarrow here.

bytes -> read: service.codecs.table_formats.parquet_process -> Table        columns -> write -> bytes
"""

import json
import os
import select
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from service import sandbox
from service.codecs.table_formats.parquet_process import FRAME, QUESTION
from service.codecs.table_formats.tables import Table, TableSchema, split_cells
from service.errors import InvalidInput, TooLarge
from service.interruption import check_interruption, current_interruption

IS_INSTALLED = find_spec("pyarrow") is not None
INSTALL_COMMAND = "pip install 'autoencoder-service[parquet]'"
MAX_MEMORY = 1 << 30  # bytes of the child process
MAX_SECONDS = 20
MAX_TEXT = 1 << 26  # bytes of the columns that are carried along
_MAX_HEADER = 1 << 24  # bytes of JSON
_CHUNK = 1 << 20


def read(data: bytes, schema: TableSchema, max_rows: int) -> Table:
    """The rows of a Parquet file.

    Raises:
        InvalidInput: it cannot be read, or its columns are not those of `schema`.
        TooLarge: more rows than `max_rows`, or more carried text than MAX_TEXT.
        InterruptedError: nobody waits for the result any more.
    """
    if not data:
        raise InvalidInput("the table is empty; rows of numbers are expected")
    names = None if schema.names is None else list(schema.names)
    question = {"owner": schema.owner, "count": schema.count, "names": names, "max_rows": max_rows,
                "max_text": MAX_TEXT}  # fmt: skip
    text = json.dumps(question).encode()
    process = sandbox.spawn("service.codecs.table_formats.parquet_process", str(MAX_MEMORY), str(MAX_SECONDS))
    try:
        with ExitStack() as stack:
            interruption = current_interruption()
            if interruption is not None:
                stack.enter_context(interruption.call_on_stop(process.kill))
            limit = time.monotonic() + MAX_SECONDS
            stdin, stdout = _pipes(process)
            stdin.write(QUESTION.pack(len(text), len(data)) + text)
            stdin.write(data)
            stdin.flush()
            pipe = stdout.fileno()
            header_size, numbers_size, texts_size = FRAME.unpack(_receive(pipe, FRAME.size, limit))
            response = json.loads(_receive(pipe, min(header_size, _MAX_HEADER), limit))
            numbers = _receive(pipe, min(numbers_size, 8 * max_rows * schema.count), limit)
            texts = bytes(_receive(pipe, min(texts_size, MAX_TEXT), limit))
    except TimeoutError as error:
        raise InvalidInput(f"the table takes longer than {MAX_SECONDS} s to be read, which is the limit") from error
    except (OSError, ValueError) as error:
        check_interruption()
        memory = MAX_MEMORY >> 20
        raise InvalidInput(f"the table cannot be read: it ended its reader, which may have {memory} MiB") from error
    finally:
        sandbox.terminate(process)
    if "refused" in response:
        if response["status"] == 413:
            raise TooLarge(response["refused"], limit=response["limit"])
        raise InvalidInput(response["refused"])
    rows, start = [], 0
    for length in response["lengths"]:
        rows.append(texts[start : start + length])
        start += length
    array = np.frombuffer(numbers, np.float64).reshape(response["rows"], schema.count)
    return Table(array, tuple(response["names"]), tuple(response["carried"]), rows)


def write(header: Sequence[str], carried: Sequence[bytes], columns: Sequence[NDArray[Any] | Sequence[str]]) -> bytes:
    """A Parquet file; arguments as of tables.write_csv. Carried columns of whole or real numbers are numbers again."""
    import pyarrow as pa
    from pyarrow import parquet

    cells = [split_cells(row) for row in carried]
    arrays = [_to_typed([row[index] for row in cells]) for index in range(len(cells[0]))] if cells else []
    for column in columns:
        if isinstance(column, np.ndarray) and column.ndim == 2:
            arrays += [pa.array(column[:, index]) for index in range(column.shape[1])]
        else:
            arrays.append(pa.array(column))
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_arrays(arrays, names=list(header)), sink)
    return bytes(sink.getvalue().to_pybytes())


def _to_typed(cells: list[str]) -> Any:
    """int64 or float64 if all cells are such numbers as text, else text."""
    import pyarrow as pa

    for kind in (int, float):
        try:
            values = [kind(cell) for cell in cells]
            if all(str(value) == cell for value, cell in zip(values, cells, strict=True)):
                return pa.array(values)
        except (ValueError, OverflowError, pa.ArrowException):
            continue
    return pa.array(cells)


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise AssertionError("This is a bug: the process has pipes")
    return process.stdin, process.stdout


def _receive(pipe: int, count: int, limit: float) -> bytearray:
    """So many bytes; TimeoutError at `limit` (monotonic seconds), OSError if the process ends before."""
    data = bytearray()
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while len(data) < count:
        if not poll.poll(max(0.0, limit - time.monotonic()) * 1000):
            raise TimeoutError
        chunk = os.read(pipe, min(count - len(data), _CHUNK))
        if not chunk:
            raise OSError("no answer")
        data += chunk
    return data
