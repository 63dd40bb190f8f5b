"""Run directories -> the published store. Incremental: only what is new is read; idempotent.

    runs/<sweep>/**  --whole lines-->  runs/.results-work.duckdb  --copy, os.replace-->  runs/results.duckdb

One ingester at a time, under a file lock, owns the working store. Rows and the byte offset they came
from go into one transaction, so a crash loses nothing and repeats nothing. Readers only ever open the
published snapshot, see `results.store`. Everything here is derived: a working store that is damaged, or
has another schema, is made again from the files.
"""

import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
from filelock import FileLock, Timeout

from results.database import ONE_THREAD, is_cut_off, is_damage, is_other_format, is_refused, quoted
from results.files.ledger import Changes
from results.files.reading import read_sources
from results.files.tail import Stamp
from results.migration import NewerStoreError, create_schema, refuse_newer, schema_version, why_rebuild
from results.stale import stale_runs
from trainer.errors import SweepctlError
from trainer.paths import store_path

_LOCK_TIMEOUT_S = 120.0


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
    """Whether a store that was there was made again from all files."""
    rebuilt_because: str | None
    """Why, as the end of a sentence about the working store."""
    published: bool
    seconds: float


def ingest(runs_dir: Path, *, rebuild: bool = False) -> IngestReport:
    """Brings the published store up to date with the files under `runs_dir`.

    Args:
        runs_dir: the folder that holds the sweeps.
        rebuild: forget everything and read all files again.

    Raises:
        IngestError: there is no such folder, another ingest does not finish, a newer release made the
            store, or the disk refuses.
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
    except OSError as error:
        raise IngestError(
            f"{error.filename or runs_dir}: {error.strerror}; "
            f"check the free space and the permissions of {runs_dir}, and try again"
        ) from error
    return replace(report, seconds=time.monotonic() - started)


def _ingest_locked(runs_dir: Path, rebuild: bool) -> IngestReport:
    """Ingests with the lock held, once more from scratch where the working store turns out damaged."""
    work = runs_dir / ".results-work.duckdb"
    because = "it was asked for" if rebuild else None
    if rebuild:
        _remove(work)
    elif not work.exists():
        _refuse_newer_snapshot(store_path(runs_dir))
    try:
        return _update(runs_dir, work, because)
    except duckdb.Error as error:
        if is_other_format(error):
            raise IngestError(
                f"{work}: another release of DuckDB made it ({_first_line(error)}); use that release, "
                f"or `sweepctl ingest --rebuild` makes it again with this one"
            ) from error
        if not is_damage(error):
            raise _explained(error, work) from error
        because = f"it was damaged: {_first_line(error)}"
        _remove(work)
    try:
        return _update(runs_dir, work, because)
    except duckdb.Error as error:
        raise _explained(error, work) from error


def _explained(error: duckdb.Error, work: Path) -> Exception:
    """What to raise for an error that making the store again would not mend."""
    if "Could not set lock" in str(error):
        return IngestError(
            f"{work}: another program has it open ({_first_line(error)}); close it there and try again"
        )
    if isinstance(error, duckdb.IOException) or is_refused(error) or is_damage(error):
        return IngestError(
            f"{work}: cannot be read or written ({_first_line(error)}); check the free space and the "
            f"permissions of {work.parent}, and try again; `sweepctl ingest --rebuild` makes it again"
        )
    return error


def _update(runs_dir: Path, work: Path, because: str | None) -> IngestReport:
    connection, outdated = _open(work)
    try:
        # DuckDB holds what is committed in memory until then; much less has it write the same blocks again.
        connection.execute("SET checkpoint_threshold = '64MB'")
        changes = read_sources(connection, runs_dir)
        if stale := stale_runs(connection):
            from results.derived import derive  # noqa: PLC0415 - scipy is slow to import, and news are rare

            derive(connection, stale)
    finally:
        connection.close()  # with it all is in the file, and the log beside it is gone
    return _report(runs_dir, changes, because or outdated, _publish(work, store_path(runs_dir)))


def _report(runs_dir: Path, changes: Changes, because: str | None, published: bool) -> IngestReport:
    return IngestReport(
        store=store_path(runs_dir),
        files=len(changes.files),
        lines=changes.lines,
        quarantined=changes.quarantined,
        rebuilt=because is not None,
        rebuilt_because=because,
        published=published,
        seconds=0.0,
    )


def _open(work: Path) -> tuple[duckdb.DuckDBPyConnection, str | None]:
    """The working store, and why one that was there has been replaced by an empty one."""
    because = None
    if work.exists():
        connection = duckdb.connect(str(work), config=ONE_THREAD)
        try:
            because = "it was cut off" if is_cut_off(connection, work) else why_rebuild(connection)
        except NewerStoreError as error:
            connection.close()
            raise IngestError(f"{work}: {error}") from error
        if because is None:
            return connection, None
        connection.close()
        _remove(work)
    connection = duckdb.connect(str(work), config=ONE_THREAD)
    create_schema(connection)
    return connection, because


def _refuse_newer_snapshot(snapshot: Path) -> None:
    """Without a working store, the snapshot alone says that a newer release was here.

    Raises:
        IngestError: it was.
    """
    if not snapshot.exists():
        return
    with duckdb.connect(config=ONE_THREAD) as connection:
        try:
            connection.execute(f"ATTACH '{quoted(snapshot)}' AS snapshot (READ_ONLY)")
            refuse_newer(schema_version(connection, "snapshot"))
        except NewerStoreError as error:
            raise IngestError(f"{snapshot}: {error}") from error
        except duckdb.Error:
            return  # damaged: it is about to be replaced


def _publish(work: Path, snapshot: Path) -> bool:
    """Copies the working store and puts the copy in the snapshot's place in one move, unless it is there.

    The copy is given the working store's modification time: while size and time agree, the snapshot is up
    to date and whole. One that was damaged or removed is so replaced by the next ingest. A reader that has
    the old snapshot open keeps it; the next to open gets the new one.
    """
    now = work.stat()
    if snapshot.exists() and Stamp.of(snapshot.stat())[:2] == Stamp.of(now)[:2]:
        return False
    temporary = snapshot.with_name(".results-publish.duckdb")
    try:
        shutil.copyfile(work, temporary)
        os.utime(temporary, ns=(now.st_atime_ns, now.st_mtime_ns))
        os.replace(temporary, snapshot)  # noqa: PTH105 - the atomic replacement is the point
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _remove(database: Path) -> None:
    database.unlink(missing_ok=True)
    database.with_name(database.name + ".wal").unlink(missing_ok=True)
