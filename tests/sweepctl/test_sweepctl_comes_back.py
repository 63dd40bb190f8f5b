"""A run that was set aside comes back when it is planned again: what has succeeded is not trained twice."""

import json
from pathlib import Path

import pytest
from factories.planned_sweep import PlannedSweep, fail, ready

from sweepctl.attempts import failures_in_a_row, read_attempts
from sweepctl.provenance import environment_id
from sweepctl.running import prepare as preparing
from trainer.records import RunState

OTHER = "a" * 12


@pytest.fixture
def sweep(tmp_path):
    return PlannedSweep(tmp_path)


class TestInThePlan:
    @pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.FAILED, RunState.INTERRUPTED])
    @pytest.mark.parametrize("holds", [None, OTHER])
    def test_its_state_is_that_of_what_was_set_aside(self, sweep, state, holds):
        paths = sweep.leave_set_aside(0, state, step=7)
        fail(paths, times=2)
        if holds:
            sweep.leave("s0_lr1e-6", holds, RunState.SUCCEEDED)
        run, *others = sweep.plan().runs
        assert (run.state, run.comes_back, run.other_run) == (state.value, paths.root, holds)
        assert (run.summary()["comes_back"], run.summary()["step"]) == (paths.root.name, 7)
        assert failures_in_a_row(run.attempts) == 2
        assert [(other.state, other.comes_back) for other in others] == [("new", None)] * 3

    def test_what_is_in_its_place_comes_first(self, sweep):
        sweep.leave_set_aside(0, RunState.SUCCEEDED)
        sweep.leave_run(0, RunState.INTERRUPTED)
        run = sweep.run(0)
        assert (run.state, run.comes_back, run.in_the_way) == ("interrupted", None, None)

    def test_the_newest_comes_back(self, sweep):
        dates = ["20261123-101500-10", "20261123-101500", "20261123-101500-2", "20261122-235959"]
        for date in dates:
            sweep.leave_set_aside(0, RunState.SUCCEEDED, date)
        sweep.leave("s0_lr1e-6.set-aside-20261124-000000", OTHER, RunState.SUCCEEDED)
        assert sweep.run(0).comes_back.name.endswith(dates[0])

    def test_not_what_was_never_begun_nor_what_is_damaged(self, sweep):
        sweep.leave_set_aside(0, RunState.SUCCEEDED, "20261123-000000")
        sweep.leave_set_aside(0, RunState.PENDING, "20261123-000001", attempt=0)
        sweep.leave_set_aside(0, RunState.SUCCEEDED, "20261123-000002").status.write_text("{")
        assert sweep.run(0).comes_back.name.endswith("20261123-000000")

    def test_not_what_would_be_set_aside_again(self, sweep):
        sweep.leave_finished(0, "0" * 12, environment_id())
        place = sweep.plan().runs[0].paths.root
        place.rename(place.with_name(place.name + ".set-aside-20261123-101500"))
        assert sweep.run(0).stale == ("code",)
        run = sweep.run(0, rerun_on=frozenset({"code"}))
        assert (run.state, run.comes_back) == ("new", None)

    def test_refreshed_sees_it(self, sweep):
        plan = sweep.plan()
        sweep.leave_set_aside(2, RunState.SUCCEEDED)
        assert [run.state for run in plan.refreshed().runs] == ["new", "new", "succeeded", "new"]


class TestPreparing:
    def test_the_two_change_places_and_change_back(self, sweep):
        paths = sweep.leave_set_aside(0, RunState.SUCCEEDED)
        sweep.leave("s0_lr1e-6", OTHER, RunState.SUCCEEDED)
        plan = sweep.plan()
        said = ready(plan)
        (aside,) = sweep.root.glob("*.set-aside-*")
        assert said == [
            f"s0_lr1e-6: what was in its directory is set aside as {aside.name}",
            f"s0_lr1e-6: comes back from {paths.root.name}",
        ]
        assert sweep.held() == {"s0_lr1e-6": plan.runs[0].run_id, aside.name: OTHER}
        assert (sweep.run(0).state, sweep.run(0).comes_back) == ("succeeded", None)
        assert ready(sweep.plan()) == []

    def test_of_runs_that_are_not_selected_nothing_moves(self, sweep):
        sweep.leave_set_aside(0, RunState.SUCCEEDED)
        sweep.leave("s0_lr1e-6", OTHER, RunState.SUCCEEDED)
        before = sweep.held()
        assert ready(sweep.plan(only="Exp2")) == []
        assert sweep.held() == before

    def test_force_takes_nothing_back(self, sweep):
        paths = sweep.leave_set_aside(0, RunState.SUCCEEDED)
        sweep.leave("s0_lr1e-6", OTHER, RunState.SUCCEEDED)
        plan = sweep.plan(only="Exp1")
        ready(plan, plan.runs[:1], force=True)
        assert paths.root.exists()
        assert sorted(sweep.held().values()) == sorted([OTHER, plan.runs[0].run_id, plan.runs[0].run_id])
        assert sweep.run(0).state == "new"

    def test_a_failed_run_is_tried_again_from_where_it_was(self, sweep):
        fail(sweep.leave_set_aside(0, RunState.FAILED), times=3)
        sweep.leave("s0_lr1e-6", OTHER, RunState.SUCCEEDED)
        plan = sweep.plan()
        ready(plan, plan.runs[:1], retry_failed=True)
        attempts = read_attempts(plan.runs[0].paths)
        assert [record.event for record in attempts] == ["started", "ended"] * 3 + ["reset"]
        assert sweep.run(0).state == "failed"

    @pytest.mark.parametrize("renames", [1, 2])
    def test_a_kill_between_the_renames_loses_nothing(self, sweep, monkeypatch, renames):
        sweep.leave_set_aside(0, RunState.SUCCEEDED)
        sweep.leave("s0_lr1e-6", OTHER, RunState.SUCCEEDED)
        rename, done = Path.rename, []

        def killed_after(path, target):
            if len(done) == renames:
                raise KeyboardInterrupt
            done.append(target)
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", killed_after)
        sweep.leave_set_aside(1, RunState.SUCCEEDED)
        with pytest.raises(KeyboardInterrupt):
            ready(sweep.plan())
        monkeypatch.undo()
        assert [run.state for run in sweep.plan().runs] == ["succeeded", "succeeded", "new", "new"]
        ready(sweep.plan())
        plan = sweep.plan()
        assert [run.comes_back for run in plan.runs] == [None] * 4
        assert sorted(sweep.held().values()) == sorted([OTHER, plan.runs[0].run_id, plan.runs[1].run_id])

    def test_what_was_set_aside_by_force_and_a_kill_comes_back(self, sweep, monkeypatch):
        sweep.leave_run(0, RunState.SUCCEEDED)
        plan = sweep.plan(only="Exp1")

        def killed(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(preparing, "write_config", killed)
        with pytest.raises(KeyboardInterrupt):
            ready(plan, plan.runs[:1], force=True)
        assert sweep.run(0).state == "succeeded"


class TestRunning:
    @pytest.fixture
    def steps(self, fake_sweep):
        """Sets max_steps in the spec."""

        def set_steps(number: int) -> None:
            text = fake_sweep.spec.read_text().splitlines()
            text[2] = f"base: {{max_steps: {number}, completions_per_prompt: 2}}"
            fake_sweep.spec.write_text("\n".join(text) + "\n")

        return set_steps

    def test_trying_something_and_going_back_trains_nothing_twice(self, fake_sweep, steps):
        assert fake_sweep.run(evaluate=False) == 0
        steps(6)
        assert fake_sweep.run(evaluate=False, only="Exp3") == 0
        calls = fake_sweep.calls()
        steps(4)
        assert fake_sweep.run(evaluate=False) == 0
        steps(6)
        assert fake_sweep.run(evaluate=False, only="Exp3") == 0
        assert fake_sweep.calls() == calls == ["s0", "s1", "s2", "s3", "s4", "s2"]
        status = json.loads((fake_sweep.root / "s2" / "status.json").read_text())
        assert (status["state"], status["max_steps"]) == ("succeeded", 6)

    def test_what_stays_set_aside_is_not_evaluated(self, fake_sweep, steps):
        assert fake_sweep.run(evaluate=False, only="Exp1,Exp3") == 0
        steps(6)
        assert fake_sweep.run(evaluate=False, only="Exp3") == 0
        steps(4)
        assert fake_sweep.run(only="Exp1") == 0
        listed = json.loads((fake_sweep.root / "evaluation.json").read_text())
        assert "/s0/" in json.dumps(listed)
        assert "/s2/" not in json.dumps(listed)
