"""Courses of training by arm, recomputed from the raw lines of the traces."""

import json

import numpy as np
import pytest
from factories.quality_factory import HELD_OUT, STEPS, SWEEP, write_quality_sweep

from results.ingest import ingest
from results.store import Store
from results.tables.curves import held_out_curves_table, reward_curves_table


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_quality_sweep(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def store(root):
    return Store(root.parent)


@pytest.fixture(scope="module")
def runs(store):
    frame = store.query("SELECT run_name FROM runs WHERE state <> 'infeasible' ORDER BY position")
    return list(frame["run_name"])


def raw_steps(root, run):
    lines = map(json.loads, (root / run / "trace.jsonl").read_text().splitlines())
    steps = [line for line in lines if line["kind"] == "step"]
    return {name: np.array([step[name] for step in steps]) for name in steps[0] if name not in ("kind", "kl")}


def seeds_of(runs, first):
    return [run for run in runs if run.rsplit("_seed", 1)[0] == first.rsplit("_seed", 1)[0]]


@pytest.mark.parametrize("window", [1, 5, STEPS + 1])
def test_means_and_ranges_over_seeds_are_those_of_the_traces(root, store, runs, window):
    table = reward_curves_table(store, SWEEP, runs, window)
    assert list(table["label"].unique()) == ["Exp3", "Exp4", "Exp5"]
    for first, part in table.groupby("run_name", sort=False):
        seeds = [raw_steps(root, run) for run in seeds_of(runs, first)]
        assert (part["runs"] == 2).all()
        assert (part["seeds"] == 2).all()
        for column, name, unit in (
            ("prompts", "prompts", 1),
            ("tokens", "completion_tokens", 1),
            ("hours", "wall_s", 3600),
        ):
            expected = np.mean([np.cumsum(seed[name]) / unit for seed in seeds], axis=0)
            np.testing.assert_allclose(part[column], expected)
        smooth = np.full((2, STEPS), np.nan)
        if window <= STEPS:
            box = np.full(window, 1 / window)
            smooth[:, window - 1 :] = [np.convolve(seed["reward_mean"], box, "valid") for seed in seeds]
        np.testing.assert_allclose(part["mean"].astype(float), smooth.mean(axis=0))
        np.testing.assert_allclose(part["low"].astype(float), smooth.min(axis=0))
        np.testing.assert_allclose(part["high"].astype(float), smooth.max(axis=0))
        np.testing.assert_allclose(
            part["reward_mean"], np.mean([seed["reward_mean"] for seed in seeds], axis=0)
        )


def test_only_the_runs_asked_for_are_in_it(root, store, runs):
    table = reward_curves_table(store, SWEEP, runs[1:2], 1)
    assert list(table["label"].unique()) == ["Exp4-seed0"]
    np.testing.assert_allclose(table["mean"], raw_steps(root, runs[1])["reward_mean"])
    assert reward_curves_table(store, SWEEP, [], 1).empty
    assert held_out_curves_table(store, SWEEP, []).empty


def test_a_seed_that_has_come_less_far_counts_as_far_as_it_came(root, store, runs, tmp_path):
    copy = tmp_path / SWEEP
    for path in [root / "sweep.json", *(root / run / "trace.jsonl" for run in runs[::3])]:
        target = copy / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines(keepends=True)
        short = path.parent.name == runs[3]
        target.write_text(
            "".join(
                line
                for line in lines
                if not short or '"kind":"step"' not in line or json.loads(line)["step"] < 7
            )
        )
    ingest(tmp_path)
    table = reward_curves_table(Store(tmp_path), SWEEP, runs[::3], 1).set_index("step")
    assert list(table["seeds"]) == [2] * 7 + [1] * (STEPS - 7)
    longer = raw_steps(root, runs[0])["reward_mean"]
    np.testing.assert_allclose(table.loc[7:, "mean"], longer[7:])


def test_held_out_accuracy_stands_where_training_had_come(root, store, runs):
    table = held_out_curves_table(store, SWEEP, runs)
    for first, part in table.groupby("run_name", sort=False):
        assert dict(zip(part["step"], part["low"], strict=True)) == pytest.approx(HELD_OUT)
        np.testing.assert_allclose(part["high"] - part["low"], 0.1)
        np.testing.assert_allclose(part["mean"], (part["high"] + part["low"]) / 2)
        assert (part["problems"] == 40).all()
        hours = np.mean(
            [np.cumsum(raw_steps(root, run)["wall_s"]) / 3600 for run in seeds_of(runs, first)], axis=0
        )
        np.testing.assert_allclose(part["hours"], [0, hours[11], hours[23]])
