"""Predicted beside measured by arm: several seeds average out what a machine did at the time of one."""

import numpy as np
import pandas as pd

from results.statistics.seeds import seed_means
from results.tables.arms import arm_label, scopes


def plan_arms_table(experiments: pd.DataFrame, plan: pd.DataFrame) -> pd.DataFrame:
    """One row per arm with a finished run that was predicted, in the plan's order; of mean step times.

    Columns: `arm_id, label, seeds, interval_scope, predicted_step_s, measured_step_s` (means over these
    seeds), the ends `measured_step_low, measured_step_high` of the 95 % t-interval of the measured one, NaN
    below three seeds, its range `measured_step_least, measured_step_most`, and `step_error`: predicted /
    measured - 1.

    Args:
        experiments: view `run_summary` of one sweep.
        plan: `results.tables.plan.plan_table` of it.
    """
    arms = experiments[["run_name", "arm_id"]].dropna()
    done = plan[(plan["state"] == "succeeded") & plan["measured_step_s"].notna()]
    places = {arm: place for place, arm in enumerate(arms["arm_id"].unique())}
    runs = done.merge(arms, on="run_name").sort_values(
        "arm_id", key=lambda ids: ids.map(places), kind="stable"
    )
    number = runs.groupby("arm_id", sort=False).ngroup().to_numpy().astype(np.int64)
    first = runs.drop_duplicates("arm_id").reset_index(drop=True)
    predicted, measured = (
        seed_means(runs[f"{kind}_step_s"].to_numpy(np.float64), number, count=len(first))
        for kind in ("predicted", "measured")
    )
    return first[["arm_id"]].assign(
        label=first["label"].map(arm_label),
        seeds=measured.seeds,
        interval_scope=scopes(measured.seeds, one="one seed"),
        predicted_step_s=predicted.means,
        measured_step_s=measured.means,
        **{f"measured_step_{end}": getattr(measured, end) for end in ("low", "high", "least", "most")},
        step_error=predicted.means / measured.means - 1,
    )
