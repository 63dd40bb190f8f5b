"""The course of training by arm: rewards and held-out accuracy against steps, prompts, tokens and hours.

Of an arm with several seeds the mean and the range over those that have come to a step. That describes
them; what a setting does is said by intervals over seeds, see `results.tables.arms`.
"""

from collections.abc import Sequence

import pandas as pd

from results.store import Store
from results.tables.arms import arm_label

X_AXES = {
    "step": "step",
    "prompts": "prompts trained on",
    "tokens": "completion tokens trained on",
    "hours": "training time (h)",
}
"""Columns that a course can be drawn against, and what they are."""

MOST_ARMS, MOST_SEEDS = 12, 120
"""Arms that are told apart in one figure, and runs that are read for them."""

_ARMS = """
    drawn AS (
        SELECT run_name, coalesce(arm_id, run_name) AS arm_id, label, position
        FROM runs WHERE sweep = $sweep AND run_name IN (SELECT unnest($runs))
    ),
    arms AS (
        SELECT arm_id, first(run_name ORDER BY position NULLS LAST, run_name) AS first_run,
            first(label ORDER BY position NULLS LAST, run_name) AS label,
            min(position) AS position, count(*) AS runs
        FROM drawn GROUP BY arm_id
    ),
    work AS (
        SELECT run_name, step, reward_mean, sum(prompts) OVER so_far AS prompts,
            sum(completion_tokens) OVER so_far AS tokens, sum(wall_s) OVER so_far / 3600 AS hours,
            CASE WHEN count(reward_mean) OVER last = $window THEN avg(reward_mean) OVER last END AS smoothed
        FROM steps WHERE sweep = $sweep AND run_name IN (SELECT unnest($runs))
        WINDOW so_far AS (PARTITION BY run_name ORDER BY step),
            last AS (PARTITION BY run_name ORDER BY step ROWS $window - 1 PRECEDING)
    )
"""
_MEANS = "avg(prompts) AS prompts, avg(tokens) AS tokens, avg(hours) AS hours"
_ORDER = "ORDER BY position NULLS LAST, run_name, step"


def first_seeds(experiments: pd.DataFrame) -> tuple[list[str], str]:
    """The runs that a figure of curves is of, the first seeds of the first arms, and what is left out.

    Args:
        experiments: rows of view `run_summary`, in the plan's order.

    Returns:
        Their names, and what is left out in words; empty where these are all.
    """
    planned = experiments[experiments["state"] != "infeasible"]
    arm = planned["arm_id"].fillna(planned["run_name"])
    arms = arm.unique()[:MOST_ARMS]
    each = MOST_SEEDS // max(1, len(arms))
    kept = arm.isin(arms) & (planned.groupby(arm).cumcount() < each)
    left_out = (
        ""
        if kept.all()
        else f"Of {arm.nunique():,} arms with {len(planned):,} runs the first {len(arms)} are drawn, of each "
        f"at most {each} seeds"
    )
    return list(planned.loc[kept, "run_name"]), left_out


def reward_curves_table(store: Store, sweep: str, runs: Sequence[str], window: int) -> pd.DataFrame:
    """Mean reward in training, one row per arm and step.

    Columns:
        run_name, label, position: of the arm's first run among `runs`; its seed is not in the label where
            there are several.
        runs, seeds: how many of `runs` are of this arm, and have come to this step.
        step
        prompts, tokens, hours: trained on up to and with this step, and the sum of step times; means over
            seeds.
        reward_mean: of the step, mean over seeds.
        mean, low, high: mean, least and greatest over seeds of the trailing mean over `window` steps; NaN
            before there are so many.

    Args:
        store: the results.
        sweep: its name.
        runs: names of the runs to be read.
        window: of the trailing mean, in steps; 1 leaves rewards as they are.
    """
    return _labelled(
        store.query(
            f"""
            WITH {_ARMS}
            SELECT a.first_run AS run_name, a.label, a.position, a.runs, count(*) AS seeds, step, {_MEANS},
                avg(reward_mean) AS reward_mean,
                avg(smoothed) AS mean, min(smoothed) AS low, max(smoothed) AS high
            FROM work JOIN drawn USING (run_name) JOIN arms AS a USING (arm_id)
            GROUP BY a.first_run, a.label, a.position, a.runs, step {_ORDER}
            """,
            {"sweep": sweep, "runs": list(runs), "window": window},
        )
    )


def held_out_curves_table(store: Store, sweep: str, runs: Sequence[str]) -> pd.DataFrame:
    """Accuracy on held-out problems during training, one row per arm and policy version evaluated.

    Columns as in `reward_curves_table`, where `step` is the version, the number of steps done, and `mean`,
    `low`, `high` are mean rewards of greedy answers; and `problems`, how many were asked.
    """
    return _labelled(
        store.query(
            f"""
            WITH {_ARMS}
            SELECT a.first_run AS run_name, a.label, a.position, a.runs, count(*) AS seeds,
                h.version AS step, avg(coalesce(w.prompts, 0)) AS prompts,
                avg(coalesce(w.tokens, 0)) AS tokens, avg(coalesce(w.hours, 0)) AS hours,
                avg(h.accuracy) AS mean, min(h.accuracy) AS low, max(h.accuracy) AS high,
                max(h.problems) AS problems
            FROM (SELECT * FROM held_out_evals WHERE sweep = $sweep) AS h
            JOIN drawn USING (run_name) JOIN arms AS a USING (arm_id)
            LEFT JOIN work AS w ON w.run_name = h.run_name AND w.step = h.version - 1
            GROUP BY a.first_run, a.label, a.position, a.runs, h.version {_ORDER}
            """,
            {"sweep": sweep, "runs": list(runs), "window": 1},
        )
    )


def _labelled(table: pd.DataFrame) -> pd.DataFrame:
    """`Exp1 seed 0` is called `Exp1` where it stands for several seeds."""
    several = table["runs"] > 1
    return table.assign(label=table["label"].where(~several, table["label"].map(arm_label)))
