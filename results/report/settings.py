"""Settings by name: which knobs stand behind each, and how fast it was."""

from collections.abc import Mapping, Sequence

import pandas as pd

from results.report.cells import NONE, value_text
from results.report.knobs import Flat
from results.tables.arms import arm_label

_SPEED = {
    "other_label": "other_label",
    "prompts_per_s_speedup": "ratio",
    "prompts_per_s_low": "low",
    "prompts_per_s_high": "high",
}


def settings_table(
    experiments: pd.DataFrame, configurations: Mapping[str, Flat], knobs: Sequence[str], speeds: pd.DataFrame
) -> pd.DataFrame:
    """One row per arm, and per run whose arm is not known; those that can run, the fastest first.

    Columns: `label`; each of `knobs`, its value as in a spec; `other_label`, whom its speed is compared with,
    `ratio` of prompts a second, and the ends `low`, `high` of its interval. Without a ratio in the plan's
    order.

    Args:
        experiments: view `run_summary`.
        configurations: by run name, by dotted keys.
        knobs: dotted keys.
        speeds: `results.report.compared.compared_speeds`, of one kind of opponent.
    """
    possible = experiments[experiments["state"] != "infeasible"]
    arms = possible["arm_id"].fillna(possible["run_name"])
    first = possible[~arms.duplicated()]
    flats = [configurations[run] for run in first["run_name"]]
    values = {knob: [value_text(flat[knob]) if knob in flat else NONE for flat in flats] for knob in knobs}
    table = pd.DataFrame({"label": list(first["label"].map(arm_label)), **values}, index=arms[first.index])
    keys = speeds["arm_id"].fillna(speeds["run_name"])
    found = speeds.set_index(keys)[list(_SPEED)].rename(columns=_SPEED)[~keys.duplicated().to_numpy()]
    joined = table.join(found.assign(other_label=found["other_label"].map(arm_label)))
    return joined.sort_values("ratio", ascending=False, kind="stable").reset_index(drop=True)
