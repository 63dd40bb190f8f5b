"""What the first page needs, computed before it is asked for."""

from contextlib import suppress

from dashboard.data import (
    SnapshotReplacedError,
    load_report,
    published_at,
    runs_dir_from_environment,
    sweep_names,
    sweeps,
)
from results.store import StoreError


def warm_up() -> None:
    """Caches what the bare address shows: the sweeps, and the report of the most recent one.

    A store that is missing or broken is left for the page to explain.
    """
    runs_dir = runs_dir_from_environment()
    mtime = published_at(runs_dir)
    if mtime is None:
        return
    with suppress(StoreError, SnapshotReplacedError):
        for newest in sweep_names(runs_dir, mtime)[:1]:
            load_report(runs_dir, mtime, newest)
        sweeps(runs_dir, mtime)
