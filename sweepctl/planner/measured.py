"""What the store has of a finished run that costs can be fitted to."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.store import Store
from trainer.errors import ConfigError
from trainer.records import Fate

Array = NDArray[np.float64]

LEAST_STEPS, LEAST_GROUPS = 2, 16
"""That a run must have recorded; of the steps the first tells nothing of the learner."""
VERDICTS = {
    "trained": Fate.TRAINED,
    "evicted": Fate.TRAINED,  # it could have been, had it come earlier
    "filtered": Fate.FILTERED,
    "failed": Fate.FAILED,
}
"""Fates of groups that tell what was worth learning from."""

_GROUPS = """
SELECT g.*, coalesce(g.finished_s, g.t) AS ended_s, concat(g.prompt_id, '/', d.epoch) AS prompt
FROM groups AS g LEFT JOIN dispatches AS d USING (sweep, run_name, group_id)
WHERE g.sweep = ? AND g.run_name = ? AND g.dispatched_s IS NOT NULL ORDER BY g.group_id
"""
_OPTIMIZER = """
SELECT arg_max(end_s - start_s, start_s) AS seconds FROM spans
WHERE sweep = ? AND run_name = ? AND lane = 'learner' AND name = 'learn' GROUP BY step ORDER BY step
"""
_SPANS = """
SELECT start_s, end_s FROM spans
WHERE sweep = ? AND run_name = ? AND lane = ? AND name = ? ORDER BY start_s
"""


@dataclass(frozen=True)
class Measured:
    """What the store has of a run.

    Attributes:
        name: `SWEEP/RUN`.
        groups: its rows of table `groups`, one for each dispatch, with `ended_s`, when the engine was rid of
            it, finished or not, and `prompt`, which one that is sent again keeps.
        steps: its rows of table `steps`.
        optimizer_s: of each step, what its learner's last span took: the optimizer, and further updates.
        syncs_s: when the engine was halted by each sync, from and to, shape [syncs, 2].
        held_out_s: when held-out problems were evaluated, from and to, shape [evaluations, 2].
        completions_per_prompt: of its groups.
        updates_per_batch: of its steps.
    """

    name: str
    groups: pd.DataFrame
    steps: pd.DataFrame
    optimizer_s: Array
    syncs_s: Array
    held_out_s: Array
    completions_per_prompt: int
    updates_per_batch: int


def measured(store: Store, sweep: str, run_name: str) -> Measured:
    """What the store has of a run.

    Raises:
        ConfigError: nothing that costs could be fitted to.
    """
    key = [sweep, run_name]
    name = f"{sweep}/{run_name}"
    steps = store.query("SELECT * FROM steps WHERE sweep = ? AND run_name = ? ORDER BY step", key)
    groups = store.query(_GROUPS, key)
    tell = int((groups["finished_s"].notna() & groups["fate"].isin(VERDICTS)).sum())
    if len(steps) < LEAST_STEPS or tell < LEAST_GROUPS:
        raise ConfigError(
            f"{name}: costs cannot be fitted to {len(steps)} steps and {tell} groups with a verdict; at "
            f"least {LEAST_STEPS} and {LEAST_GROUPS} are needed. `sweepctl status` shows runs that are "
            "further"
        )
    run = store.query(
        "SELECT completions_per_prompt, config FROM runs WHERE sweep = ? AND run_name = ?", key
    ).iloc[0]
    return Measured(
        name=name,
        groups=groups,
        steps=steps,
        optimizer_s=store.query(_OPTIMIZER, key)["seconds"].to_numpy(np.float64),
        syncs_s=store.query(_SPANS, [*key, "engine", "idle:sync"]).to_numpy(np.float64),
        held_out_s=store.query(_SPANS, [*key, "learner", "held_out"]).to_numpy(np.float64),
        completions_per_prompt=int(run["completions_per_prompt"]),
        updates_per_batch=json.loads(run["config"] or "{}").get("updates_per_batch", 1),
    )
