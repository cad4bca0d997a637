"""Tables in responses of /v1: results as CSV or Parquet, and what JSON says of the table that came.

Result, columns carried along by the request's table -> header, columns -> codecs.table_formats -> bytes
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.codecs.formats import CSV
from service.codecs.table_formats import parquet, tables
from service.codecs.table_formats.tables import Table
from service.inference.engine import Result
from service.inference.operations import OPERATIONS
from service.inference.payload import Payload
from service.model.manifest import Operation
from service.model.runtime import Model


def is_table(model: Model, operation: Operation) -> bool:
    """Whether the operation's result is rows of numbers: latents [N,D], or vectors."""
    if OPERATIONS[operation].returns_latents:
        return model.latent is not None and len(model.latent.shape) == 2
    return model.modality == "vector"


def write(result: Result, media_type: str, model: Model, operation: Operation, payload: Payload) -> bytes:
    """The result as a table: carried columns, the numbers under their names, then what each row has beside them.

    Latents are latent_1, latent_2, ...; of encode?top= index_1, ..., value_1, ....
    """
    table = payload.table
    names = list(table.carried_names) if table is not None else []
    columns: list[NDArray[Any] | Sequence[str]] = []
    if result.largest is not None:
        indices, values = result.largest
        names += [f"{word}_{place}" for word in ("index", "value") for place in range(1, indices.shape[1] + 1)]
        columns += [indices, values]
    else:
        numbers = np.asarray(result.samples if result.heatmaps is None else result.heatmaps)
        names += _name_columns(numbers.shape[1], model, operation, table)
        columns.append(numbers)
    for name, extra in (
        ("reconstruction_error", result.error),
        ("percentile", result.percentile),
        ("explained_variance", result.explained_variance),
    ):
        if extra is not None:
            names.append(name)
            columns.append(extra)
    if (verdict := result.verdict) is not None:
        names += ["unusual", "score", "score_percentile"]
        is_unusual = ["true" if value else "false" for value in verdict.is_unusual]
        columns += [is_unusual, [verdict.score] * len(is_unusual), verdict.percentile]
    carried = table.carried_rows if table is not None else []
    return (tables.write_csv if media_type == CSV else parquet.write)(names, carried, columns)


def describe(table: Table) -> dict[str, Any]:
    """Members of JSON that say how the request's table was read."""
    names = table.names or tables.column_names(table.numbers.shape[1])
    return {"columns": list(names), "inputs": table.numbers, "carried": table.carried_columns()}


def _name_columns(count: int, model: Model, operation: Operation, table: Table | None) -> Sequence[str]:
    if OPERATIONS[operation].returns_latents:
        return tables.latent_names(count)
    if model.column_names is not None:
        return model.column_names
    if table is not None and table.names is not None and not OPERATIONS[operation].takes_latents:
        return table.names
    return tables.column_names(count)
