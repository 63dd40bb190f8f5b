"""Run directories -> the published store. Incremental: only what is new is read; idempotent.

    runs/<sweep>/**  --whole lines-->  runs/.results-work.duckdb  --copy, os.replace-->  runs/results.duckdb

One ingester at a time, under a file lock, owns the working store. Rows and the byte offset they came
from go into one transaction, so a crash loses nothing and repeats nothing. Readers only ever open the
published snapshot, see `results.store`. Everything here is derived: a working store that is broken, or
has another schema, is built again from the files.
"""

import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.resources import files as package_files
from pathlib import Path

import duckdb
from filelock import FileLock, Timeout

from results.derived import derive
from results.files.sources import Changes, read_sources
from trainer.errors import SweepctlError
from trainer.paths import store_path

_LOCK_TIMEOUT_S = 120.0
_FILES = ("tables.sql", "views_runs.sql", "views_speed.sql", "views_staleness.sql", "views_accuracy.sql")
_SCHEMA = "\n".join((package_files("results") / "schema" / name).read_text() for name in _FILES)
_BROKEN = (duckdb.IOException, duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException)
"""What DuckDB raises on a damaged file; anything else is a mistake of ours and is not covered up."""
_SCHEMA_SHA256 = hashlib.sha256(_SCHEMA.encode()).hexdigest()


class IngestError(SweepctlError):
    """The store cannot be brought up to date."""


@dataclass(frozen=True)
class IngestReport:
    """What one ingest did."""

    store: Path
    files: int
    """Files of which something was read."""
    lines: int
    """Trace and sample lines read, good and bad."""
    quarantined: int
    """Lines and files that could not be read this time; table `quarantine` says which and why."""
    rebuilt: bool
    published: bool
    seconds: float


def ingest(runs_dir: Path, *, rebuild: bool = False) -> IngestReport:
    """Brings the published store up to date with the files under `runs_dir`.

    Args:
        runs_dir: the folder that holds the sweeps.
        rebuild: forget everything and read all files again.

    Raises:
        IngestError: there is no such folder, another ingest does not finish, or the disk refuses.
    """
    started = time.monotonic()
    if not runs_dir.is_dir():
        raise IngestError(
            f"{runs_dir}: no such folder; `sweepctl run SPEC` makes it, --runs-dir names another"
        )
    try:
        with FileLock(runs_dir / ".results.lock", timeout=_LOCK_TIMEOUT_S):
            report = _ingest_locked(runs_dir, rebuild)
    except Timeout as error:
        raise IngestError(
            f"{runs_dir / '.results.lock'}: another ingest has held it for {_LOCK_TIMEOUT_S:.0f} s; "
            f"wait for it, or end it, and try again"
        ) from error
    return replace(report, seconds=time.monotonic() - started)


def _ingest_locked(runs_dir: Path, rebuild: bool) -> IngestReport:
    """Ingests with the lock held, once more from scratch where the working store turns out broken."""
    work = runs_dir / ".results-work.duckdb"
    if rebuild:
        _remove(work)
    try:
        return _update(runs_dir, work, rebuilt=rebuild)
    except _BROKEN:
        _remove(work)
    try:
        return _update(runs_dir, work, rebuilt=True)
    except _BROKEN as error:
        raise IngestError(
            f"{work}: cannot be written ({str(error).splitlines()[0]}); "
            f"check the free space and the permissions of {runs_dir}"
        ) from error


def _update(runs_dir: Path, work: Path, *, rebuilt: bool) -> IngestReport:
    connection, fresh = _open(work)
    try:
        changes = read_sources(connection, runs_dir)
        derive(connection)
        publish = _unpublished(connection) or not store_path(runs_dir).exists()
        if publish:
            _publish(connection, store_path(runs_dir))
    finally:
        connection.close()
    return _report(runs_dir, changes, rebuilt=rebuilt or fresh, published=publish)


def _report(runs_dir: Path, changes: Changes, *, rebuilt: bool, published: bool) -> IngestReport:
    return IngestReport(
        store=store_path(runs_dir),
        files=changes.files,
        lines=changes.lines,
        quarantined=changes.quarantined,
        rebuilt=rebuilt,
        published=published,
        seconds=0.0,
    )


def _open(work: Path) -> tuple[duckdb.DuckDBPyConnection, bool]:
    """The working store and whether it had to be created; one of another schema is replaced."""
    connection = duckdb.connect(str(work))
    with suppress(duckdb.CatalogException):  # a store that has just been created has no such table
        if connection.execute("SELECT schema_sha256 FROM store_state").fetchall() == [(_SCHEMA_SHA256,)]:
            return connection, False
    connection.close()
    _remove(work)
    connection = duckdb.connect(str(work))
    connection.begin()
    connection.execute(_SCHEMA)
    connection.execute("INSERT INTO store_state VALUES (?, true)", [_SCHEMA_SHA256])
    connection.commit()
    return connection, True


def _unpublished(connection: duckdb.DuckDBPyConnection) -> bool:
    row = connection.execute("SELECT unpublished FROM store_state").fetchone()
    return row is not None and bool(row[0])


def _publish(connection: duckdb.DuckDBPyConnection, target: Path) -> None:
    """Copies the working store and puts the copy in the snapshot's place in one move.

    A reader that has the old snapshot open keeps it; the next to open gets the new one.
    """
    temporary = target.with_name(".results-publish.duckdb")
    _remove(temporary)
    work = connection.execute("SELECT current_database()").fetchall()[0][0]
    connection.execute(f"ATTACH '{_quoted(temporary)}' AS published")
    connection.execute(f'COPY FROM DATABASE "{work}" TO published')
    connection.execute("DETACH published")
    os.replace(temporary, target)  # noqa: PTH105 - the atomic replacement is the point
    connection.execute("UPDATE store_state SET unpublished = false")


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _remove(database: Path) -> None:
    database.unlink(missing_ok=True)
    database.with_name(database.name + ".wal").unlink(missing_ok=True)
