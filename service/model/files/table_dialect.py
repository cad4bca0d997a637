"""Dialect of a CSV, in serving and in training alike.

service.codecs.table_formats.dialect -> training.data.files.tables

Training imports this module and has no rules of its own, so a table is read as the same numbers by both.
"""

from service.codecs.table_formats.dialect import (
    AmbiguousRows,
    Dialect,
    count_cells,
    count_header_rows,
    find_declared_delimiter,
    find_dialect,
    find_encoding,
    is_comment,
    is_gap,
    name_columns,
    read_records,
    strip_row,
)

__all__ = [
    "AmbiguousRows",
    "Dialect",
    "count_cells",
    "count_header_rows",
    "find_declared_delimiter",
    "find_dialect",
    "find_encoding",
    "is_comment",
    "is_gap",
    "name_columns",
    "read_records",
    "strip_row",
]
