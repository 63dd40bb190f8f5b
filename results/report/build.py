"""One report of one sweep: tables of numbers, and sentences no stronger than their tests.

`results.report.render` turns it into text; nothing is computed there.
"""

import time
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.report.observations import observations
from results.store import Store, StoreError, records
from results.tables.accuracy import accuracy_table, delta_table
from results.tables.modes import modes_table
from results.tables.speed import overlapping_runs, seeds_table, speedup_table

SILENT_AFTER_S = 60.0
"""A run that says it is running and has given no sign of life for so long has probably died."""


@dataclass(frozen=True)
class Report:
    """Everything a report says. Frames hold raw numbers; seconds, shares in [0, 1] and percentage points."""

    sweep: str
    profile: str | None
    models: tuple[str, ...]
    created_unix: float | None
    margin_points: float
    published_unix: float
    """When the store was published that this was computed from."""
    experiments: pd.DataFrame
    """View `run_summary`, one row per run of the plan, in its order."""
    speedups: pd.DataFrame
    """`results.tables.speed.speedup_table`."""
    seeds: pd.DataFrame
    """`results.tables.speed.seeds_table`."""
    modes: pd.DataFrame
    """`results.tables.modes.modes_table`."""
    staleness: pd.DataFrame
    """View `staleness`."""
    fates: pd.DataFrame
    """View `fates`."""
    accuracy: pd.DataFrame
    """`results.tables.accuracy.accuracy_table`."""
    deltas: pd.DataFrame
    """`results.tables.accuracy.delta_table`."""
    warnings: pd.DataFrame
    """What runs warned of: `label, message, times`."""
    notices: tuple[str, ...]
    """What is missing or doubtful: unfinished, failed and infeasible runs, unread lines, shared cores."""
    observations: tuple[str, ...]
    """What the numbers show."""

    @property
    def finished(self) -> pd.DataFrame:
        """The runs that succeeded."""
        return self.experiments[self.experiments["state"] == "succeeded"]


def build_report(store: Store, sweep: str | None = None) -> Report:
    """The report of a sweep, by default of the most recent one; partial while runs are missing.

    Raises:
        StoreError: nothing is published yet, or no sweep has that name.
    """
    sweeps = store.sweeps()
    if sweeps.empty:
        raise StoreError(f"{store.path}: holds no sweep; `sweepctl run SPEC` makes one")
    name = str(sweeps["sweep"].iloc[0]) if sweep is None else sweep
    chosen = sweeps[sweeps["sweep"] == name]
    if chosen.empty:
        raise StoreError(f"{store.path}: no sweep {name!r}; there are {', '.join(sweeps['sweep'])}")
    margin = float(chosen["margin"].iloc[0])
    experiments = store.query(
        "SELECT * FROM run_summary WHERE sweep = ? ORDER BY position NULLS LAST, run_name", [name]
    )
    speedups = speedup_table(store, name)
    deltas = delta_table(store, name, margin)
    notices = _notices(store, name, experiments)
    if sweep is None and len(sweeps) > 1:
        others = ", ".join(sweeps["sweep"].iloc[1:])
        notices.insert(0, f"The most recent of {len(sweeps)} sweeps; the others are {others}.")
    return Report(
        sweep=name,
        profile=_optional(chosen["profile"].iloc[0]),
        models=tuple(sorted(experiments["model"].dropna().unique())),
        created_unix=_optional(chosen["created_unix"].iloc[0]),
        margin_points=margin,
        published_unix=store.mtime,
        experiments=experiments,
        speedups=speedups,
        seeds=seeds_table(store, name),
        modes=modes_table(store, name),
        staleness=_of_sweep(store, "staleness", name, "off_policy_steps"),
        fates=_of_sweep(store, "fates", name, "fate"),
        accuracy=accuracy_table(store, name),
        deltas=deltas,
        warnings=_warnings(store, name),
        notices=tuple(notices),
        observations=tuple(observations(experiments, speedups, deltas, margin)),
    )


def _of_sweep(store: Store, view: str, sweep: str, then_by: str) -> pd.DataFrame:
    return store.query(
        f"SELECT * FROM {view} WHERE sweep = ? ORDER BY position, run_name, {then_by}", [sweep]
    )


def _warnings(store: Store, sweep: str) -> pd.DataFrame:
    return store.query(
        "SELECT r.label, w.message, count(*) AS times FROM warnings AS w "
        "JOIN runs AS r USING (sweep, run_name) WHERE sweep = ? "
        "GROUP BY r.label, r.position, w.message ORDER BY r.position, times DESC",
        [sweep],
    )


def _notices(store: Store, sweep: str, experiments: pd.DataFrame) -> list[str]:
    """What a reader must know before the numbers."""
    feasible = experiments[experiments["state"] != "infeasible"]
    done = feasible[feasible["state"] == "succeeded"]
    notices = []
    if len(done) < len(feasible):
        notices.append(f"{len(done)} of {len(feasible)} runs have finished: this report is partial.")
    for row in records(experiments[experiments["state"] != "succeeded"]):
        because = f": {row['reason']}" if isinstance(row["reason"], str) else ""
        at = f", step {row['steps_done']} of {row['max_steps']}" if row["steps_done"] else ""
        silence = _silence(row["heartbeat_unix"]) if row["state"] == "running" else ""
        notices.append(f"{row['label']} is {row['state']}{at}{because}.{silence}")
    shared = overlapping_runs(store, sweep).merge(experiments[["run_name", "label"]], on="run_name")
    if len(shared):
        notices.append(
            f"{', '.join(sorted(shared['label']))} ran at the same time on cores they shared: "
            "their speed is not that of a run alone."
        )
    unread = store.query(
        "SELECT path, count(*) AS lines FROM quarantine WHERE starts_with(path, ? || '/') "
        "GROUP BY path ORDER BY path",
        [sweep],
    )
    for path, lines in zip(unread["path"], unread["lines"], strict=True):
        notices.append(f"{path}: {lines} unreadable; table `quarantine` says where and why.")
    return notices


def _silence(heartbeat_unix: float) -> str:
    """A word on a running run that has gone silent; whether its process lives is for sweepctl to find out."""
    silent_s = time.time() - heartbeat_unix
    return (
        f" No sign of life for {_rough(silent_s)}; see `sweepctl status`."
        if silent_s > SILENT_AFTER_S
        else ""
    )


def _rough(seconds: float) -> str:
    """A duration in the largest unit it has two of: `95 min`, `7 h`, `5 days`."""
    for size, unit in ((86400, "days"), (3600, "h")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 60:.0f} min"


def _optional(value: Any) -> Any:  # noqa: ANN401 - a cell of any type
    """A cell that may be missing, as None."""
    return None if pd.isna(value) else value
