"""Sums and statistics of single runs, computed once when a run's rows have changed.

    steps, groups, spans --derive_totals.sql--> run_totals     steps --step_modes--> step_modes
    sync_cycles --log_rate--> run_rates                        steps --climb--> run_climbs
                                                               steps --age_trends--> age_trends

They are part of the store, so a report over a thousand runs only reads them.
"""

from collections.abc import Iterator, Sequence

import duckdb
import numpy as np
import pandas as pd

from results.files.rows import insert_rows
from results.migration import read_schema
from results.stale import Run
from results.statistics.age_trends import age_trends
from results.statistics.first_passage import climb
from results.statistics.modes import step_modes
from results.statistics.rates import log_rate

UNITS = ("steps", "prompts", "completion_tokens")
"""Work that a rate counts: columns of view `sync_cycles`."""
_TABLES = ("run_totals", "run_rates", "step_modes", "run_climbs", "age_trends")
_TOTALS = read_schema(["derive_totals.sql"])
_RUNS_AT_ONCE = 64
"""So many in a transaction: what is done stays done when the ingest is ended."""


def derive(connection: duckdb.DuckDBPyConnection, stale: Sequence[Run]) -> None:
    """Compute the derived rows of these runs again."""
    for first in range(0, len(stale), _RUNS_AT_ONCE):
        runs = stale[first : first + _RUNS_AT_ONCE]
        connection.begin()
        try:
            _derive(connection, runs)
            connection.commit()
        except BaseException:
            connection.rollback()
            raise


def _derive(connection: duckdb.DuckDBPyConnection, runs: Sequence[Run]) -> None:
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE chosen AS SELECT unnest(?) AS sweep, unnest(?) AS run_name",
        _names(runs),
    )
    for table in (*_TABLES, "stale_runs"):
        connection.execute(
            f"DELETE FROM {table} WHERE (sweep, run_name) IN (SELECT (sweep, run_name) FROM chosen)"
        )
    connection.execute(_TOTALS)
    # The trace of a chosen run may be gone: of nothing there are no sums.
    connection.execute("DELETE FROM run_totals WHERE steps_done IS NULL AND groups_dispatched IS NULL")
    cycles = dict(_by_run(connection, "sync_cycles", "cycle"))
    rates = [_rate_row(run, cycles[run.key], unit) for run in runs if run.key in cycles for unit in UNITS]
    insert_rows(connection, "run_rates", rates)
    steps = dict(_by_run(connection, "steps", "step, t"))
    with_steps = [(run, steps[run.key]) for run in runs if run.key in steps]
    insert_rows(connection, "step_modes", [_modes_row(run, of_run) for run, of_run in with_steps])
    insert_rows(connection, "run_climbs", [_climb_row(run, of_run) for run, of_run in with_steps])
    trends = [row for run, of_run in with_steps for row in _trend_rows(run, of_run)]
    insert_rows(connection, "age_trends", trends)


def _by_run(
    connection: duckdb.DuckDBPyConnection, table: str, order: str
) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """The rows of each chosen run that has some, in order."""
    frame = connection.execute(
        f"FROM {table} WHERE (sweep, run_name) IN (SELECT (sweep, run_name) FROM chosen) ORDER BY {order}"
    ).df()
    for (sweep, name), part in frame.groupby(["sweep", "run_name"], sort=False):
        yield (str(sweep), str(name)), part


def _names(runs: Sequence[Run]) -> list[list[str]]:
    return [[run.sweep for run in runs], [run.name for run in runs]]


def _modes_row(run: Run, steps: pd.DataFrame) -> dict[str, object]:
    found = step_modes(steps, run.sync_interval_steps, schedule=run.schedule)
    return {
        "sweep": run.sweep,
        "run_name": run.name,
        "sync_interval_steps": run.sync_interval_steps,
        "config_md5": run.config_md5,
        "steps": found.steps,
        "modes": len(found.modes),
        "mode_seconds": [mode.seconds for mode in found.modes],
        "mode_weights": [mode.weight for mode in found.modes],
        "mode_std_s": [mode.std_s for mode in found.modes],
        "mode_low_s": [mode.low_s for mode in found.modes],
        "mode_high_s": [mode.high_s for mode in found.modes],
        "mode_steps": [mode.steps for mode in found.modes],
        "outliers_s": list(found.outliers_s),
        "unimodality_p": _finite(found.unimodality_p),
        "position_p": _finite(found.position_p),
        "explained_by": found.explained_by,
        "sentence": found.sentence,
    }


def _climb_row(run: Run, steps: pd.DataFrame) -> dict[str, object]:
    found = climb(steps["wall_s"].to_numpy(np.float64), steps["reward_mean"].to_numpy(np.float64))
    return {
        "sweep": run.sweep,
        "run_name": run.name,
        "elapsed_s": found.elapsed_s.tolist(),
        "best": found.best.tolist(),
        "training_s": found.training_s,
        "first_fifth": _finite(found.first_fifth),
        "last_fifth": _finite(found.last_fifth),
    }


def _trend_rows(run: Run, steps: pd.DataFrame) -> list[dict[str, object]]:
    return [
        {
            "sweep": run.sweep,
            "run_name": run.name,
            "place": place,
            "metric": found.metric,
            "blocks": found.blocks,
            "rank_correlation": _finite(found.rank_correlation),
            "p": _finite(found.p),
        }
        for place, found in enumerate(age_trends(steps))
    ]


def _rate_row(run: Run, cycles: pd.DataFrame, unit: str) -> dict[str, object]:
    rate = log_rate(cycles[unit].to_numpy(np.float64), cycles["wall_s"].to_numpy(np.float64))
    return {
        "sweep": run.sweep,
        "run_name": run.name,
        "unit": unit,
        "cycles": len(cycles),
        "log_rate": _finite(rate.value),
        "variance": _finite(rate.variance),
        "degrees_of_freedom": _finite(rate.degrees_of_freedom),
    }


def _finite(value: float) -> float | None:
    """NULL for what could not be computed."""
    return value if np.isfinite(value) else None
