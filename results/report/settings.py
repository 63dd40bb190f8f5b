"""Which knobs stand behind the name of a setting."""

from collections.abc import Mapping, Sequence

import pandas as pd

from results.report.cells import NONE, value_text
from results.report.knobs import Flat
from results.tables.arms import arm_label


def settings_table(
    experiments: pd.DataFrame, configurations: Mapping[str, Flat], knobs: Sequence[str]
) -> pd.DataFrame:
    """One row per arm, and per run whose arm is not known, in the plan's order; those that can run.

    Columns: `label`, and each of `knobs`, its value as in a spec.

    Args:
        experiments: view `run_summary`.
        configurations: by run name, by dotted keys.
        knobs: dotted keys.
    """
    possible = experiments[experiments["state"] != "infeasible"]
    first = possible[~possible["arm_id"].fillna(possible["run_name"]).duplicated()]
    flats = [configurations[run] for run in first["run_name"]]
    values = {knob: [value_text(flat[knob]) if knob in flat else NONE for flat in flats] for knob in knobs}
    return pd.DataFrame({"label": list(first["label"].map(arm_label)), **values})
