"""A run that gets another name is renamed, not trained again: the same run_id is the same run."""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from factories.planned_sweep import NAMES, PlannedSweep, fail, ready
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepctl.attempts import failures_in_a_row, read_attempts
from sweepctl.plan.select import count_due, due
from sweepctl.planner.costs import KnownCosts, by_hand
from sweepctl.planner.outlook import look_ahead
from sweepctl.provenance import environment_id
from sweepctl.running.prepare import wait_for_orphans
from trainer.config import Resources, RunFile
from trainer.errors import SweepctlError
from trainer.records import RunState

OTHER = "a" * 12


@pytest.fixture
def sweep(tmp_path):
    return PlannedSweep(tmp_path)


@pytest.fixture
def leave(sweep):
    """A directory that holds one of the planned runs under a name of its own."""
    ids = [run.run_id for run in sweep.plan().runs]
    return lambda index, name, state, **status: sweep.leave(name, ids[index], state, **status)


class TestInThePlan:
    @pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.FAILED, RunState.INTERRUPTED])
    @pytest.mark.parametrize("holds", [None, OTHER])
    def test_its_state_is_that_of_the_directory_it_had(self, sweep, leave, state, holds):
        paths = leave(0, "old", state, step=7)
        fail(paths, times=2)
        if holds:
            sweep.leave("s0_lr1e-6", holds, RunState.SUCCEEDED)
        plan = sweep.plan()
        run, *others = plan.runs
        assert (run.state, run.comes_back, run.other_run) == (state.value, paths.root, holds)
        assert (run.summary()["comes_back"], run.summary()["step"]) == ("old", 7)
        assert failures_in_a_row(run.attempts) == 2
        assert [(other.state, other.comes_back) for other in others] == [("new", None)] * 3
        assert plan.orphaned == ()
        counts = count_due(plan)
        done = {"succeeded": counts.done, "failed": counts.waiting, "interrupted": counts.go_on}
        assert (done[state.value], counts.train) == (1, 3)

    def test_what_is_in_its_place_comes_first(self, sweep, leave):
        leave(0, "old", RunState.SUCCEEDED)
        sweep.leave_run(0, RunState.INTERRUPTED)
        plan = sweep.plan()
        assert (plan.runs[0].state, plan.runs[0].comes_back) == ("interrupted", None)
        assert [(orphan.paths.root.name, orphan.same_as) for orphan in plan.orphaned] == [("old", NAMES[0])]

    def test_of_several_the_one_that_got_furthest(self, sweep, leave):
        leave(0, "a", RunState.INTERRUPTED, step=39)
        leave(0, "b", RunState.SUCCEEDED, step=38)
        leave(0, "c", RunState.INTERRUPTED, step=40)
        leave(1, "d", RunState.INTERRUPTED, step=12)
        leave(1, "e", RunState.INTERRUPTED, step=13)
        plan = sweep.plan()
        assert [run.comes_back and run.comes_back.name for run in plan.runs] == ["b", "e", None, None]
        assert [(orphan.paths.root.name, orphan.same_as) for orphan in plan.orphaned] == [
            ("a", NAMES[0]),
            ("c", NAMES[0]),
            ("d", NAMES[1]),
        ]

    def test_what_nobody_set_aside_comes_before_what_somebody_did(self, sweep, leave):
        leave(0, "old.set-aside-20261123-101500", RunState.SUCCEEDED, step=40)
        leave(0, "old", RunState.INTERRUPTED, step=1)
        assert sweep.run(0).comes_back.name == "old"

    def test_what_was_set_aside_under_the_earlier_name(self, sweep, leave):
        leave(0, "old.set-aside-20261123-101500", RunState.SUCCEEDED)
        leave(0, "older.set-aside-20261123-101501", RunState.SUCCEEDED)
        leave(0, "kept.set-aside-for-the-record", RunState.SUCCEEDED)
        assert sweep.run(0).comes_back.name == "older.set-aside-20261123-101501"

    def test_not_what_was_never_begun_nor_what_is_damaged_nor_outdated(self, sweep, leave):
        leave(0, "never", RunState.PENDING, attempt=0)
        leave(1, "damaged", RunState.SUCCEEDED).status.write_text("{")
        sweep.leave_finished(2, "0" * 12, environment_id())
        (sweep.root / NAMES[2]).rename(sweep.root / "outdated")
        plan = sweep.plan(rerun_on=frozenset({"code"}))
        assert [(run.state, run.comes_back) for run in plan.runs] == [("new", None)] * 4
        assert [(orphan.paths.root.name, orphan.same_as) for orphan in plan.orphaned] == [
            ("damaged", NAMES[1]),
            ("never", NAMES[0]),
            ("outdated", NAMES[2]),
        ]
        assert sweep.run(2).comes_back.name == "outdated"

    def test_refreshed_sees_it(self, sweep, leave):
        plan = sweep.plan()
        paths = leave(2, "old", RunState.SUCCEEDED)
        assert [run.state for run in plan.refreshed().runs] == ["new", "new", "succeeded", "new"]
        paths.root.rename(sweep.root / "older")
        assert plan.refreshed().runs[2].comes_back == sweep.root / "older"
        plan = sweep.plan()
        (sweep.root / "older").rename(sweep.root / NAMES[2])
        assert (plan.runs[2].comes_back, plan.refreshed().runs[2].comes_back) == (sweep.root / "older", None)


class TestPreparing:
    def test_its_directory_and_its_configuration_get_the_name(self, sweep, leave):
        paths = leave(0, "old", RunState.SUCCEEDED)
        file = RunFile.model_validate_json(paths.config.read_bytes())
        trained = file.model_copy(
            update={"profile": "gpu", "tags": ("t",), "resources": Resources(cores=(3,))}
        )
        paths.config.write_text(trained.model_dump_json())
        assert ready(sweep.plan()) == [f"{NAMES[0]}: comes back from old"]
        assert list(sweep.held()) == [NAMES[0]]
        renamed = RunFile.model_validate_json((sweep.root / NAMES[0] / "config.json").read_bytes())
        assert renamed == trained.model_copy(update={"run_name": NAMES[0]})
        assert (sweep.run(0).state, sweep.run(0).comes_back) == ("succeeded", None)
        assert ready(sweep.plan()) == []

    def test_what_is_in_the_way_is_set_aside(self, sweep, leave):
        leave(0, "old", RunState.SUCCEEDED)
        sweep.leave(NAMES[0], OTHER, RunState.SUCCEEDED)
        plan = sweep.plan()
        said = ready(plan)
        (aside,) = sweep.root.glob("*.set-aside-*")
        assert said == [
            f"{NAMES[0]}: what was in its directory is set aside as {aside.name}",
            f"{NAMES[0]}: comes back from old",
        ]
        assert sweep.held() == {NAMES[0]: plan.runs[0].run_id, aside.name: OTHER}

    def test_of_runs_that_are_not_selected_nothing_moves(self, sweep, leave):
        leave(0, "old", RunState.SUCCEEDED)
        before = sweep.held()
        plan = sweep.plan(only="Exp2")
        assert ready(plan) == []
        assert sweep.held() == before
        assert plan.orphaned == ()

    def test_force_takes_nothing_back(self, sweep, leave):
        paths = leave(0, "old", RunState.SUCCEEDED)
        plan = sweep.plan(only="Exp1")
        ready(plan, plan.runs[:1], force=True)
        assert paths.root.exists()
        assert (sweep.run(0).state, sweep.run(0).comes_back) == ("new", None)

    def test_a_failed_run_is_tried_again_from_where_it_was(self, sweep, leave):
        fail(leave(0, "old", RunState.FAILED), times=3)
        plan = sweep.plan()
        ready(plan, plan.runs[:1], retry_failed=True)
        attempts = read_attempts(plan.runs[0].paths)
        assert [record.event for record in attempts] == ["started", "ended"] * 3 + ["reset"]

    def test_names_that_change_hands(self, sweep, leave):
        leave(1, NAMES[0], RunState.SUCCEEDED)
        leave(2, NAMES[1], RunState.SUCCEEDED)
        leave(0, NAMES[2], RunState.SUCCEEDED)
        plan = sweep.plan()
        assert due(plan, max_attempts=2) == plan.runs[3:]
        ready(plan, plan.runs[3:])
        assert sweep.held() == {run.name: run.run_id for run in plan.runs}

    def test_a_run_may_take_its_directory_from_the_place_of_one_that_is_not_selected(self, sweep, leave):
        leave(1, NAMES[0], RunState.SUCCEEDED)
        plan = sweep.plan(only=NAMES[1])
        ready(plan)
        assert sweep.held() == {NAMES[1]: plan.runs[1].run_id}


class TestSomebodyTrainsIt:
    @pytest.fixture
    def trained_by_hand(self, leave):
        process = psutil.Process()
        return leave(0, "old", RunState.RUNNING, step=3, pid=process.pid, pid_started=process.create_time())

    def test_it_is_waited_for_as_in_its_place(self, sweep, trained_by_hand):
        plan = sweep.plan()
        assert (plan.runs[0].state, count_due(plan).running, count_due(plan).train) == ("running", 1, 3)
        with pytest.raises(SweepctlError, match=f"^{trained_by_hand.status}: process {os.getpid()} is"):
            wait_for_orphans(plan, print, lambda: None, 0.0)
        assert trained_by_hand.root.exists()

        def ends() -> None:
            shutil.rmtree(trained_by_hand.root)
            sweep.leave("old", plan.runs[0].run_id, RunState.SUCCEEDED)

        waited = wait_for_orphans(plan, print, ends, 10.0)
        assert (waited.runs[0].state, waited.runs[0].comes_back) == ("succeeded", trained_by_hand.root)

    def test_it_is_left_alone_where_another_directory_got_further(self, sweep, leave, trained_by_hand):
        leave(0, "older", RunState.SUCCEEDED)
        plan = wait_for_orphans(sweep.plan(), print, lambda: None, 0.0)
        ready(plan)
        assert set(sweep.held()) == {NAMES[0], "old"}
        (orphan,) = sweep.plan().orphaned
        assert (orphan.paths, orphan.state) == (trained_by_hand, "running")


class _KilledError(Exception):
    pass


directories = st.dictionaries(
    st.sampled_from([*NAMES, "x", "y", f"{NAMES[0]}.set-aside-20261123-101500"]),
    st.tuples(st.sampled_from([0, 1, 2, 3, None]), st.sampled_from([None, *RunState]), st.integers(0, 40)),
)


@settings(max_examples=30, deadline=None)
@given(left=directories, renames=st.integers(0, 6))
def test_whatever_lies_where_and_is_killed_when_nothing_is_lost_and_nothing_trained_twice(
    tmp_path_factory, left, renames
):
    """Each directory carries a mark, which says whether it had begun and on which run."""
    sweep = PlannedSweep(tmp_path_factory.mktemp("left"))
    plan = sweep.plan()
    for name, (index, state, step) in left.items():
        run_id = OTHER if index is None else plan.runs[index].run_id
        paths = sweep.leave(name, run_id, state, step=step, attempt=0 if state is RunState.PENDING else 1)
        begun = state not in {None, RunState.PENDING}
        (paths.root / "mark").write_text(json.dumps([name, run_id if begun else None]))
    with pytest.MonkeyPatch.context() as patch:
        _kill_after(renames, patch)
        with suppress(_KilledError):
            _prepare_all(sweep)
    _prepare_all(sweep)
    marks = {path.parent.name: json.loads(path.read_text()) for path in sweep.root.glob("*/mark")}
    assert sorted(name for name, _ in marks.values()) == sorted(left)
    begun = {run_id for _, run_id in marks.values()}
    for index, run in enumerate(sweep.plan().runs):
        assert (sweep.held()[run.name], run.comes_back, run.other_run) == (run.run_id, None, None)
        if left.get(run.name, (None,))[0] == index:
            assert marks[run.name][0] == run.name  # what is in its place comes first
        elif run.run_id in begun:
            assert marks[run.name][1] == run.run_id
            assert RunFile.model_validate_json(run.paths.config.read_bytes()).run_name == run.name


def _prepare_all(sweep):
    plan = sweep.plan()
    ready(plan, due(plan, retry_failed=True, max_attempts=2), retry_failed=True)


def _kill_after(renames, patch):
    rename, done = Path.rename, []

    def rename_or_die(path, target):
        if len(done) == renames:
            raise _KilledError
        done.append(target)
        return rename(path, target)

    patch.setattr(Path, "rename", rename_or_die)


class TestRunning:
    @pytest.fixture
    def seeds(self, fake_sweep):
        """Gives the spec so many seeds."""

        def set_seeds(*seeds: int) -> None:
            text = fake_sweep.spec.read_text().partition("seeds:")[0]
            fake_sweep.spec.write_text(f"{text}seeds: {list(seeds)}\n")

        return set_seeds

    def test_a_second_seed_trains_nothing_of_the_first_again(self, fake_sweep, seeds):
        assert fake_sweep.run() == 0
        first = fake_sweep.calls()
        seeds(0, 1)
        assert fake_sweep.run() == 0
        assert fake_sweep.calls()[len(first) :] == [*(f"s{s}_seed1" for s in range(5)), "evaluation"]
        assert sorted(path.name for path in fake_sweep.root.glob("s?*/")) == sorted(
            f"s{s}_seed{seed}" for s in range(5) for seed in (0, 1)
        )
        for name in ("sweep.json", "evaluation.json", "evaluation.done"):
            assert '"s0"' not in (fake_sweep.root / name).read_text()
        seeds(0)
        calls = fake_sweep.calls()
        assert fake_sweep.run() == 0
        assert {*fake_sweep.calls()[len(calls) :]} <= {"evaluation"}
        assert fake_sweep.state("s0") == "succeeded"

    def test_what_was_interrupted_goes_on_under_the_new_name(self, fake_sweep, seeds):
        fake_sweep.behave(s2="vanish")
        assert fake_sweep.run(evaluate=False, only="s2") == 1
        seeds(0, 1)
        assert fake_sweep.run(evaluate=False, only="s2_seed0") == 0
        assert fake_sweep.calls() == ["s2", "s2_seed0"]
        lines = (fake_sweep.root / "s2_seed0" / "trace.jsonl").read_text().splitlines()
        steps = [(record["attempt"], record["step"]) for record in map(json.loads, lines)]
        assert steps == [(1, 0), (1, 1), (2, 2), (2, 3)]

    def test_a_run_keeps_what_was_predicted_of_it(self, fake_sweep, seeds):
        costs = KnownCosts.alike_for_all(by_hand(generate_s=14, train_s_per_prompt=1.75, overhead_s=0.6))
        fake_sweep.predict = lambda plan, say: look_ahead(plan, costs).on_record()
        assert fake_sweep.run(evaluate=False, only="s0,s1") == 0
        before = _predictions(fake_sweep)
        seeds(0, 1)
        fake_sweep.predict = lambda plan, say: {}
        assert fake_sweep.run(evaluate=False, only="Exp1,Exp2") == 0
        found = _predictions(fake_sweep)
        assert found["s0_seed0"] == before["s0"]
        assert found["s1_seed0"] == before["s1"]
        assert (found["s0_seed1"], found["s1_seed1"]) == (None, None)

    def test_costs_are_asked_for_under_the_names_that_the_store_has(self, fake_sweep, seeds):
        assert fake_sweep.run(evaluate=False, only="s0") == 0
        seeds(0, 1)
        there = []

        def predict(plan, say):
            there.append((fake_sweep.root / "s0").is_dir())
            return {}

        fake_sweep.predict = predict
        assert fake_sweep.run(evaluate=False, only="Exp1") == 0
        assert there == [True]
        assert not (fake_sweep.root / "s0").exists()


def _predictions(fake_sweep):
    runs = json.loads((fake_sweep.root / "sweep.json").read_text())["runs"]
    return {run["run_name"]: run.get("prediction") for run in runs}


def test_an_imported_sweep_stays_as_it_is(cli, tmp_path):
    sweep = PlannedSweep(tmp_path)
    sweep.leave("old", sweep.run(0).run_id, RunState.SUCCEEDED)
    (sweep.root / "sweep.json").write_text(json.dumps({"runs": [], "imported": {"from": "away"}}))
    code, _, err = cli("run", sweep.spec, "--runs-dir", tmp_path / "runs")
    assert code == 2
    assert "was imported, not run here" in err
    assert list(sweep.held()) == ["old"]
