"""Predicted beside measured: what was foretold of each run before its first step, and what came of it."""

from typing import Any

import numpy as np
import pandas as pd

from results.store import Store, records
from results.tables.assumptions import judged
from results.tables.speed import speedup_table

PHASES = ("wait", "drain", "learn", "sync", "checkpoint", "other")
"""Parts of a step, by `predicted_X_s` and `measured_X_s`."""
QUANTITIES = (
    "step_s",
    *(f"{phase}_s" for phase in PHASES),
    *("prompts_per_s", "wall_s", "age_mean", "engine_idle_share", "learner_idle_share"),
    *("wasted_token_share", "dispatched_per_trained", "latency_s", "completion_tokens_per_prompt"),
)
"""What is both predicted and measured; `results.files.predictions.Prediction` defines each."""

_LISTS = ("predicted_modes", "measured_modes", "predicted_position_s", "measured_position_s")
_PER_STEP = ", ".join(f"t.{phase}_s / t.steps_done AS measured_{phase}_s" for phase in PHASES)
_PREDICTED = ", ".join(f"p.{name} AS predicted_{name}" for name in QUANTITIES)
# Waste is of the groups that have a fate: those still on their way would count as lost.
_SQL = f"""
    SELECT p.run_name, r.label, r.position, r.state, p.cost_source AS costs_source, p.replications,
        p.made_unix, p.speedup AS predicted_speedup,
        coalesce(t.steps_done, 0) AS steps_done, r.max_steps, r.prompts_per_optim_step,
        p.step_low_s, p.step_high_s, {_PREDICTED},
        t.step_mean_s AS measured_step_s, {_PER_STEP},
        t.prompts / t.training_s AS measured_prompts_per_s,
        CASE WHEN r.state = 'succeeded' THEN t.training_s END AS measured_wall_s,
        t.off_policy_steps_mean AS measured_age_mean,
        t.engine_idle_s / t.training_s AS measured_engine_idle_share,
        (t.wait_s + t.drain_s) / t.training_s AS measured_learner_idle_share,
        1 - t.trained_token_share AS measured_wasted_token_share,
        t.groups_settled / nullif(t.groups_trained, 0) AS measured_dispatched_per_trained,
        t.latency_s AS measured_latency_s,
        t.completion_tokens / t.prompts AS measured_completion_tokens_per_prompt,
        p.mode_seconds AS predicted_modes, m.mode_seconds AS measured_modes,
        p.position_s AS predicted_position_s, c.position_s AS measured_position_s
    FROM predictions AS p
    JOIN runs AS r USING (sweep, run_name)
    LEFT JOIN run_totals AS t ON t.sweep = p.sweep AND t.run_name = p.run_name AND t.steps_done > 0
    LEFT JOIN step_modes AS m ON m.sweep = p.sweep AND m.run_name = p.run_name
    LEFT JOIN (
        SELECT run_name, list(wall_s ORDER BY cycle_position) AS position_s
        FROM step_positions WHERE sweep = $sweep GROUP BY run_name
    ) AS c ON c.run_name = p.run_name
    WHERE p.sweep = $sweep ORDER BY r.position NULLS LAST, p.run_name
"""


def plan_table(store: Store, sweep: str) -> pd.DataFrame:
    """One row for each run with a prediction, in the plan's order.

    Columns:
        run_name, label, position, state, costs_source, replications, made_unix
        steps_done, max_steps: what is measured of a run that is not done is of the steps so far, while the
            prediction is of all.
        predicted_X, measured_X: for each X of `QUANTITIES`. Measured is NaN before the first step, and the
            wall time until the run has succeeded. It is the sum of step times: start-up, downtime and what
            an attempt did in vain are in no measurement. Of tokens, and of groups for each trained one,
            nothing is predicted from costs that say nothing of them.
        step_low_s, step_high_s: chance alone puts the mean step time of 95 % of runs with these costs there.
        step_error: predicted / measured - 1.
        predicted_speedup, measured_speedup, speedup_low, speedup_high: prompts a second against the matched
            baseline. Predicted is over all steps, both by the costs of this run's prediction; measured, with
            its 95 % interval, over whole sync cycles after the first.
        predicted_modes, measured_modes: lists of seconds; empty where there were too few steps.
        predicted_position_s, measured_position_s: lists of mean seconds of steps by their place in the sync
            cycle, without the first cycle.
        modes_agree: whether they are as many; None before the run has succeeded, or with too few steps.
        failed_assumption, sentence: see `results.tables.assumptions`.
    """
    table = store.query(_SQL, {"sweep": sweep})
    if table.empty:
        return _with_columns(table)
    for name in _LISTS:
        table[name] = [list(each) if isinstance(each, np.ndarray) else [] for each in table[name]]
    table["step_error"] = table["predicted_step_s"] / table["measured_step_s"] - 1
    table["modes_agree"] = _modes_agree(table)
    table = _with_speedups(store, sweep, table)
    findings = [judged(row) for row in records(table)]
    table["failed_assumption"] = pd.Series([found.assumption for found in findings], dtype=object)
    table["sentence"] = [found.sentence for found in findings]
    return _with_columns(table)


def costs_table(store: Store, sweep: str) -> pd.DataFrame:
    """The costs that each run's prediction was made from, in the plan's order.

    Columns: `run_name, label`, and `cost_X` for each field X of `results.files.predictions.Costs`.
    """
    return store.query(
        "SELECT p.run_name, r.label, COLUMNS('^cost_') FROM predictions AS p "
        "JOIN runs AS r USING (sweep, run_name) WHERE p.sweep = ? ORDER BY r.position NULLS LAST, p.run_name",
        [sweep],
    )


def _modes_agree(table: pd.DataFrame) -> "pd.Series[Any]":
    return pd.Series(
        [
            len(predicted) == len(measured) if state == "succeeded" and predicted and measured else None
            for state, predicted, measured in zip(
                table["state"], table["predicted_modes"], table["measured_modes"], strict=True
            )
        ],
        dtype=object,
    )


def _with_speedups(store: Store, sweep: str, table: pd.DataFrame) -> pd.DataFrame:
    """Adds the measured ratios to the matched baseline."""
    measured = speedup_table(store, sweep)
    measured = measured[measured["against"] == "baseline"].drop_duplicates("run_name").set_index("run_name")
    return table.assign(
        measured_speedup=table["run_name"].map(measured["prompts_per_s_speedup"]).astype(float),
        speedup_low=table["run_name"].map(measured["prompts_per_s_low"]).astype(float),
        speedup_high=table["run_name"].map(measured["prompts_per_s_high"]).astype(float),
    )


_COLUMNS = (
    *("run_name", "label", "position", "state", "costs_source", "replications", "made_unix"),
    *("steps_done", "max_steps"),
    *(f"{kind}_{name}" for name in QUANTITIES for kind in ("predicted", "measured")),
    *("step_low_s", "step_high_s", "step_error"),
    *("predicted_speedup", "measured_speedup", "speedup_low", "speedup_high"),
    *("predicted_position_s", "measured_position_s"),
    *("predicted_modes", "measured_modes", "modes_agree", "failed_assumption", "sentence"),
)


def _with_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The columns in their order; those that an empty table lacks hold nothing."""
    return table.reindex(columns=list(_COLUMNS))
