"""`--baseline RUN`: every run against one of the user's choice, by all the tests there are.

The choice is written where the sweep's own comparisons are, into a copy of the store that lasts as long as
the report takes. So every table has a third kind of opponent, `chosen`, and knows nothing of it.
"""

import difflib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pandas as pd

from results.store import Store
from results.tables.arms import arm_label
from trainer.errors import ConfigError
from trainer.paths import store_path


@contextmanager
def compared_with(store: Store, sweep: str, run: str) -> Iterator[Store]:
    """A store in which all runs of a sweep are compared with one run, until the block ends.

    Args:
        store: as published; it stays as it is.
        sweep: whose runs are compared.
        run: a name or label; the label of an arm with several seeds means each seed's own run.

    Raises:
        ConfigError: there is no such run.
    """
    runs = store.query(
        "SELECT run_name, label, seed FROM runs WHERE sweep = ? AND state <> 'infeasible' "
        "ORDER BY position NULLS LAST, run_name",
        [sweep],
    )
    others = _meant(runs, sweep, run)
    by_seed = dict(zip(others["seed"], others["run_name"], strict=True))
    other = runs["seed"].map(by_seed).fillna(others["run_name"].iloc[0])
    rows = pd.DataFrame(
        {"sweep": sweep, "run_name": runs["run_name"], "against": "chosen", "other_run": other}
    )
    rows = rows[rows["run_name"] != rows["other_run"]]
    with TemporaryDirectory(prefix="sweepctl-report-") as folder:
        copy = store_path(Path(folder))
        shutil.copyfile(store.path, copy)
        with duckdb.connect(str(copy)) as connection:
            connection.register("chosen_rows", rows)
            connection.execute("INSERT INTO comparisons BY NAME FROM chosen_rows")
        os.utime(copy, (store.mtime, store.mtime))  # it is as old as what it was copied from
        yield Store(Path(folder))


def _meant(runs: pd.DataFrame, sweep: str, run: str) -> pd.DataFrame:
    for column in ("run_name", "label"):
        if len(found := runs[runs[column] == run]):
            return found
    if len(found := runs[runs["label"].map(arm_label) == run]):
        return found
    names = dict.fromkeys([*runs["label"], *runs["run_name"]])
    close = difflib.get_close_matches(run, names, n=1)
    advice = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(list(names)[:12])}"
    raise ConfigError(f"--baseline: sweep {sweep} has no run '{run}'; {advice}")
