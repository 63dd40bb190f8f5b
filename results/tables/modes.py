"""Step-time modes of every run of a sweep."""

import pandas as pd

from results.store import Store

_LISTS = (
    "mode_seconds",
    "mode_weights",
    "mode_std_s",
    "mode_low_s",
    "mode_high_s",
    "mode_steps",
    "outliers_s",
)


def modes_table(store: Store, sweep: str) -> pd.DataFrame:
    """Table `step_modes` with the run's `label`, in the plan's order."""
    table = store.query(
        "SELECT m.* EXCLUDE (sweep, config_md5), r.label, r.position FROM step_modes AS m "
        "JOIN runs AS r USING (sweep, run_name) WHERE sweep = ? ORDER BY r.position NULLS LAST, run_name",
        [sweep],
    )
    for name in _LISTS:
        table[name] = table[name].map(list)
    return table
