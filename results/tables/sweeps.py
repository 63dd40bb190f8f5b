"""All sweeps of a store: what became of their runs, and how far they have come."""

import pandas as pd

from results.store import Store, records
from trainer.paths import PILOT

_UNFINISHED = ("running", "failed", "interrupted", "skipped", "pending")
"""States of runs that have not succeeded, in the order they are told."""


def sweeps_table(store: Store) -> pd.DataFrame:
    """One row per sweep, the most recent first, pilots last.

    Columns: `sweep, profile, created_unix`; `runs` that can run, and how many of them are `succeeded,
    running, failed, interrupted, skipped, pending`; `state` in words, such as *finished*, or *2 running, 1
    failed*; `progress`, the share of all planned steps that are done, in [0, 1], a run that succeeded
    counted as whole; `heartbeat_unix`, the last sign of life of any run.

    Raises:
        StoreError: the store cannot be read.
    """
    found = store.query(
        """
        SELECT s.sweep, s.profile, s.created_unix, count(r.run_name) AS runs,
            count(*) FILTER (r.state = 'succeeded') AS succeeded,
            count(*) FILTER (r.state = 'running') AS running,
            count(*) FILTER (r.state = 'failed') AS failed,
            count(*) FILTER (r.state = 'interrupted') AS interrupted,
            count(*) FILTER (r.state = 'skipped') AS skipped,
            count(*) FILTER (r.state = 'pending') AS pending,
            sum(CASE WHEN r.state = 'succeeded' THEN coalesce(r.max_steps, 1)
                ELSE least(coalesce(t.steps_done, 0), coalesce(r.max_steps, 1)) END)
                / sum(coalesce(r.max_steps, 1)) AS progress,
            max(r.heartbeat_unix) AS heartbeat_unix
        FROM sweeps AS s
        LEFT JOIN runs AS r ON r.sweep = s.sweep AND r.state <> 'infeasible'
        LEFT JOIN run_totals AS t ON t.sweep = r.sweep AND t.run_name = r.run_name
        GROUP BY s.sweep, s.profile, s.created_unix
        ORDER BY ends_with(s.sweep, ?), s.created_unix DESC NULLS LAST, s.sweep
        """,
        [PILOT],
    )
    return found.assign(
        progress=found["progress"].astype(float).fillna(0.0), state=[_state(row) for row in records(found)]
    )


def _state(row: dict[str, int]) -> str:
    if row["runs"] == 0:
        return "no run"
    if row["succeeded"] == row["runs"]:
        return "finished"
    return ", ".join(f"{row[name]} {name}" for name in _UNFINISHED if row[name])
