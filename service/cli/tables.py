"""Tables on the command line: `autoencoder-service encode beats.csv -o latents.csv`, rows in and rows out.

CSV or Parquet -> codecs.table_formats, at most ROWS at a time -> AsyncClient -> CSV, Parquet or .npy, written whole

Columns are taken by the names that the package has; the others are carried along to the output.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.cli.errors import FilesError
from service.cli.file_jobs import write_output
from service.cli.file_options import FileOptions
from service.client import AsyncClient, Reconstruction, ServiceProblem, ServiceUnreachable
from service.codecs import arrays
from service.codecs.formats import CSV, TABLE_MEDIA_TYPE_OF_SUFFIX
from service.codecs.table_formats import parquet, tables
from service.codecs.table_formats.tables import Table, TableSchema
from service.errors import ServiceError

ROWS = 1024  # of one request
MAX_PARQUET_ROWS = 10_000_000
SUFFIXES = ", ".join(TABLE_MEDIA_TYPE_OF_SUFFIX)


def is_table(name: str | Path) -> bool:
    """Whether a file is a table by its suffix."""
    return Path(name).suffix.lower() in TABLE_MEDIA_TYPE_OF_SUFFIX


async def convert_table(client: AsyncClient, model: str, options: FileOptions, output: Path | None) -> NDArray[Any]:
    """Encode, decode or reconstruct the rows of the only input; writes the result unless it is pictures.

    Args:
        output: a table or an .npy; None: CSV on standard output.
    Returns:
        The first result of all rows, [N,...]: latents or samples.
    Raises:
        FilesError: the table, or the model's refusal.
    """
    if len(options.inputs) > 1:
        raise FilesError(f"{options.operation} takes one table; there are {len(options.inputs)} inputs")
    path = Path(options.inputs[0])
    if output is not None and not is_table(output) and output.suffix != ".npy" and options.operation != "decode":
        raise FilesError(f"rows are written as {SUFFIXES} or .npy; {output} is another file")
    try:
        facts = await client.model(model, version=options.model_version)
        schema = find_schema(facts, options)
        batches = await asyncio.to_thread(lambda: list(read_batches(path, schema)))
        results = [await _convert(client, model, options, table) for table in batches]
    except (ServiceProblem, ServiceUnreachable, ServiceError) as error:
        raise FilesError(error.detail) from error
    first, *extras = [np.concatenate(parts) for parts in zip(*results, strict=True)]
    if first.ndim != 2:
        return first
    carried = [row for table in batches for row in table.carried_rows]
    names = [*batches[0].carried_names, *_name_result(first.shape[1], facts, options, batches[0])]
    names += ["reconstruction_error", "percentile", "unusual"][: len(extras)]
    columns: list[Any] = [first, *extras[:2]]
    if len(extras) > 2:
        columns.append(["true" if value else "false" for value in extras[2]])
    write_table(output, names, carried, columns)
    return first


def find_schema(facts: dict[str, Any], options: FileOptions) -> TableSchema:
    """The columns that the operation takes, by the facts of GET /v1/models/<name>."""
    port = "latent" if options.operation == "decode" else "vector"
    shape = facts["ports"].get(port, {}).get("shape", [])
    if len(shape) != 2 or not isinstance(shape[1], int):
        raise FilesError(f"{facts['name']} {options.operation} takes no rows of numbers; a table is for models that do")
    names = tables.latent_names(shape[1]) if port == "latent" else _column_names(facts)
    return TableSchema(facts["name"], shape[1], names)


def read_batches(path: Path, schema: TableSchema) -> Iterator[Table]:
    """The rows of a file, at most ROWS at a time. Raises FilesError, ServiceError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FilesError(f"{path}: {error.strerror}") from error
    if TABLE_MEDIA_TYPE_OF_SUFFIX[path.suffix.lower()] == CSV:
        yield from tables.read_csv_batches(data, schema, ROWS, str(path))
        return
    if not parquet.IS_INSTALLED:
        raise FilesError(f"{path} needs an extra that is not installed: {parquet.INSTALL_COMMAND}")
    table = parquet.read(data, schema, MAX_PARQUET_ROWS)
    for start in range(0, len(table.numbers), ROWS):
        rows = slice(start, start + ROWS)
        yield Table(table.numbers[rows], table.names, table.carried_names, table.carried_rows[rows])


def write_table(path: Path | None, names: Sequence[str], carried: Sequence[bytes], columns: Sequence[Any]) -> None:
    """A table by the path's suffix; .npy: the first column's array alone; None: CSV on standard output."""
    suffix = ".csv" if path is None else path.suffix.lower()
    if suffix == ".npy":
        write_output(path, arrays.write_npy(np.ascontiguousarray(columns[0])))
    elif TABLE_MEDIA_TYPE_OF_SUFFIX.get(suffix) == CSV:
        write_output(path, tables.write_csv(names, carried, columns))
    elif suffix not in TABLE_MEDIA_TYPE_OF_SUFFIX:
        raise FilesError(f"rows are written as {SUFFIXES} or .npy; {path} is another file")
    elif not parquet.IS_INSTALLED:
        raise FilesError(f"{path} needs an extra that is not installed: {parquet.INSTALL_COMMAND}")
    else:
        write_output(path, parquet.write(names, carried, columns))


def _column_names(facts: dict[str, Any]) -> tuple[str, ...] | None:
    names = tuple(column["name"] for column in facts.get("columns") or () if column["name"])
    return names if names and len(set(names)) == facts["ports"]["vector"]["shape"][1] else None


def _name_result(count: int, facts: dict[str, Any], options: FileOptions, table: Table) -> Sequence[str]:
    if options.operation == "encode":
        return tables.latent_names(count)
    names = _column_names(facts)
    if names is not None:
        return names
    return table.names if table.names and options.operation == "reconstruct" else tables.column_names(count)


async def _convert(client: AsyncClient, model: str, options: FileOptions, table: Table) -> tuple[NDArray[Any], ...]:
    """The result of one request, and of reconstruct error, percentile and, if a rate is given, verdict."""
    if options.operation == "reconstruct":
        rate = options.false_alarm_rate
        result: Reconstruction = await client.reconstruct(
            model, table.numbers, version=options.model_version, false_alarm_rate=rate
        )
        extras = (result.error, result.percentile) + (() if result.unusual is None else (result.unusual,))
        return (np.asarray(result.output), *extras)
    request: Callable[..., Awaitable[NDArray[Any]]] = client.encode if options.operation == "encode" else client.decode
    return (await request(model, table.numbers, version=options.model_version),)
