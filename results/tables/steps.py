"""Steps of a sweep, one row each or summed up by their place in the sync cycle."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from results.statistics.mode_curves import find_again, points_along, share_within
from results.store import Store, records

_OF_THE_RUN = "r.label, r.position, coalesce(r.sync_interval_steps, 1)::BIGINT AS sync_interval_steps"


def steps_table(store: Store, sweep: str, runs: Sequence[str] | None = None) -> pd.DataFrame:
    """Table `steps` with `label`, `position` and `sync_interval_steps` of the run, in the plan's order.

    Args:
        store: the results.
        sweep: its name.
        runs: of these runs only; None is all.
    """
    return store.query(
        f"SELECT s.*, {_OF_THE_RUN} FROM steps AS s JOIN runs AS r USING (sweep, run_name) "
        f"WHERE sweep = $sweep{_among(runs)} ORDER BY r.position, run_name, s.step",
        _parameters(sweep, runs),
    )


def positions_table(store: Store, sweep: str, runs: Sequence[str] | None = None) -> pd.DataFrame:
    """View `step_positions` with the same columns of the run; of `runs` only, where they are given."""
    return store.query(
        f"SELECT s.*, {_OF_THE_RUN} FROM step_positions AS s JOIN runs AS r USING (sweep, run_name) "
        f"WHERE sweep = $sweep{_among(runs)} ORDER BY r.position, run_name, s.cycle_position",
        _parameters(sweep, runs),
    )


def overlap_table(experiments: pd.DataFrame) -> pd.DataFrame:
    """How well engine and learner overlapped: one row for each run whose trace tells of both.

    Adds to `run_name, label, training_s, overlap_efficiency` of view `run_summary`

    - `engine_busy_share`: of the training time, that in which at least one request ran;
    - `learner_busy_share`: that of learning, checkpoints and the rest, all but waiting, draining and syncing.

    The efficiency, prompts/s over what they would be if the busier of the two never waited, is the larger
    share. A trace without the engine's lane tells of the learner only: such a run is left out.

    Args:
        experiments: view `run_summary`.
    """
    told = experiments[experiments["engine_busy_s"].notna() & (experiments["training_s"] > 0)]
    learner_s = told[["learn_s", "checkpoint_s", "other_s"]].sum(axis=1)
    return told[["run_name", "label", "training_s", "overlap_efficiency"]].assign(
        engine_busy_share=told["engine_busy_s"] / told["training_s"],
        learner_busy_share=learner_s / told["training_s"],
    )


def mode_curves_table(steps: pd.DataFrame, modes: pd.DataFrame, width_s: float) -> pd.DataFrame:
    """The fitted mixture of each run in which several modes were found: `run_name, seconds, steps`.

    `steps` is how many of the run's steps after the first sync cycle a bin of `width_s` around that time
    would hold.

    Args:
        steps: `steps_table`.
        modes: `results.tables.modes.modes_table`.
        width_s: of the bins of the histogram that the curve is for.
    """
    warm = steps[steps["step"] >= steps["sync_interval_steps"]]
    times = {str(run): part.to_numpy(np.float64) for run, part in warm.groupby("run_name")["wall_s"]}
    curves = []
    for row in records(modes[modes["run_name"].isin(times) & (modes["modes"] > 1)]):
        seconds = times[row["run_name"]]
        found = find_again(seconds, np.asarray(row["mode_seconds"]), np.asarray(row["mode_weights"]))
        if found is not None:
            at_s = points_along(found)
            held = len(seconds) * share_within(found, at_s, width_s)
            curves.append(pd.DataFrame({"run_name": row["run_name"], "seconds": at_s, "steps": held}))
    return pd.concat(curves) if curves else pd.DataFrame(columns=["run_name", "seconds", "steps"])


def _among(runs: Sequence[str] | None) -> str:
    """A condition that DuckDB applies below a view's aggregates, as it would not with a list in one value."""
    if runs is None:
        return ""
    if not runs:
        return " AND false"
    return f" AND run_name IN ({', '.join(f'$run{place}' for place in range(len(runs)))})"


def _parameters(sweep: str, runs: Sequence[str] | None) -> dict[str, object]:
    return {"sweep": sweep, **{f"run{place}": run for place, run in enumerate(runs or ())}}
