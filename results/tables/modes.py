"""Step-time modes of every run of a sweep."""

import pandas as pd

from results.statistics.modes import step_modes
from results.store import Store


def modes_table(store: Store, sweep: str) -> pd.DataFrame:
    """`step_modes` of every run.

    Columns: `run_name, label, steps, modes, mode_seconds, mode_weights, unimodality_p, position_p, sentence`.
    """
    runs = store.query(
        "SELECT run_name, label, coalesce(sync_interval_steps, 1) AS k FROM run_summary "
        "WHERE sweep = ? AND steps_done > 0 ORDER BY position, run_name",
        [sweep],
    )
    steps = store.query("SELECT * FROM steps WHERE sweep = ? ORDER BY run_name, step", [sweep])
    rows = []
    for name, label, interval in zip(runs["run_name"], runs["label"], runs["k"], strict=True):
        found = step_modes(steps[steps["run_name"] == name], int(interval))
        rows.append(
            {
                "run_name": name,
                "label": label,
                "steps": found.steps,
                "modes": len(found.modes),
                "mode_seconds": [mode.seconds for mode in found.modes],
                "mode_weights": [mode.weight for mode in found.modes],
                "unimodality_p": found.unimodality_p,
                "position_p": found.position_p,
                "sentence": found.sentence,
            }
        )
    columns = ["run_name", "label", "steps", "modes", "mode_seconds", "mode_weights"]
    return pd.DataFrame(rows, columns=[*columns, "unimodality_p", "position_p", "sentence"])
