"""Tables of page Runs, and what lies beside a run's trace: its log's end and its attempts."""

import json

import numpy as np
import pandas as pd
import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep
from hypothesis import given, settings
from hypothesis import strategies as st

from results.files.attempts import last_started
from results.files.log_tail import last_lines
from results.ingest import ingest
from results.report.build import build_report
from results.store import Store
from results.tables.runs import (
    attempts_table,
    configuration_table,
    differences_table,
    discarded_groups,
    environment,
    grouped_runs,
    headline_measure,
    runs_table,
    varying_columns,
)
from trainer.paths import RunPaths

KNOBS = ["max_staleness", "optim.lr", "optim.betas", "task.path"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_synthetic_sweep(root, "seeds", steps=10, questions=20, seeds=(0, 1))
    write_synthetic_sweep(root, "partial", steps=10, questions=20, seed=1, finished=False)
    ingest(root)
    return Store(root)


@pytest.fixture(scope="module")
def report(store):
    return build_report(store, "seeds")


def table_of(report, measure=None):
    return runs_table(
        report.experiments,
        report.configurations,
        KNOBS,
        speedups=report.speedups,
        accuracy=report.accuracy,
        deltas=report.deltas,
        measure=measure or headline_measure(report.accuracy),
    )


def test_every_run_has_a_row_with_its_knobs_and_results(store, report):
    table = table_of(report).set_index("run_name")
    summary = store.query("SELECT * FROM run_summary WHERE sweep = 'seeds'").set_index("run_name")
    assert sorted(table.index) == sorted(summary.index)
    for run, row in table.iterrows():
        config = report.configurations[run]
        assert row["max_staleness"] == config["max_staleness"]
        assert row["optim.lr"] == config["optim.lr"]
    np.testing.assert_allclose(table["prompts_per_s"], summary.loc[table.index, "prompts_per_s"])
    assert table["max_staleness"].dtype == "Int64"
    assert table.loc[table["state"] == "infeasible", "progress"].tolist() == ["0 / 10"]


def test_accuracy_and_verdict_are_of_one_measure_against_the_baseline(store, report):
    table = table_of(report).set_index("run_name")
    measure = headline_measure(report.accuracy)
    assert measure == ("arithmetic_cot", "exact_match", "strict-match", 8)
    values = store.query(
        "SELECT run_name, value_percent FROM accuracy WHERE sweep = 'seeds' AND latest AND num_fewshot = 8 "
        "AND filter = 'strict-match' AND run_name IS NOT NULL"
    ).set_index("run_name")["value_percent"]
    known = table["accuracy_percent"].dropna()
    assert len(known) == 10
    assert known.to_dict() == values.to_dict()
    # An arm with s = 0 and P = B is the baseline itself.
    asynchronous = (table["max_staleness"] == 1).to_numpy(bool)
    assert table["verdict"].notna().tolist() == asynchronous.tolist()
    assert table["prompts_per_s_speedup"].notna().tolist() == asynchronous.tolist()


def test_a_sweep_without_results_has_rows_without_them(store):
    report = build_report(store, "partial")
    table = table_of(report)
    pending = table[table["state"] == "pending"].iloc[0]
    assert pending[["step_mean_s", "accuracy_percent", "verdict"]].isna().all()


def test_groups_are_means_and_spreads_over_finished_runs(report):
    table = table_of(report)
    grouped = grouped_runs(table, "max_staleness").set_index("max_staleness")
    for staleness in (0, 1):
        part = table[(table["max_staleness"] == staleness) & (table["state"] == "succeeded")]
        rewards = part["reward_last_fifth"].to_numpy(float)
        assert grouped.loc[staleness, "finished"] == len(rewards)
        assert grouped.loc[staleness, "reward_last_fifth"] == pytest.approx(rewards.mean())
        assert grouped.loc[staleness, "reward_last_fifth_std"] == pytest.approx(rewards.std(ddof=1))
    assert grouped["runs"].to_dict() == {0: 5, 1: 6}
    by_list = grouped_runs(table, "optim.betas")
    assert by_list["runs"].tolist() == [10, 1]  # the infeasible one gives none


def test_groups_of_runs_that_have_not_finished_have_no_mean(report):
    table = table_of(report)
    grouped = grouped_runs(table[table["state"] == "infeasible"], "arm_id")
    assert grouped["finished"].tolist() == [0]
    assert np.isnan(grouped["prompts_per_s"]).all()


def test_columns_in_which_rows_differ():
    frame = pd.DataFrame({"a": [1, 1], "b": [1, 2], "c": [None, None], "d": [[1], [1]], "e": [np.nan, 1.0]})
    assert varying_columns(frame) == ["b"]  # what a run has not says nothing


def test_settings_that_depart_from_their_defaults():
    table = configuration_table({"a": 1, "b": None, "c": 3, "d": [1]}, {"a": 1, "b": 2, "d": [2]})
    assert table["departs"].tolist() == [False, True, None, True]
    assert table["default"].tolist() == [1, 2, None, [2]]


def test_a_key_that_only_one_run_gives_is_a_difference_even_when_null():
    table = differences_table({"a": 1, "b": None, "c": 2}, {"a": 1, "c": 3, "d": None})
    assert table[["key", "in_first", "in_second"]].values.tolist() == [
        ["b", True, False],
        ["c", True, True],
        ["d", False, True],
    ]


def test_attempts_discarded_groups_and_environment(store):
    run = build_report(store, "seeds").experiments["run_name"].iloc[0]
    attempts = attempts_table(store, "seeds", run)
    assert attempts[["attempt", "steps"]].values.tolist() == [[1, 10]]
    assert discarded_groups(store, "seeds", run) == set()
    assert environment(store, "seeds") == {"note": "synthetic", "git": {}}


def test_the_groups_of_an_attempt_that_was_cut_off(tmp_path):
    root = write_synthetic_sweep(tmp_path, "resumed", steps=4, questions=10, arms=REFERENCE_ARMS[:1])
    trace = next(iter(sorted(root.glob("s*/trace.jsonl"))))
    groups = [json.loads(line) for line in trace.read_text().splitlines() if '"kind":"group"' in line]
    with trace.open("a") as file:
        file.write('{"v": 1, "attempt": 2, "t": 500.0, "kind": "resumed", "from_step": 4}\n')
        for group in groups[-3:]:
            file.write(json.dumps(group | {"attempt": 2, "fate": "discarded"}) + "\n")
    ingest(tmp_path)
    expected = {group["group"] for group in groups[-3:]}
    assert discarded_groups(Store(tmp_path), "resumed", trace.parent.name) == expected


@settings(max_examples=40)
@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=5), max_size=8),
    ended=st.booleans(),
    wanted=st.integers(1, 9),
)
def test_the_last_lines_of_a_log(tmp_path_factory, lines, ended, wanted):
    log = tmp_path_factory.mktemp("log") / "train.log"
    text = "\n".join(lines) + ("\n" if ended and lines else "")
    log.write_bytes(text.encode())
    assert last_lines(log, wanted) == "\n".join(text.removesuffix("\n").split("\n")[-wanted:])


def test_the_end_of_a_log_that_is_larger_than_what_is_read(tmp_path):
    log = tmp_path / "train.log"
    log.write_bytes(b"first\n" + b"x" * 3_000_000 + b"\nlast \xff\n")
    assert last_lines(log, 1) == "last �"
    assert last_lines(log, 2).endswith("x\nlast �")
    assert len(last_lines(log, 5)) < 2_000_000
    log.write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert last_lines(log, 3) == "line 99997\nline 99998\nline 99999"


def test_where_the_last_attempt_came_from(tmp_path):
    run = RunPaths(tmp_path)
    assert last_started(run) is None
    run.attempts.write_text(
        '{"event": "started", "unix_s": 1.0, "code": "old"}\n'
        '{"event": "started", "unix_s": 2.0, "code": "new", "devices": "cores 0"}\n'
        '{"event": "ended", "unix_s": 3.0, "state": "succeeded"}\n'
        '{"event": "star'
    )
    found = last_started(run)
    assert (found.code, found.devices, found.environment) == ("new", "cores 0", None)
