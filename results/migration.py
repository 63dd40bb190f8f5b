"""Which schema a working store has, and what becomes of one that has another.

newer release's             refused: it may hold what this release cannot read
other tables, or some gone  made again from the files
other views                 views are made again in place; nothing is read again
"""

import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files as package_files

import duckdb

from trainer.errors import SweepctlError

SCHEMA_VERSION = 2
"""Raise it with a released change of `schema/tables.sql` or of what derived tables hold; 1 had no number."""

_VIEW_FILES = ("views_runs.sql", "views_speed.sql", "views_staleness.sql", "views_accuracy.sql")


def read_schema(names: Sequence[str]) -> str:
    """The text of some files of `results/schema`, one after the other."""
    return "\n".join((package_files("results") / "schema" / name).read_text() for name in names)


_TABLES, _VIEWS = read_schema(["tables.sql"]), read_schema(_VIEW_FILES)
_STATE = (
    SCHEMA_VERSION,
    hashlib.sha256((_TABLES + read_schema(["derive_totals.sql"])).encode()).hexdigest(),
    hashlib.sha256(_VIEWS.encode()).hexdigest(),
)
_TABLE_NAMES = frozenset(re.findall(r"^CREATE TABLE (\w+)", _TABLES, re.MULTILINE))
_VIEW_NAMES = frozenset(re.findall(r"^CREATE VIEW (\w+)", _VIEWS, re.MULTILINE))


class NewerStoreError(SweepctlError):
    """A store was made by a newer release than this."""


class OtherStoreError(SweepctlError):
    """A store has other tables than this release's."""


def create_schema(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes tables and views in an empty database."""
    connection.begin()
    connection.execute(_TABLES)
    connection.execute(_VIEWS)
    connection.execute("INSERT INTO store_state VALUES (?, ?, ?)", _STATE)
    connection.commit()


def why_rebuild(connection: duckdb.DuckDBPyConnection) -> str | None:
    """Why a store must be made again, or None: it is as it should be, its views brought up to date.

    Raises:
        NewerStoreError: it belongs to a newer release.
    """
    found = schema_version(connection)
    if found is None:
        return "it was made by an earlier release, or is no results store"
    refuse_newer(found)
    if missing := sorted(_TABLE_NAMES - _names(connection, "tables")):
        return f"table `{missing[0]}` was gone"
    states = connection.execute("SELECT * FROM store_state").fetchall()
    if len(states) != 1 or states[0][:2] != _STATE[:2]:
        of = f" ({found}; this release has {SCHEMA_VERSION})" if found != SCHEMA_VERSION else ""
        return f"its tables were of another schema{of}"
    if states[0] != _STATE or _names(connection, "views") != _VIEW_NAMES:
        _make_views_again(connection)
    return None


def schema_version(connection: duckdb.DuckDBPyConnection, database: str = "") -> int | None:
    """The version that a store names; None where it names none.

    Args:
        connection: to the store, or to a database that has it attached.
        database: the name it is attached under.
    """
    prefix = f"{database}." if database else ""
    try:
        row = connection.execute(f"SELECT max(schema_version) FROM {prefix}store_state").fetchone()
    except (duckdb.CatalogException, duckdb.BinderException):
        return None
    return row[0] if row else None


def refuse_newer(version: int | None) -> None:
    """Stops at a store of a newer release.

    Raises:
        NewerStoreError: with what to do.
    """
    if version is not None and version > SCHEMA_VERSION:
        raise NewerStoreError(
            f"a newer release made it (schema {version}; this one knows up to {SCHEMA_VERSION}); "
            f"use that release, or `sweepctl ingest --rebuild` makes it again with this one"
        )


def refuse_other(connection: duckdb.DuckDBPyConnection) -> None:
    """Stops a reader at a store whose tables are not this release's: columns that it asks for may lack.

    Raises:
        NewerStoreError: it is a newer release's.
        OtherStoreError: it is an earlier one's.
    """
    found = schema_version(connection)
    refuse_newer(found)
    states = connection.execute("SELECT * FROM store_state").fetchall() if found is not None else []
    if len(states) != 1 or states[0][:2] != _STATE[:2]:
        raise OtherStoreError(
            "its tables are those of an earlier release; `sweepctl ingest` makes it again from the files of "
            "the runs"
        )


def _make_views_again(connection: duckdb.DuckDBPyConnection) -> None:
    connection.begin()
    for name in sorted(_names(connection, "views")):
        connection.execute(f'DROP VIEW "{name}"')
    connection.execute(_VIEWS)
    connection.execute("UPDATE store_state SET views_sha256 = ?", [_STATE[2]])
    connection.commit()


def _names(connection: duckdb.DuckDBPyConnection, kind: str) -> frozenset[str]:
    """Names of all `tables` or `views` of the store."""
    column = kind.removesuffix("s") + "_name"
    rows = connection.execute(f"SELECT {column} FROM duckdb_{kind}() WHERE NOT internal").fetchall()
    return frozenset(name for (name,) in rows)
