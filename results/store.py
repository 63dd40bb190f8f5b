"""The reader of the published store.

Each query opens an in-memory database and attaches the snapshot read-only: a `duckdb.connect(path)` that
stays open would go on seeing the old file after the snapshot is replaced. Nothing here blocks a writer,
and no writer blocks this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from results.database import ONE_THREAD, is_damage, is_other_format, quoted
from results.migration import NewerStoreError, OtherStoreError, refuse_other
from trainer.errors import SweepctlError
from trainer.paths import PILOT, store_path


class StoreError(SweepctlError):
    """There is no store, or a query cannot be answered from it."""


@dataclass(frozen=True)
class Store:
    """The results under a runs directory, as last published by `results.ingest.ingest`."""

    runs_dir: Path

    @property
    def path(self) -> Path:
        """The snapshot."""
        return store_path(self.runs_dir)

    @property
    def mtime(self) -> float:
        """When the snapshot was published, in unix seconds: whatever is computed from it may be cached by it.

        Raises:
            StoreError: nothing has been published.
        """
        try:
            return self.path.stat().st_mtime
        except FileNotFoundError as error:
            raise self._missing() from error

    def query(self, sql: str, params: Sequence[object] | dict[str, object] | None = None) -> pd.DataFrame:
        """The rows of a query over the tables and views of `results/schema`.

        Args:
            sql: one statement, with `?` or `$name` for parameters.
            params: their values.

        Raises:
            StoreError: nothing has been published, what has been is damaged or made by another release,
                or DuckDB rejects the statement.
        """
        if not self.path.exists():
            raise self._missing()
        with duckdb.connect(config=ONE_THREAD) as connection:
            try:
                # Not `main`: that is the name of the in-memory database's schema.
                connection.execute(f"ATTACH '{quoted(self.path)}' AS results (READ_ONLY)")
                connection.execute("USE results")
                refuse_other(connection)
                return connection.execute(sql, params).df()
            except (NewerStoreError, OtherStoreError) as error:
                raise StoreError(f"{self.path}: {error}") from error
            except duckdb.Error as error:
                raise self._explained(error) from error

    def sweeps(self) -> pd.DataFrame:
        """Sweeps, the most recent first, pilots last: `sweep, profile, created_unix, margin, runs`."""
        return self.query(
            "SELECT s.sweep, s.profile, s.created_unix, s.margin, count(r.run_name) AS runs FROM sweeps AS s "
            "LEFT JOIN runs AS r USING (sweep) "
            "GROUP BY s.sweep, s.profile, s.created_unix, s.margin "
            "ORDER BY ends_with(s.sweep, ?), s.created_unix DESC NULLS LAST, s.sweep",
            [PILOT],
        )

    def _explained(self, error: duckdb.Error) -> StoreError:
        if is_other_format(error):
            advice = (
                "another release of DuckDB made it; `sweepctl ingest --rebuild` makes it again with this one"
            )
        elif is_damage(error):
            advice = (
                "it is damaged; `sweepctl ingest` puts a whole one in its place, and with --rebuild "
                "makes it again from the runs' files"
            )
        else:
            advice = (
                "docs/store.md lists tables and views; `sweepctl ingest` brings an older store up to date"
            )
        return StoreError(f"{self.path}: {error}\n{advice}")

    def _missing(self) -> StoreError:
        return StoreError(
            f"{self.path}: no results yet; `sweepctl run SPEC` makes some, "
            f"`sweepctl ingest` reads what is there"
        )


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a small frame as dictionaries."""
    names = [str(name) for name in frame.columns]
    columns = [frame.iloc[:, place].tolist() for place in range(len(names))]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
