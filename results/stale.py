"""Which runs have rows that the derived tables do not know of yet."""

from contextlib import suppress
from dataclasses import dataclass

import duckdb
from pydantic import ValidationError

from trainer.config import RunConfig
from trainer.schedule import Schedule


@dataclass(frozen=True)
class Run:
    """What is known of a run beside its trace."""

    sweep: str
    name: str
    sync_interval_steps: int
    schedule: Schedule | None
    """None where the configuration is incomplete, as that of an imported run may be."""
    config_md5: str

    @property
    def key(self) -> tuple[str, str]:
        """What its rows are found by."""
        return self.sweep, self.name


def stale_runs(connection: duckdb.DuckDBPyConnection) -> list[Run]:
    """Runs whose trace was read since, or whose configuration is another."""
    rows = connection.execute(
        """
        SELECT sweep, run_name, max(coalesce(r.sync_interval_steps, 1)), any_value(r.config),
            md5(coalesce(any_value(r.config)::VARCHAR, '')) FROM (
            SELECT sweep, run_name FROM stale_runs
            UNION
            SELECT m.sweep, m.run_name FROM step_modes AS m JOIN runs AS r USING (sweep, run_name)
            WHERE m.config_md5 <> md5(coalesce(r.config::VARCHAR, ''))
        ) LEFT JOIN runs AS r USING (sweep, run_name)
        GROUP BY sweep, run_name ORDER BY sweep, run_name
        """
    ).fetchall()
    return [Run(sweep, name, interval, _schedule(config), md5) for sweep, name, interval, config, md5 in rows]


def _schedule(config: str | None) -> Schedule | None:
    with suppress(ValidationError):
        return RunConfig.model_validate_json(config or "{}").schedule
    return None
