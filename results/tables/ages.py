"""What age does to the importance ratios: effective sample size and the like by `off_policy_steps_mean`.

At age 0 engine and learner hold the same weights, so what the ratios show there is the mismatch of the two
programs alone: numerics, and any sampling rule the learner does not share.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from results.statistics.age_trends import METRICS
from results.statistics.families import holm_within
from results.store import Store

METRIC_NAMES: Mapping[str, str] = {
    "ess": "effective sample size",
    "ratio_mean": "mean ratio",
    "ratio_max": "greatest ratio",
    "logprob_gap_mean": "log-probability gap",
    "clip_fraction": "clipped share",
}
"""What `METRICS` are called, as the subject of a sentence and in a choice."""


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
        blocks: of eight steps in which age and metric vary; below five nothing is tested.
        rank_correlation: within blocks, in [-1, 1]; see `results.statistics.trend`.
        p, p_adjusted: test that it is 0, by Holm over the metrics of the run.
    """
    table = store.query(
        """
        SELECT t.run_name, r.label, r.position, t.metric, t.blocks, t.rank_correlation, t.p
        FROM age_trends AS t JOIN runs AS r USING (sweep, run_name)
        WHERE sweep = ? ORDER BY r.position NULLS LAST, t.run_name, t.place
        """,
        [sweep],
    )
    return table.assign(
        p_adjusted=holm_within(table["p"].to_numpy(np.float64), pd.factorize(table["run_name"])[0])
    )
