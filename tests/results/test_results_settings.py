"""One row a setting: seeds are one, runs of unknown arms each their own, and what cannot run is none."""

import pandas as pd

from results.report.settings import settings_table

ENDS = ("speedup", "low", "high")


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
    speeds = pd.DataFrame(
        [
            ("b", None, "Base seed 0", 1.5, 1.4, 1.6),
            (None, "two", "Base", 2.0, None, None),
            ("c", "never", "Base", 9.0, None, None),
        ],
        columns=["arm_id", "run_name", "other_label"] + [f"prompts_per_s_{name}" for name in ENDS],
    )
    table = settings_table(experiments, flats, ["max_staleness", "optim.lr", "correction.name"], speeds)
    knobs = table[["label", "max_staleness", "optim.lr", "correction.name"]]
    assert knobs.to_numpy().tolist() == [
        ["Imported", "2", "–", "–"],
        ["Slow", "0", "0.0001", "tis"],
        ["Fast", "4", "1e-05", "null"],
        ["Imported", "1", "–", "–"],
    ]
    assert table["ratio"].tolist()[:2] == [2.0, 1.5]
    assert table["ratio"].isna().tolist() == [False, False, True, True]
    assert table.loc[1, ["other_label", "low", "high"]].tolist() == ["Base", 1.4, 1.6]
