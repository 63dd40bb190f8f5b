"""Speed: figures equal a recomputation from the raw trace, intervals cover what they claim."""

import json
from importlib.resources import files
from itertools import pairwise

import duckdb
import numpy as np
import pandas as pd
import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep
from hypothesis import given, settings
from hypothesis import strategies as st

from results.ingest import ingest
from results.statistics.rates import log_rate, rate_ratio
from results.store import Store, records
from results.tables.speed import REWARD_WINDOW_STEPS, overlapping_runs, speedup_table


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


def test_percentiles_of_step_times_are_numpys(sweep):
    folder, store = sweep
    table = store.query("SELECT * FROM step_summary WHERE sweep = 'staleness' ORDER BY position")
    assert list(table["label"]) == ["Exp1", "Exp2", "Exp3", "Exp4", "Exp5"]
    for row in table.to_dict("records"):
        walls = np.array([step["wall_s"] for step in raw_steps(folder, row["run_name"])])
        assert row["steps"] == len(walls)
        assert (row["step_mean_s"], row["step_std_s"]) == pytest.approx((walls.mean(), walls.std(ddof=1)))
        for name, percent in {"min": 0, "p5": 5, "p25": 25, "median": 50, "p75": 75}.items():
            assert row[f"step_{name}_s"] == pytest.approx(np.percentile(walls, percent))
        for name, percent in {"p95": 95, "p99": 99, "max": 100}.items():
            assert row[f"step_{name}_s"] == pytest.approx(np.percentile(walls, percent))


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
    # Every unit's interval is that of its rate over cycles of the raw trace, two steps here, one there.
    work = {"step_time": lambda step: 1, "prompts_per_s": lambda step: step["prompts"]}
    work["completion_tokens_per_s"] = lambda step: step["completion_tokens"]
    for unit, count in work.items():
        rates = [
            log_rate(
                np.array([count(s) for s in steps], dtype=float).reshape(-1, k).sum(axis=1),
                np.array([s["wall_s"] for s in steps]).reshape(-1, k).sum(axis=1),
            )
            for steps, k in ((mine, 2), (twin, 1))
        ]
        expected = rate_ratio(*rates)
        assert (row[f"{unit}_low"], row[f"{unit}_high"]) == pytest.approx((expected.low, expected.high))
        ratio = row["step_time_cycles_speedup" if unit == "step_time" else f"{unit}_speedup"]
        assert row[f"{unit}_low"] < ratio < row[f"{unit}_high"]
    assert row["step_time_cycles_speedup"] == pytest.approx(
        np.mean([s["wall_s"] for s in twin]) / np.mean([s["wall_s"] for s in mine])
    )
    assert row["interval_scope"] == "within this run"


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
        gain = threshold - np.mean([s["reward_mean"] for s in other[:8]])
        assert row["other_reward_gain"] == pytest.approx(gain)
        if row["time_to_reward_bound"] is None:
            ratio = row["other_time_to_reward_s"] / row["time_to_reward_s"]
            assert row["time_to_reward_speedup"] == pytest.approx(ratio)
    assert table["time_to_reward_speedup"].notna().any()


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


def test_a_table_of_runs_at_the_same_time_equals_every_pair_looked_at():
    rng = np.random.default_rng(7)
    for _ in range(30):
        count = int(rng.integers(2, 12))
        starts = rng.integers(0, 20, count).astype(float)
        lives = [
            {
                "run_name": f"run{rng.integers(0, count)}",  # attempts of one run are no strangers
                "start_unix": start,
                "end_unix": start + float(rng.integers(0, 8)),
                "cores": rng.choice(["[0]", "[1]", "[0, 2]", "[]", None]),
            }
            for start in np.sort(starts)
        ]
        pairs = set()
        for x in lives:
            for y in lives:
                a, b = (set(json.loads(life["cores"] or "[]")) for life in (x, y))
                meet = x["start_unix"] < y["end_unix"] and y["start_unix"] < x["end_unix"]
                if x["run_name"] != y["run_name"] and meet and (not a or not b or a & b):
                    pairs.add((x["run_name"], y["run_name"]))
        found = overlapping_runs(FrameStore(pd.DataFrame(lives)), "any")
        named = {(row["run_name"], other) for row in records(found) for other in row["others"].split(", ")}
        assert named == pairs
        assert list(found["run_name"]) == sorted({name for name, _ in pairs})


class FrameStore:
    """Answers every query with the same rows."""

    def __init__(self, frame):
        self.frame = frame

    def query(self, sql, params=None):
        return self.frame


@pytest.fixture(scope="module")
def empty_store():
    with duckdb.connect() as connection:
        for name in ("tables.sql", "views_runs.sql", "views_speed.sql"):
            connection.execute((files("results") / "schema" / name).read_text())
        yield connection


def test_cycles_do_not_depend_on_the_order_rows_lie_in(empty_store):
    answers = set()
    for order in range(4):
        for table in ("runs", "steps", "resumes"):
            empty_store.execute(f"DELETE FROM {table}")
        empty_store.execute(
            "INSERT INTO runs (sweep, run_name, label, state, sync_interval_steps) "
            "VALUES ('s', 'r', 'r', 'succeeded', 40)"
        )
        empty_store.execute(
            "INSERT INTO steps (sweep, run_name, attempt, t, step, policy_version, start_s, wall_s, prompts, "
            "completion_tokens) SELECT 's', 'r', 1, 0, n, n + 1, 0, ln(n + 2), 2, 3 "
            "FROM range(2000) AS of(n) ORDER BY hash(n + ?)",
            [order],
        )
        walls = empty_store.execute("SELECT wall_s FROM sync_cycles ORDER BY cycle").fetchall()
        spread = empty_store.execute("SELECT step_mean_s, step_std_s FROM step_summary").fetchall()
        answers.add((tuple(walls), tuple(spread)))
    [(walls, _)] = answers
    expected = np.log(np.arange(2000) + 2).reshape(-1, 40).sum(axis=1)[1:]
    assert [wall for (wall,) in walls] == pytest.approx(expected)


@given(st.integers(1, 4), st.integers(0, 30), st.lists(st.integers(0, 29), max_size=3))
@settings(max_examples=60, deadline=None)
def test_whole_cycles_are_those_a_loop_finds(empty_store, interval, steps, resumed_from):
    for table in ("runs", "steps", "resumes"):
        empty_store.execute(f"DELETE FROM {table}")
    empty_store.execute(
        "INSERT INTO runs (sweep, run_name, label, state, sync_interval_steps) "
        "VALUES ('s', 'r', 'r', 'succeeded', ?)",
        [interval],
    )
    empty_store.execute(
        "INSERT INTO steps (sweep, run_name, attempt, t, step, policy_version, start_s, wall_s, prompts, "
        "completion_tokens) SELECT 's', 'r', 1, 0, n, n + 1, 0, n + 0.5, 2, 3 FROM range(?) AS of(n)",
        [steps],
    )
    for attempt, step in enumerate(resumed_from, start=2):
        empty_store.execute("INSERT INTO resumes VALUES ('s', 'r', ?, 0, ?)", [attempt, step])
    rows = empty_store.execute("SELECT cycle, steps, wall_s, prompts FROM sync_cycles ORDER BY cycle")
    found = rows.fetchall()
    expected = []
    for cycle in range(1, steps // interval):
        of_cycle = range(cycle * interval, (cycle + 1) * interval)
        if not any(step in of_cycle for step in resumed_from):
            expected.append((cycle, interval, sum(n + 0.5 for n in of_cycle), 2 * interval))
    assert found == expected


def test_overlap_efficiency_equals_a_recomputation_from_the_raw_trace(tmp_path):
    """Engine: union of its `generate` spans; held-out evaluation is the learner's work, not the engine's."""
    folder = write_synthetic_sweep(tmp_path, steps=6, questions=5, arms=REFERENCE_ARMS[:2])
    name = REFERENCE_ARMS[1].run_name(0, False)
    trace = folder / name / "trace.jsonl"
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    third = next(line for line in lines if line["kind"] == "step" and line["step"] == 3)
    # The learner waits 5 s for held-out answers; the engine generates a group in the first two of them.
    for line in lines:
        if line["kind"] == "step" and line["step"] == 3:
            line["other_s"] += 5.0
            line["wall_s"] += 5.0
    spans = [("engine", "generate", 1.0, 4.0), ("engine", "generate", 2.0, 3.0)]  # within one another
    spans += [
        ("engine", "generate", third["t"], third["t"] + 2),
        ("engine", "held_out", third["t"] + 2, third["t"] + 5),
    ]
    for lane, kind, start, end in spans:
        span = {"lane": lane, "name": kind, "start_s": start, "end_s": end, "step": None}
        lines.append({"v": 1, "attempt": 1, "t": end, "kind": "span", **span})
    trace.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ingest(tmp_path)
    row = Store(tmp_path).query("SELECT * FROM run_summary WHERE run_name = ?", [name]).iloc[0]

    edges = [line for line in lines if line["kind"] == "span" and line["name"] == "generate"]
    marks = sorted({line[end] for line in edges for end in ("start_s", "end_s")})
    busy = sum(
        later - earlier
        for earlier, later in pairwise(marks)
        if any(line["start_s"] <= earlier and later <= line["end_s"] for line in edges)
    )
    steps = [line for line in lines if line["kind"] == "step"]
    learner = sum(line["learn_s"] + line["checkpoint_s"] + line["other_s"] for line in steps)
    total, prompts = (sum(line[key] for line in steps) for key in ("wall_s", "prompts"))
    assert row["engine_busy_s"] == pytest.approx(busy)
    ideal = prompts / max(busy, learner)
    assert row["overlap_efficiency"] == pytest.approx((prompts / total) / ideal)


def test_a_run_that_ended_too_early_gives_a_bound(tmp_path):
    arms = REFERENCE_ARMS[:2]
    folder = write_synthetic_sweep(tmp_path, steps=40, questions=5, arms=arms)
    names = [arm.run_name(0, False) for arm in arms]
    set_rewards(folder / names[0], lambda step: step / 40)
    set_rewards(folder / names[1], lambda step: 0.1)
    ingest(tmp_path)
    row = speedup_table(Store(tmp_path), "staleness").iloc[0]
    assert (row["run_name"], row["time_to_reward_bound"]) == (names[1], "<")
    assert np.isnan(row["time_to_reward_s"])
    spent = sum(step["wall_s"] for step in raw_steps(folder, names[1]))
    assert row["time_to_reward_speedup"] == pytest.approx(row["other_time_to_reward_s"] / spent)


def test_a_reward_that_did_not_rise_is_no_goal(tmp_path):
    arms = REFERENCE_ARMS[:2]
    folder = write_synthetic_sweep(tmp_path, steps=20, questions=5, arms=arms)
    set_rewards(folder / arms[0].run_name(0, False), lambda step: 0.9 - step / 100)
    ingest(tmp_path)
    row = speedup_table(Store(tmp_path), "staleness").iloc[0]
    assert row["other_reward_gain"] < 0
    assert np.isnan(row["time_to_reward_speedup"]) and row["time_to_reward_bound"] is None


def set_rewards(run, reward):
    lines = [json.loads(line) for line in (run / "trace.jsonl").open()]
    for line in lines:
        if line["kind"] == "step":
            line["reward_mean"] = reward(line["step"])
    (run / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
