"""Statistics of single runs that SQL cannot do, computed once when a run's rows have changed.

    steps --step_modes--> table step_modes        sync_cycles --log_rate--> table run_rates

They are part of the store, so a report over a thousand runs only reads them.
"""

from collections.abc import Iterator, Sequence

import duckdb
import numpy as np
import pandas as pd

from results.files.trace_rows import insert_rows
from results.statistics.modes import StepModes, step_modes
from results.statistics.rates import log_rate

UNITS = ("prompts", "completion_tokens")
"""Work that a rate counts: columns of view `sync_cycles`."""
_RUNS_AT_ONCE = 64
"""So many in a transaction: what is done stays done when the ingest is ended."""

Run = tuple[str, str, int]
"""Sweep, run name, sync interval in steps."""


def derive(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the derived tables up to date with the rows they come from."""
    stale = _stale(connection)
    for first in range(0, len(stale), _RUNS_AT_ONCE):
        runs = stale[first : first + _RUNS_AT_ONCE]
        connection.begin()
        try:
            _derive(connection, runs)
            connection.execute("UPDATE store_state SET unpublished = true")
            connection.commit()
        except BaseException:
            connection.rollback()
            raise


def _stale(connection: duckdb.DuckDBPyConnection) -> list[Run]:
    """Runs whose trace was read since, or whose sync interval is another."""
    return connection.execute(
        """
        SELECT sweep, run_name, max(coalesce(r.sync_interval_steps, 1)) FROM (
            SELECT sweep, run_name FROM stale_runs
            UNION
            SELECT m.sweep, m.run_name FROM step_modes AS m JOIN runs AS r USING (sweep, run_name)
            WHERE m.sync_interval_steps <> coalesce(r.sync_interval_steps, 1)
        ) LEFT JOIN runs AS r USING (sweep, run_name)
        GROUP BY sweep, run_name ORDER BY sweep, run_name
        """
    ).fetchall()


def _derive(connection: duckdb.DuckDBPyConnection, runs: Sequence[Run]) -> None:
    chosen = [[sweep, name] for sweep, name, _ in runs]
    which = "list_contains($runs, [sweep, run_name])"
    steps = dict(_by_run(connection, f"SELECT * FROM steps WHERE {which} ORDER BY step", chosen))
    cycles = dict(_by_run(connection, f"SELECT * FROM sync_cycles WHERE {which} ORDER BY cycle", chosen))
    for table in ("step_modes", "run_rates", "stale_runs"):
        connection.execute(f"DELETE FROM {table} WHERE {which}", {"runs": chosen})
    rows = [
        _modes_row(run, step_modes(steps[key], run[2])) for run in runs if (key := (run[0], run[1])) in steps
    ]
    _insert(connection, "step_modes", rows)
    rates = [
        _rate_row(run, cycles[key], unit)
        for run in runs
        if (key := (run[0], run[1])) in cycles
        for unit in UNITS
    ]
    _insert(connection, "run_rates", rates)


def _by_run(
    connection: duckdb.DuckDBPyConnection, sql: str, chosen: list[list[str]]
) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    frame = connection.execute(sql, {"runs": chosen}).df()
    for (sweep, name), part in frame.groupby(["sweep", "run_name"], sort=False):
        yield (str(sweep), str(name)), part


def _modes_row(run: Run, found: StepModes) -> dict[str, object]:
    sweep, name, interval = run
    return {
        "sweep": sweep,
        "run_name": name,
        "sync_interval_steps": interval,
        "steps": found.steps,
        "modes": len(found.modes),
        "mode_seconds": [mode.seconds for mode in found.modes],
        "mode_weights": [mode.weight for mode in found.modes],
        "unimodality_p": _finite(found.unimodality_p),
        "position_p": _finite(found.position_p),
        "sentence": found.sentence,
    }


def _rate_row(run: Run, cycles: pd.DataFrame, unit: str) -> dict[str, object]:
    rate = log_rate(cycles[unit].to_numpy(np.float64), cycles["wall_s"].to_numpy(np.float64))
    return {
        "sweep": run[0],
        "run_name": run[1],
        "unit": unit,
        "cycles": len(cycles),
        "log_rate": _finite(rate.value),
        "variance": _finite(rate.variance),
        "degrees_of_freedom": _finite(rate.degrees_of_freedom),
    }


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[dict[str, object]]) -> None:
    if rows:
        insert_rows(connection, table, {name: [row[name] for row in rows] for name in rows[0]})


def _finite(value: float) -> float | None:
    """NULL for what could not be computed."""
    return value if np.isfinite(value) else None
