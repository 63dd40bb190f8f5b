"""Rows -> tables of the store, as whole columns."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from results.files.trace_decoder import INT64

Row = Mapping[str, Any]


def insert_arrow(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    """Append rows to a table, by name; columns that `rows` lacks become NULL."""
    connection.register("new_rows", rows)
    try:
        connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM new_rows")
    finally:
        connection.unregister("new_rows")


def insert_rows(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Row]) -> None:
    """Append rows with the same columns, of values that fit; see `storable`."""
    if rows:
        insert_arrow(connection, table, pa.table({name: [row[name] for row in rows] for name in rows[0]}))


def column_types(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, tuple[str, bool]]:
    """The type of each column as DuckDB words it, and whether it may be NULL."""
    found = connection.execute(
        "SELECT column_name, data_type, is_nullable FROM duckdb_columns() WHERE table_name = ?", [table]
    ).fetchall()
    return {name: (kind, nullable) for name, kind, nullable in found}


def storable(types: Mapping[str, tuple[str, bool]], rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Rows without the values that their columns cannot hold, and a complaint about each of those.

    Such a value becomes NULL; where it may not, the row is left out.
    """
    kept: list[Row] = []
    complaints: list[str] = []
    for row in rows:
        unfit = {name for name, value in row.items() if not _fits(value, types[name][0])}
        complaints += [
            f"{name}: {str(row[name])[:40]!r} is no {_called(types[name][0])}" for name in sorted(unfit)
        ]
        if all(types[name][1] for name in unfit):
            kept.append({name: None if name in unfit else value for name, value in row.items()})
    return kept, complaints


def _called(kind: str) -> str:
    return "finite number" if kind == "DOUBLE" else kind


def _fits(value: object, kind: str) -> bool:
    if value is None:
        return True
    if kind == "BIGINT":
        return isinstance(value, int) and not isinstance(value, bool) and value in INT64
    if kind == "DOUBLE":
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
    if kind == "BOOLEAN":
        return isinstance(value, bool)
    if kind.endswith("[]"):
        return isinstance(value, list) and all(_fits(item, kind.removesuffix("[]")) for item in value)
    return isinstance(value, str)
