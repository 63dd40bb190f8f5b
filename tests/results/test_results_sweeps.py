"""The table of sweeps: what became of each sweep's runs, counted from the runs' own files."""

import json

import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep

from results.ingest import ingest
from results.store import Store
from results.tables.sweeps import sweeps_table


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweeps")
    write_synthetic_sweep(root, "whole", steps=4, questions=5)
    write_synthetic_sweep(root, "part", steps=8, questions=5, finished=False)
    failed = write_synthetic_sweep(root, "failed", steps=4, questions=5, arms=REFERENCE_ARMS[:2])
    status = next(failed.glob("*/status.json"))
    told = json.loads(status.read_text()) | {"state": "failed", "reason": "out of memory"}
    status.write_text(json.dumps(told))
    for name, created in (("whole", 30.0), ("part", 10.0), ("failed", 20.0)):
        manifest = root / name / "sweep.json"
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"created_unix": created}))
    ingest(root)
    return root


@pytest.fixture(scope="module")
def table(root):
    return sweeps_table(Store(root)).set_index("sweep")


def states_in_files(sweep):
    """Of the runs that can run, by their own status files; a run without one is pending."""
    planned = json.loads((sweep / "sweep.json").read_text())["runs"]
    feasible = [run["run_name"] for run in planned if run["state"] != "infeasible"]
    files = [sweep / name / "status.json" for name in feasible]
    return [json.loads(file.read_text())["state"] if file.exists() else "pending" for file in files]


def test_the_most_recent_sweep_is_first(table):
    assert list(table.index) == ["whole", "failed", "part"]


@pytest.mark.parametrize("name", ["whole", "part", "failed"])
def test_runs_are_counted_by_state_and_infeasible_ones_are_none(table, root, name):
    states = states_in_files(root / name)
    assert table.loc[name, "runs"] == len(states)
    for state in ("succeeded", "running", "failed", "interrupted", "skipped", "pending"):
        assert table.loc[name, state] == states.count(state)


def test_the_state_in_words_names_what_is_not_finished(table):
    assert list(table["state"]) == ["finished", "1 failed", "1 running, 1 pending"]


def test_progress_is_the_share_of_planned_steps(table):
    assert table.loc["whole", "progress"] == 1.0
    assert table.loc["part", "progress"] == pytest.approx((3 * 8 + 4) / (5 * 8))
    assert table.loc["failed", "progress"] == 1.0  # it failed after its last step


def test_a_store_without_a_sweep_has_no_row(tmp_path):
    ingest(tmp_path)
    assert sweeps_table(Store(tmp_path)).empty
