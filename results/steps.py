"""Steps of a sweep, one row each or summed up by their place in the sync cycle."""

import pandas as pd

from results.store import Store

_OF_THE_RUN = "r.label, r.position, coalesce(r.sync_interval_steps, 1)::BIGINT AS sync_interval_steps"


def steps_table(store: Store, sweep: str) -> pd.DataFrame:
    """Table `steps` with `label`, `position` and `sync_interval_steps` of the run, in the plan's order."""
    return store.query(
        f"SELECT s.*, {_OF_THE_RUN} FROM steps AS s JOIN runs AS r USING (sweep, run_name) "
        "WHERE sweep = ? ORDER BY r.position, run_name, s.step",
        [sweep],
    )


def positions_table(store: Store, sweep: str) -> pd.DataFrame:
    """View `step_positions` with the same columns of the run."""
    return store.query(
        f"SELECT s.*, {_OF_THE_RUN} FROM step_positions AS s JOIN runs AS r USING (sweep, run_name) "
        "WHERE sweep = ? ORDER BY r.position, run_name, s.cycle_position",
        [sweep],
    )
