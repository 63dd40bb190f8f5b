"""One snapshot of the store for as long as a report takes.

A report asks some thirty questions. Asked of the store each for itself, a snapshot that is published in
between would answer the later ones; and attaching costs more than most of them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pandas as pd

from results.database import ONE_THREAD, quoted
from results.store import Store


@dataclass(frozen=True)
class _Snapshot(Store):
    """A store whose queries all go to one connection."""

    connection: duckdb.DuckDBPyConnection

    def query(self, sql: str, params: Sequence[object] | dict[str, object] | None = None) -> pd.DataFrame:
        try:
            return self.connection.execute(sql, params).df()
        except duckdb.Error as error:
            raise self._explained(error) from error


@contextmanager
def snapshot(store: Store) -> Iterator[Store]:
    """The store as it is now, until the block ends; what is published meanwhile is not seen.

    Raises:
        StoreError: nothing has been published, or it cannot be read.
    """
    store.query("SELECT 1")  # all that can be wrong with a store is said by its reader
    with duckdb.connect(config=ONE_THREAD) as connection:
        connection.execute(f"ATTACH '{quoted(store.path)}' AS results (READ_ONLY)")
        connection.execute("USE results")
        yield _Snapshot(store.runs_dir, connection)
