"""What age does to the importance ratios: effective sample size and the like by `off_policy_steps_mean`.

At age 0 engine and learner hold the same weights, so what the ratios show there is the mismatch of the two
programs alone: numerics, and any sampling rule the learner does not share.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from results.statistics.families import holm_within
from results.statistics.trend import BLOCK_STEPS, block_trends
from results.store import Store
from results.tables.staleness import NUMBERED_RUNS, runs_of

METRICS = ("ess", "ratio_mean", "ratio_max", "logprob_gap_mean", "clip_fraction")
"""Columns of table `steps` that age may change."""


def age_effects_table(store: Store, sweep: str) -> pd.DataFrame:
    """Ratios by age within each run, one row per run and age that it has steps of.

    Columns:
        run_name, label, position
        off_policy_steps: a step's mean age, rounded, halves up.
        steps: of that age.
        even_steps: those all of whose groups are of that very age.
        ess, ratio_mean, ratio_max, logprob_gap_mean, clip_fraction: means over the steps.
        ess_min, ratio_max_max: extremes over them.
    """
    means = ", ".join(f"avg(s.{name}) AS {name}" for name in METRICS)
    return store.query(
        f"""
        SELECT s.run_name, r.label, r.position, round(s.off_policy_steps_mean)::BIGINT AS off_policy_steps,
            count(*) AS steps,
            count(*) FILTER (s.off_policy_steps_mean = s.off_policy_steps_max
                AND s.off_policy_steps_mean = round(s.off_policy_steps_mean)) AS even_steps,
            {means}, min(s.ess) AS ess_min, max(s.ratio_max) AS ratio_max_max
        FROM steps AS s JOIN runs AS r USING (sweep, run_name)
        WHERE sweep = ? AND s.off_policy_steps_mean IS NOT NULL
        GROUP BY s.run_name, r.label, r.position, round(s.off_policy_steps_mean)
        ORDER BY r.position NULLS LAST, s.run_name, off_policy_steps
        """,
        [sweep],
    )


def ages_across_runs(effects: pd.DataFrame) -> pd.DataFrame:
    """The same over all runs of the sweep, each run counting alike, one row per age.

    Descriptive only, without a test: runs of different ages differ in other settings too.

    Args:
        effects: `age_effects_table`.

    Returns:
        `off_policy_steps, runs, steps` and the means over runs of the columns of `METRICS`.
    """
    ages = effects.groupby("off_policy_steps")
    counts = ages.agg(runs=("run_name", "nunique"), steps=("steps", "sum"))
    return counts.join(ages[list(METRICS)].mean()).reset_index()


def age_trends_table(store: Store, sweep: str) -> pd.DataFrame:
    """Whether the ratios go with age within a run; one row per run in which age varies and metric.

    Columns:
        run_name, label, position, metric
        blocks: of `BLOCK_STEPS` steps in which age and metric vary; below five nothing is tested.
        rank_correlation: within blocks, in [-1, 1]; see `results.statistics.trend`.
        p, p_adjusted: test that it is 0, by Holm over the metrics of the run.
    """
    runs, steps = runs_of(store, sweep), _varying(store, sweep)
    number = steps["step"].to_numpy()
    key = np.stack([steps["run"].to_numpy(), number // BLOCK_STEPS])
    last = key[1].max(initial=0) + 1
    blocks, block_of_step = np.unique(key[0] * last + key[1], return_inverse=True)

    def by_block(name: str) -> npt.NDArray[np.float64]:
        grid = np.full((len(blocks), BLOCK_STEPS), np.nan)
        grid[block_of_step, number % BLOCK_STEPS] = steps[name].to_numpy(np.float64)
        return grid

    ages, parts = by_block("off_policy_steps_mean"), []
    for metric in METRICS:
        found = block_trends(blocks // last, ages, by_block(metric), runs=len(runs))
        part = runs.assign(metric=metric, blocks=found.blocks, rank_correlation=found.rank_correlation)
        parts.append(part.assign(p=found.p))
    table = pd.concat(parts)
    table["p_adjusted"] = holm_within(table["p"].to_numpy(), table.index.to_numpy())
    varies = np.isin(table.index, blocks // last)
    return table[varies].sort_index(kind="stable").reset_index(drop=True)


def _varying(store: Store, sweep: str) -> pd.DataFrame:
    """Steps in those blocks in which the age varies; `run` is the place in `runs_of`."""
    return store.query(
        f"""
        WITH numbered AS ({NUMBERED_RUNS}),
        varying AS (
            SELECT run_name, step // {BLOCK_STEPS} AS block FROM steps WHERE sweep = $sweep GROUP BY ALL
            HAVING max(off_policy_steps_mean) > min(off_policy_steps_mean)
        )
        SELECT n.run, s.step, s.off_policy_steps_mean, {", ".join(METRICS)}
        FROM steps AS s
        JOIN numbered AS n USING (run_name)
        SEMI JOIN varying AS v ON v.run_name = s.run_name AND v.block = s.step // {BLOCK_STEPS}
        WHERE s.sweep = $sweep
        """,
        {"sweep": sweep},
    )
