"""Speed: figures equal a recomputation from the raw trace, intervals cover what they claim."""

import json

import numpy as np
import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep
from scipy import stats

from results.ingest import ingest
from results.statistics.rates import log_rate, rate_ratio, seeds_ratio
from results.store import Store
from results.tables.speed import REWARD_WINDOW_STEPS, overlapping_runs, seeds_table, speedup_table
from results.tables.steps import learning_curves_table, steps_table


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    runs = tmp_path_factory.mktemp("speed")
    folder = write_synthetic_sweep(runs, questions=10)
    ingest(runs)
    return folder, Store(runs)


def raw_steps(folder, run_name):
    lines = (json.loads(line) for line in (folder / run_name / "trace.jsonl").open())
    return [line for line in lines if line["kind"] == "step"]


def test_summary_equals_the_raw_trace(sweep):
    folder, store = sweep
    summary = store.query("SELECT * FROM run_summary WHERE steps_done > 0")
    assert len(summary) == 5
    for row in summary.to_dict("records"):
        steps = raw_steps(folder, row["run_name"])
        walls = np.array([step["wall_s"] for step in steps])
        assert row["steps_done"] == len(steps)
        assert row["training_s"] == pytest.approx(walls.sum())
        assert row["step_mean_s"] == pytest.approx(walls.mean())
        assert row["step_median_s"] == pytest.approx(np.median(walls))
        assert row["step_std_s"] == pytest.approx(walls.std(ddof=1))
        assert row["prompts_per_s"] == pytest.approx(sum(s["prompts"] for s in steps) / walls.sum())
        tokens = sum(s["completion_tokens"] for s in steps)
        assert row["completion_tokens"] == tokens
        assert row["completion_tokens_per_s"] == pytest.approx(tokens / walls.sum())
        assert row["wait_s"] == pytest.approx(sum(s["wait_s"] for s in steps))
        assert row["off_policy_steps_max"] == max(s["off_policy_steps_max"] for s in steps)


def test_fates_and_ages_equal_the_raw_trace(sweep):
    folder, store = sweep
    for run_name in store.query("SELECT run_name FROM run_summary WHERE steps_done > 0")["run_name"]:
        lines = [json.loads(line) for line in (folder / run_name / "trace.jsonl").open()]
        groups = [line for line in lines if line["kind"] == "group"]
        trained = [line for line in groups if line["fate"] == "trained"]
        ages = store.query("SELECT * FROM staleness WHERE run_name = ? ORDER BY off_policy_steps", [run_name])
        values, counts = np.unique([g["step"] - g["version_min"] for g in trained], return_counts=True)
        assert list(ages["off_policy_steps"]) == list(values)
        assert list(ages["groups"]) == list(counts)
        fates = store.query("SELECT * FROM fates WHERE run_name = ?", [run_name]).set_index("fate")
        assert fates["groups"].sum() == len(groups)
        assert fates.loc["filtered", "completion_tokens"] == sum(
            g["completion_tokens"] for g in groups if g["fate"] == "filtered"
        )


def test_speedup_leaves_out_the_first_and_any_partial_cycle(sweep):
    folder, store = sweep
    table = speedup_table(store, "staleness")
    row = table[(table["label"] == "Exp5") & (table["against"] == "baseline")].iloc[0]
    mine = raw_steps(folder, row["run_name"])[2:]  # k = 2, 40 steps: 19 whole cycles after the first
    twin = raw_steps(folder, row["other_run"])[1:]

    def rate(steps):
        return sum(s["prompts"] for s in steps) / sum(s["wall_s"] for s in steps)

    assert (row["cycles"], row["other_cycles"]) == (19, 39)
    assert row["prompts_per_s_speedup"] == pytest.approx(rate(mine) / rate(twin))
    assert row["prompts_per_s_low"] < row["prompts_per_s_speedup"] < row["prompts_per_s_high"]


def test_each_arm_has_its_twin_and_the_reference(sweep):
    _, store = sweep
    table = speedup_table(store, "staleness")
    pairs = {(row["label"], row["against"]): row["other_label"] for row in table.to_dict("records")}
    assert pairs == {
        ("Exp2", "baseline"): "Exp1",
        ("Exp4", "baseline"): "Exp3",
        ("Exp5", "baseline"): "Exp3",
        ("Exp2", "reference"): "Exp1",
        ("Exp3", "reference"): "Exp1",
        ("Exp4", "reference"): "Exp1",
        ("Exp5", "reference"): "Exp1",
    }


def test_step_times_of_unlike_batches_are_not_comparable(sweep):
    _, store = sweep
    table = speedup_table(store, "staleness").set_index(["label", "against"])
    assert not table.loc[("Exp4", "reference"), "step_time_comparable"]
    assert table.loc[("Exp4", "baseline"), "step_time_comparable"]
    # The reference's 2.8x and what it is per prompt.
    assert table.loc[("Exp4", "reference"), "step_time_speedup"] == pytest.approx(2.8, abs=0.1)
    assert table.loc[("Exp4", "reference"), "prompts_per_s_speedup"] == pytest.approx(1.45, abs=0.03)


def test_time_to_reward_equals_a_loop_over_the_raw_trace(sweep):
    folder, store = sweep
    table = speedup_table(store, "staleness")
    for row in table.to_dict("records"):
        other = raw_steps(folder, row["other_run"])
        threshold = np.mean([s["reward_mean"] for s in other[-8:]])
        assert row["threshold_reward"] == pytest.approx(threshold)
        steps = raw_steps(folder, row["run_name"])
        expected = next(
            (
                sum(s["wall_s"] for s in steps[: end + 1])
                for end in range(REWARD_WINDOW_STEPS - 1, len(steps))
                if np.mean([s["reward_mean"] for s in steps[end - REWARD_WINDOW_STEPS + 1 : end + 1]])
                >= threshold
            ),
            float("nan"),
        )
        assert row["time_to_reward_s"] == pytest.approx(expected, nan_ok=True)


def test_minutes_of_a_learning_curve_are_training_time(sweep):
    _, store = sweep
    steps = steps_table(store, "staleness")
    late = steps.assign(start_s=steps["start_s"] + 1000)  # a model that took long to load
    curves = learning_curves_table(late)
    summary = store.query("SELECT * FROM run_summary WHERE steps_done > 0").set_index("run_name")
    for run, part in curves.groupby("run_name"):
        assert 60 * part["minutes"].iloc[-1] == pytest.approx(summary.loc[run, "training_s"])
        assert 60 * part["minutes"].iloc[0] == pytest.approx(part["wall_s"].iloc[0])
        assert part["prompts"].iloc[-1] == summary.loc[run, "prompts"]


def test_variance_is_newey_and_wests():
    rng = np.random.default_rng(0)
    work, seconds = rng.integers(200, 300, 50).astype(float), rng.lognormal(2, 0.2, 50)
    influence = work / work.mean() - seconds / seconds.mean()
    lags, total = int(4 * (50 / 100) ** (2 / 9)), float(influence @ influence)
    for lag in range(1, lags + 1):
        total += 2 * (1 - lag / (lags + 1)) * float(influence[lag:] @ influence[:-lag])
    rate = log_rate(work, seconds)
    assert rate.value == pytest.approx(np.log(work.sum() / seconds.sum()))
    assert rate.variance == pytest.approx(total / 50**2 * 50 / 49)


@pytest.mark.parametrize("persistence", [0.0, 0.3])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(persistence):
    rng, covered, trials = np.random.default_rng(5), 0, 300
    for _ in range(trials):
        noise = rng.standard_normal((2, 70))
        for at in range(1, 70):
            noise[:, at] += persistence * noise[:, at - 1]
        seconds = np.exp(0.1 * noise[:, 30:] / np.sqrt(1 / (1 - persistence**2)))
        work = np.full(40, 8.0)
        interval = rate_ratio(log_rate(work, seconds[0]), log_rate(work, 2 * seconds[1]))
        covered += interval.low <= 2 <= interval.high
    assert 0.88 <= covered / trials <= 0.99


def test_too_few_cycles_give_a_ratio_without_an_interval():
    interval = rate_ratio(log_rate(np.full(3, 8.0), np.ones(3)), log_rate(np.full(40, 8.0), np.ones(40)))
    assert interval.ratio == pytest.approx(1)
    assert np.isnan(interval.low) and np.isnan(interval.high)


def test_seeds_interval_is_students():
    logs = np.log([1.4, 1.5, 1.45, 1.38])
    interval = seeds_ratio(logs)
    low, high = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((np.exp(low), np.exp(high)))


def test_three_seeds_give_one_row_per_arm(tmp_path):
    write_synthetic_sweep(tmp_path, steps=8, questions=5, arms=REFERENCE_ARMS[2:4], seeds=(0, 1, 2))
    ingest(tmp_path)
    table = seeds_table(Store(tmp_path), "staleness")
    assert len(table) == 1  # no run of this sweep has the reference's B = 16
    row = table.iloc[0]
    assert (row["against"], row["seeds"]) == ("baseline", 3)
    assert row["low"] < row["prompts_per_s_speedup"] < row["high"]


def test_runs_at_the_same_time_on_the_same_cores_are_marked(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=8, questions=5, arms=REFERENCE_ARMS[:3])
    names = [arm.run_name(0, False) for arm in REFERENCE_ARMS[:3]]
    for name, cores in zip(names, ([0], [0], [1]), strict=True):
        trace, config = folder / name / "trace.jsonl", folder / name / "config.json"
        first, _, rest = trace.read_text().partition("\n")
        trace.write_text(json.dumps({**json.loads(first), "unix_time": 1_768_000_000.0}) + "\n" + rest)
        config.write_text(json.dumps({**json.loads(config.read_text()), "resources": {"cores": cores}}))
    ingest(tmp_path)
    shared = overlapping_runs(Store(tmp_path), "staleness")
    assert dict(zip(shared["run_name"], shared["others"], strict=True)) == {
        names[0]: names[1],
        names[1]: names[0],
    }
