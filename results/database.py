"""What the ingester and the reader of the store both must know of DuckDB's files."""

import re
from pathlib import Path

import duckdb

ONE_THREAD: dict[str, str | bool | int | float | list[str]] = {"threads": 1}
"""Sums of floats come out the same whenever they are computed; and training has the other cores."""

_BROKEN = (duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException)
_DAMAGED = re.compile(r"not a valid DuckDB database file|Could not read enough bytes|[Cc]orrupt|[Cc]hecksum")
_REFUSED = re.compile(
    r"Could not (set lock|write|truncate|sync|fsync|seek|move|remove)|Cannot open file|No space left"
    r"|Permission denied|Read-only file system|Too many open files|quota exceeded|Input/output error"
)
"""How the words of the operating system arrive, also where DuckDB gives up the open database over them."""


def is_damage(error: duckdb.Error) -> bool:
    """Whether DuckDB complains about what is in the file: not about what it was asked, nor about the disk."""
    if is_refused(error):
        return False
    text = str(error)
    found_in_file = isinstance(error, duckdb.IOException) and _DAMAGED.search(text) is not None
    return found_in_file or isinstance(error, _BROKEN) or text.startswith("Corrupt database file")


def is_refused(error: duckdb.Error) -> bool:
    """Whether the system refused to read or write a file: a lock, a full disk, permissions."""
    reports = duckdb.IOException | duckdb.FatalException | duckdb.TransactionException
    return isinstance(error, reports) and _REFUSED.search(str(error)) is not None


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
