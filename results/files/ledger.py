"""What has been read of every file: kept in the store, and changed together with the rows that came of it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from results.files.rows import insert_rows
from results.files.sources import Kind, Source
from results.files.tail import Position, Stamp
from results.files.trace_decoder import BadLine


@dataclass
class Changes:
    """What was read."""

    files: set[str] = field(default_factory=set)
    lines: int = 0
    quarantined: int = 0


class Ledger:
    """Tables `files` and `quarantine`. What is noted in a transaction is written when that ends."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, runs_dir: Path) -> None:
        self.connection = connection
        self.runs_dir = runs_dir
        self.changes = Changes()
        self.known: dict[str, tuple[Kind, Position]] = {
            path: (kind, Position(Stamp(*stamp), *rest))
            for path, kind, *stamp, rest in (
                (*row[:5], row[5:])
                for row in connection.execute(
                    "SELECT path, kind, size, mtime_ns, ctime_ns, byte_offset, head_sha256, tail_sha256 "
                    "FROM files"
                ).fetchall()
            )
        }
        self._positions: dict[str, tuple[Kind, Position]] = {}
        self._gone: set[str] = set()
        self._released: set[str] = set()
        self._bad: list[tuple[str, BadLine]] = []

    def path(self, source: Source) -> Path:
        """Where a source lies."""
        return self.runs_dir / source.key

    def position(self, source: Source) -> Position | None:
        """How far a file has been read."""
        return self.known[source.key][1] if source.key in self.known else None

    def is_touched(self, source: Source) -> bool:
        """Whether a file is new, or not as it was when it was read."""
        known = self.known.get(source.key)
        return known is None or known[1].stamp != source.stamp

    def remember(self, source: Source, position: Position | None = None) -> None:
        """A file has been read up to a position; by default all of it, as it was when it was found."""
        self._positions[source.key] = (source.kind, position or Position(source.stamp, source.stamp.size))

    def forget(self, key: str) -> None:
        """A file is gone."""
        self._gone.add(key)
        self._released.add(key)

    def release(self, source: Source) -> None:
        """What was bad of a file is no longer: it is read from the start."""
        self._released.add(source.key)

    def quarantine(self, source: Source, bad: Iterable[BadLine]) -> None:
        """Put what could not be read on record."""
        self._bad += [(source.key, line) for line in bad]

    def refuse(self, source: Source, error: OSError) -> None:
        """A file cannot be read; what was read of it before stays, and it is tried again once touched."""
        self.release(source)
        self.quarantine(source, [BadLine(0, f"cannot be read: {error.strerror}", "")])
        self.remember(source)

    def is_quarantined(self, source: Source) -> bool:
        """Whether something of a file is on record as unreadable."""
        found = self.connection.execute("SELECT 1 FROM quarantine WHERE path = ? LIMIT 1", [source.key])
        return found.fetchone() is not None

    def count(self, source: Source, lines: int = 0) -> None:
        """A file, or so many lines of one, have been read."""
        self.changes.files.add(source.key)
        self.changes.lines += lines

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Rows and the offset they came from, together or not at all."""
        self.connection.begin()
        try:
            yield
            self._write()
            self.connection.commit()
        except BaseException:
            with suppress(duckdb.Error):  # a commit that failed has ended the transaction itself
                self.connection.rollback()
            raise

    def _write(self) -> None:
        replaced = [key for key in (*self._positions, *self._gone) if key in self.known]
        if replaced:
            self.connection.execute("DELETE FROM files WHERE path IN (SELECT unnest(?))", [replaced])
        if self._released and self.known:
            self.connection.execute(
                "DELETE FROM quarantine WHERE path IN (SELECT unnest(?))", [list(self._released)]
            )
        rows = [
            {"path": key, "kind": kind, **position.stamp._asdict(), **position._asdict()}
            for key, (kind, position) in self._positions.items()
        ]
        for row in rows:
            del row["stamp"]
        insert_rows(self.connection, "files", rows)
        insert_rows(self.connection, "quarantine", [{"path": key, **vars(line)} for key, line in self._bad])
        self.known.update(self._positions)
        for key in self._gone:
            del self.known[key]
        self.changes.quarantined += len(self._bad)
        for noted in (self._positions, self._gone, self._released, self._bad):
            noted.clear()
