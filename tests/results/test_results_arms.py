"""Arms over seeds: equal to scipy on the raw traces, and no stronger than the number of seeds allows."""

import json

import numpy as np
import pandas as pd
import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep
from scipy import stats

from results.ingest import ingest
from results.store import Store, records
from results.tables.arms import arm_label, arm_speedups_table, arms_table
from results.tables.speed import speedup_table

TWIN, ASYNC = REFERENCE_ARMS[2], REFERENCE_ARMS[3]


def tables(runs_dir, seeds, *, finished=True):
    folder = write_synthetic_sweep(
        runs_dir, steps=10, questions=5, arms=(TWIN, ASYNC), seeds=seeds, finished=finished
    )
    ingest(runs_dir)
    store = Store(runs_dir)
    experiments = store.query("SELECT * FROM run_summary ORDER BY position NULLS LAST, run_name")
    speedups = speedup_table(store, "staleness")
    return folder, experiments, speedups


@pytest.fixture(scope="module")
def three_seeds(tmp_path_factory):
    return tables(tmp_path_factory.mktemp("arms"), (0, 1, 2))


def walls(folder, arm, seed, several):
    lines = (json.loads(line) for line in (folder / arm.run_name(seed, several) / "trace.jsonl").open())
    return np.array([line["wall_s"] for line in lines if line["kind"] == "step"])


def test_three_seeds_have_students_interval(three_seeds):
    folder, experiments, speedups = three_seeds
    arms = arms_table(experiments)
    assert list(arms["label"]) == ["Exp3", "Exp4"]
    assert (arms[["seeds", "planned_seeds"]] == 3).all(axis=None)
    assert (arms["max_staleness"].tolist(), arms["lr"].tolist()) == ([0, 1], [5e-5, 5e-5])
    means = [walls(folder, ASYNC, seed, True).mean() for seed in range(3)]
    row = arms.iloc[1]
    interval = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert row["step_mean_s"] == pytest.approx(np.mean(means))
    assert (row["step_mean_s_low"], row["step_mean_s_high"]) == pytest.approx(tuple(interval))
    assert (row["step_mean_s_least"], row["step_mean_s_most"]) == pytest.approx((min(means), max(means)))

    [ratio] = records(arm_speedups_table(experiments, speedups))
    assert (ratio["label"], ratio["other_label"], ratio["against"]) == ("Exp4", "Exp3", "baseline")
    assert (ratio["seeds"], ratio["interval_scope"]) == (3, "over 3 seeds")
    logs = [
        np.log(walls(folder, TWIN, seed, True).mean() / walls(folder, ASYNC, seed, True).mean())
        for seed in range(3)
    ]
    low, high = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert ratio["step_time_speedup"] == pytest.approx(np.exp(np.mean(logs)))
    assert (ratio["step_time_low"], ratio["step_time_high"]) == pytest.approx((np.exp(low), np.exp(high)))
    for unit in ("prompts_per_s", "completion_tokens_per_s"):
        assert ratio[f"{unit}_low"] < ratio[f"{unit}_speedup"] < ratio[f"{unit}_high"]
        assert ratio[f"{unit}_least"] == pytest.approx(speedups[f"{unit}_speedup"].min())


def test_two_seeds_have_a_range_and_no_interval(tmp_path):
    _, experiments, speedups = tables(tmp_path, (0, 1))
    [ratio] = records(arm_speedups_table(experiments, speedups))
    assert (ratio["seeds"], ratio["interval_scope"]) == (2, "range of 2 seeds")
    assert np.isnan([ratio["prompts_per_s_low"], ratio["prompts_per_s_high"]]).all()
    seeds = sorted(speedups["prompts_per_s_speedup"])
    assert [ratio["prompts_per_s_least"], ratio["prompts_per_s_most"]] == pytest.approx(seeds)
    assert arms_table(experiments)["interval_scope"].tolist() == ["range of 2 seeds"] * 2


def test_one_seed_is_said_to_be_one_seed(tmp_path):
    _, experiments, speedups = tables(tmp_path, (0,))
    [ratio], [run] = records(arm_speedups_table(experiments, speedups)), records(speedups)
    assert (ratio["seeds"], ratio["interval_scope"]) == (1, "within this run")
    for end in ("speedup", "low", "high"):
        assert ratio[f"prompts_per_s_{end}"] == pytest.approx(run[f"prompts_per_s_{end}"])
    arms = arms_table(experiments)
    assert arms["interval_scope"].tolist() == ["one seed"] * 2
    assert arms[["step_mean_s_low", "reward_last_fifth_high"]].isna().all(axis=None)


def test_a_seed_that_has_not_finished_is_not_counted(tmp_path):
    _, experiments, speedups = tables(tmp_path, (0, 1, 2), finished=False)  # both runs of the last seed
    arms = arms_table(experiments)
    assert (arms["seeds"].tolist(), arms["planned_seeds"].tolist()) == ([2, 2], [3, 3])
    assert arm_speedups_table(experiments, speedups)["seeds"].tolist() == [2]


def test_an_opponent_of_another_seed_is_no_twin(three_seeds):
    _, experiments, speedups = three_seeds
    others = speedups.assign(other_run=speedups["other_run"].iloc[0])
    assert arm_speedups_table(experiments, others)["seeds"].tolist() == [1]


def test_the_mean_time_to_reward_needs_every_seed(three_seeds):
    _, experiments, speedups = three_seeds
    reached = speedups.assign(
        time_to_reward_speedup=[1.5, 2.0, 1.2], time_to_reward_bound=pd.Series([None] * 3, dtype=object)
    )
    row = arm_speedups_table(experiments, reached).iloc[0]
    assert row["time_to_reward_seeds"] == 3
    assert row["time_to_reward_speedup"] == pytest.approx(3.6 ** (1 / 3))
    censored = reached.assign(time_to_reward_bound=[None, ">", None])
    row = arm_speedups_table(experiments, censored).iloc[0]
    assert row["time_to_reward_seeds"] == 2
    assert np.isnan(row["time_to_reward_speedup"]) and np.isnan(row["time_to_reward_most"])


def test_no_finished_run_gives_empty_tables(tmp_path):
    _, experiments, speedups = tables(tmp_path, (0,))
    pending = experiments.assign(state="pending")
    assert arms_table(pending).empty
    assert arm_speedups_table(pending, speedups).empty
    assert arm_speedups_table(experiments, speedups.iloc[:0]).empty


@pytest.mark.parametrize(
    ("label", "arm"),
    [
        ("Exp1-seed0", "Exp1"),
        ("Exp1 seed 12", "Exp1"),
        ("s1_opt8_sync8_lr5e-05_seed3", "s1_opt8_sync8_lr5e-05"),
        ("Exp1", "Exp1"),
        ("seed4", "seed4"),
        ("seedling_2", "seedling_2"),
    ],
)
def test_an_arm_is_called_what_its_runs_are_without_the_seed(label, arm):
    assert arm_label(label) == arm
