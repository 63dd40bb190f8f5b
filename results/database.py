"""What the ingester and the reader of the store both must know of DuckDB's files."""

from pathlib import Path

import duckdb

ONE_THREAD: dict[str, str | bool | int | float | list[str]] = {"threads": 1}
"""Sums of floats come out the same whenever they are computed; and training has the other cores."""

_DAMAGE = (
    duckdb.IOException,
    duckdb.FatalException,
    duckdb.InternalException,
    duckdb.SerializationException,
)


def is_damage(error: duckdb.Error) -> bool:
    """Whether DuckDB complains about the file, not about what it was asked."""
    return isinstance(error, _DAMAGE) or str(error).startswith("Corrupt database file")


def is_cut_off(connection: duckdb.DuckDBPyConnection, database: Path) -> bool:
    """Whether the end of an open database's file is missing, which DuckDB sees only when it reads there."""
    blocks = connection.execute("SELECT block_size * total_blocks FROM pragma_database_size()").fetchone()
    return blocks is not None and database.stat().st_size < blocks[0]


def is_other_format(error: duckdb.Error) -> bool:
    """Whether a file is whole, but of a format that this release of DuckDB does not read."""
    return "storage version" in str(error)


def quoted(path: Path) -> str:
    """A path as it stands between single quotes."""
    return str(path).replace("'", "''")
