"""Steps of a sweep, one row each or summed up by their place in the sync cycle."""

import pandas as pd

from results.store import Store
from results.tables.speed import REWARD_WINDOW_STEPS

_OF_THE_RUN = "r.label, r.position, coalesce(r.sync_interval_steps, 1)::BIGINT AS sync_interval_steps"


def steps_table(store: Store, sweep: str) -> pd.DataFrame:
    """Table `steps` with `label`, `position` and `sync_interval_steps` of the run, in the plan's order."""
    return store.query(
        f"SELECT s.*, {_OF_THE_RUN} FROM steps AS s JOIN runs AS r USING (sweep, run_name) "
        "WHERE sweep = ? ORDER BY r.position, run_name, s.step",
        [sweep],
    )


def learning_curves_table(steps: pd.DataFrame) -> pd.DataFrame:
    """The steps with each run's course so far: `prompts` trained on, `minutes`, `reward_smoothed`.

    Minutes are training time as the report has it, the sum of step times: start-up and superseded steps
    are not in it.

    Args:
        steps: `steps_table`.
    """
    runs = steps.groupby("run_name", sort=False)
    return steps.assign(
        prompts=runs["prompts"].cumsum(),
        minutes=runs["wall_s"].cumsum() / 60,
        reward_smoothed=runs["reward_mean"].transform(
            lambda rewards: rewards.rolling(REWARD_WINDOW_STEPS).mean()
        ),
    )


def step_summary_table(store: Store, sweep: str) -> pd.DataFrame:
    """View `step_summary`: mean, spread and percentiles of step time per run, in the plan's order."""
    return store.query(
        "SELECT * FROM step_summary WHERE sweep = ? ORDER BY position NULLS LAST, run_name", [sweep]
    )


def positions_table(store: Store, sweep: str) -> pd.DataFrame:
    """View `step_positions` with the same columns of the run."""
    return store.query(
        f"SELECT s.*, {_OF_THE_RUN} FROM step_positions AS s JOIN runs AS r USING (sweep, run_name) "
        "WHERE sweep = ? ORDER BY r.position, run_name, s.cycle_position",
        [sweep],
    )
