"""One row a setting: seeds are one, runs of unknown arms each their own, and what cannot run is none."""

import pandas as pd

from results.report.settings import settings_table


def test_one_row_per_setting_with_its_knobs_as_in_a_spec():
    experiments = pd.DataFrame(
        [
            ("Fast seed 0", "fast-0", "a", "succeeded"),
            ("Slow seed 0", "slow-0", "b", "failed"),
            ("Fast seed 1", "fast-1", "a", "pending"),
            ("Never", "never", "c", "infeasible"),
            ("Imported", "one", None, "succeeded"),
            ("Imported", "two", None, "succeeded"),
        ],
        columns=["label", "run_name", "arm_id", "state"],
    )
    flats = {
        "fast-0": {"max_staleness": 4, "optim.lr": 1e-5, "correction.name": None},
        "slow-0": {"max_staleness": 0, "optim.lr": 1e-4, "correction.name": "tis"},
        "one": {"max_staleness": 1},
        "two": {"max_staleness": 2},
    }
    table = settings_table(experiments, flats, ["max_staleness", "optim.lr", "correction.name"])
    assert table.to_numpy().tolist() == [
        ["Fast", "4", "1e-05", "null"],
        ["Slow", "0", "0.0001", "tis"],
        ["Imported", "1", "–", "–"],
        ["Imported", "2", "–", "–"],
    ]
