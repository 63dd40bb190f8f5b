"""Statistics of single runs that SQL cannot do, computed once when a run's rows have changed.

    steps --step_modes--> table step_modes        sync_cycles --log_rate--> table run_rates

They are part of the store, so a report over a thousand runs only reads them.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd
from pydantic import ValidationError

from results.files.rows import insert_rows
from results.statistics.modes import StepModes, step_modes
from results.statistics.rates import log_rate
from trainer.config import RunConfig
from trainer.schedule import Schedule

UNITS = ("steps", "prompts", "completion_tokens")
"""Work that a rate counts: columns of view `sync_cycles`."""
_RUNS_AT_ONCE = 64
"""So many in a transaction: what is done stays done when the ingest is ended."""


@dataclass(frozen=True)
class Run:
    """What is known of a run beside its trace."""

    sweep: str
    name: str
    sync_interval_steps: int
    schedule: Schedule | None
    """None where the configuration is incomplete, as that of an imported run may be."""

    @property
    def key(self) -> tuple[str, str]:
        """What its rows are found by."""
        return self.sweep, self.name


def derive(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the derived tables up to date with the rows they come from."""
    stale = _stale(connection)
    for first in range(0, len(stale), _RUNS_AT_ONCE):
        runs = stale[first : first + _RUNS_AT_ONCE]
        connection.begin()
        try:
            _derive(connection, runs)
            connection.commit()
        except BaseException:
            connection.rollback()
            raise


def _stale(connection: duckdb.DuckDBPyConnection) -> list[Run]:
    """Runs whose trace was read since, or whose sync interval is another."""
    rows = connection.execute(
        """
        SELECT sweep, run_name, max(coalesce(r.sync_interval_steps, 1)), any_value(r.config) FROM (
            SELECT sweep, run_name FROM stale_runs
            UNION
            SELECT m.sweep, m.run_name FROM step_modes AS m JOIN runs AS r USING (sweep, run_name)
            WHERE m.sync_interval_steps <> coalesce(r.sync_interval_steps, 1)
        ) LEFT JOIN runs AS r USING (sweep, run_name)
        GROUP BY sweep, run_name ORDER BY sweep, run_name
        """
    ).fetchall()
    return [Run(sweep, name, interval, _schedule(config)) for sweep, name, interval, config in rows]


def _schedule(config: str | None) -> Schedule | None:
    with suppress(ValidationError):
        return RunConfig.model_validate_json(config or "{}").schedule
    return None


def _derive(connection: duckdb.DuckDBPyConnection, runs: Sequence[Run]) -> None:
    steps = dict(_by_run(connection, "steps", "step, t", runs))
    cycles = dict(_by_run(connection, "sync_cycles", "cycle", runs))
    sweeps, names = _names(runs)
    for table in ("step_modes", "run_rates", "stale_runs"):
        connection.execute(
            f"DELETE FROM {table} WHERE (sweep, run_name) IN (SELECT (unnest(?), unnest(?)))", [sweeps, names]
        )
    rows = [
        _modes_row(run, step_modes(steps[run.key], run.sync_interval_steps, schedule=run.schedule))
        for run in runs
        if run.key in steps
    ]
    insert_rows(connection, "step_modes", rows)
    rates = [_rate_row(run, cycles[run.key], unit) for run in runs if run.key in cycles for unit in UNITS]
    insert_rows(connection, "run_rates", rates)


def _by_run(
    connection: duckdb.DuckDBPyConnection, table: str, order: str, runs: Sequence[Run]
) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """The rows of each run that has some, in order."""
    frame = connection.execute(
        f"FROM {table} WHERE (sweep, run_name) IN (SELECT (unnest(?), unnest(?))) ORDER BY {order}",
        _names(runs),
    ).df()
    for (sweep, name), part in frame.groupby(["sweep", "run_name"], sort=False):
        yield (str(sweep), str(name)), part


def _names(runs: Sequence[Run]) -> list[list[str]]:
    return [[run.sweep for run in runs], [run.name for run in runs]]


def _modes_row(run: Run, found: StepModes) -> dict[str, object]:
    return {
        "sweep": run.sweep,
        "run_name": run.name,
        "sync_interval_steps": run.sync_interval_steps,
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
