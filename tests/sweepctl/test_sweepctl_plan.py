"""The plan beside what is on disk: states, what makes a finished run out of date, orphans."""

import json
import os
import time
from pathlib import Path

import pytest
from factories.planned_sweep import NAMES, SPEC, PlannedSweep, fail

from sweepctl.attempts import append_attempt
from sweepctl.provenance import code_id, environment_id
from trainer.errors import ConfigError
from trainer.records import RunState

NO_PROCESS = 2**22 + 1
"""Above the highest pid there can be."""


@pytest.fixture
def sweep(tmp_path):
    return PlannedSweep(tmp_path)


class TestStates:
    def test_nothing_is_there(self, sweep):
        plan = sweep.plan()
        assert [(run.label, run.name, run.state) for run in plan.runs] == [
            (f"Exp{number}", name, "new") for number, name in enumerate(NAMES, start=1)
        ]
        assert not sweep.root.exists()

    @pytest.mark.parametrize(
        ("state", "attempt", "expected"),
        [
            (RunState.SUCCEEDED, 1, "succeeded"),
            (RunState.FAILED, 1, "failed"),
            (RunState.INTERRUPTED, 1, "interrupted"),
            (RunState.PENDING, 0, "new"),
            (RunState.SKIPPED, 0, "new"),
            (RunState.PENDING, 1, "interrupted"),
            (RunState.SKIPPED, 2, "interrupted"),
        ],
    )
    def test_by_its_status(self, sweep, state, attempt, expected):
        sweep.leave_run(0, state, attempt=attempt)
        assert [run.state for run in sweep.plan().runs] == [expected, "new", "new", "new"]

    def test_running_while_its_process_lives(self, sweep):
        sweep.leave_run(0, RunState.RUNNING, pid=os.getpid())
        sweep.leave_run(1, RunState.RUNNING, pid=NO_PROCESS)
        sweep.leave_run(2, RunState.RUNNING, heartbeat=time.time())
        assert [run.state for run in sweep.plan().runs] == ["running", "interrupted", "running", "new"]

    def test_a_directory_without_a_status_is_new(self, sweep):
        sweep.leave_run(0)
        run = sweep.run(0)
        assert (run.state, run.other_run) == ("new", None)

    def test_a_status_that_is_none_is_said(self, sweep):
        sweep.leave_run(0).status.write_text("{")
        with pytest.raises(ConfigError, match=r"status\.json: not a run's status"):
            sweep.plan()

    def test_an_infeasible_point_has_no_run(self, sweep):
        sweep.write(SPEC + "zip: [{prompts_per_optim_step: [8], prompts_per_rollout_sync: [16]}]\n")
        run = sweep.run(0)
        assert (run.state, run.run_id, run.label) == ("infeasible", "", None)
        assert "2 - 1 = 1 > 0" in run.summary()["reason"]

    def test_refreshed_sees_what_has_changed_and_keeps_the_selection(self, sweep):
        plan = sweep.plan(only="Exp1,Exp2")
        sweep.leave_run(0, RunState.SUCCEEDED)
        sweep.leave_run(2, RunState.FAILED)
        fresh = plan.refreshed()
        assert [run.state for run in fresh.runs] == ["succeeded", "new", "failed", "new"]
        assert [run.selected for run in fresh.runs] == [True, True, False, False]
        assert fresh.notes == plan.notes


class TestHowOftenItWasBegun:
    def test_an_attempt_that_ended_before_its_trainer_could_say_a_word_counts(self, sweep):
        fail(sweep.leave_run(0, RunState.FAILED, attempt=1), times=3)
        assert sweep.run(0).summary()["attempts"] == 3

    def test_what_a_trainer_counted_itself_counts(self, sweep):
        append_attempt(sweep.leave_run(0, RunState.INTERRUPTED, attempt=2), "started")
        assert sweep.run(0).summary()["attempts"] == 2

    def test_a_new_count_of_failures_is_none_of_attempts(self, sweep):
        paths = sweep.leave_run(0, RunState.FAILED)
        fail(paths, times=2)
        append_attempt(paths, "reset")
        found = sweep.run(0).summary()
        assert (found["attempts"], found["failures_in_a_row"]) == (2, 0)


class TestWhatMakesARunOutOfDate:
    def test_another_configuration_is_another_run(self, sweep):
        paths = sweep.leave_run(0, RunState.SUCCEEDED)
        before = json.loads(paths.config.read_text())["run_id"]
        run = sweep.plan("max_steps=41").runs[0]
        assert (run.state, run.other_run, run.in_the_way) == ("new", before, before)
        assert run.status is None

    @pytest.mark.parametrize(
        "more",
        [
            "resources: {concurrency: 2}",
            "tags: [pilot]",
            "retry: {max_attempts: 9}",
            "timeout: {run: 2h, idle: 5m}",
            "eval: {num_fewshot: [0, 4], limit: 9}",
            "mirrors: [tensorboard]",
            "stop_after_consecutive_failures: 1",
        ],
    )
    def test_how_it_is_run_is_no_part_of_it(self, sweep, more):
        sweep.leave_run(0, RunState.SUCCEEDED)
        sweep.write(SPEC + more + "\n")
        assert sweep.run(0).state == "succeeded"

    def test_what_a_local_file_holds_is_part_of_it(self, sweep, tmp_path):
        data = tmp_path / "problems.jsonl"
        rows = [json.dumps({"question": "1 + 1?", "answer": answer}) + "\n" for answer in ("2", "#### 2")]
        data.write_text(rows[0])
        sweep.write(SPEC.replace("base: {", f"base: {{task: {{name: dataset, path: {data}}}, "))
        sweep.leave_run(0, RunState.SUCCEEDED)
        run = sweep.run(0)
        assert (run.state, set(run.inputs)) == ("succeeded", {"task.path"})
        moved = tmp_path / "elsewhere.jsonl"
        moved.write_text(rows[0])
        sweep.write(sweep.spec.read_text().replace(str(data), str(moved)))
        assert sweep.run(0).state == "succeeded", "where it lies does not count"
        moved.write_text(rows[1])
        assert (sweep.run(0).state, sweep.run(0).other_run) == ("new", run.run_id)

    def test_two_files_of_the_same_content_are_one_run(self, sweep, tmp_path):
        files = [tmp_path / name for name in ("one.jsonl", "two.jsonl")]
        for file in files:
            file.write_text(json.dumps({"question": "1 + 1?", "answer": "2"}) + "\n")
        sweep.write(
            "{version: 1, name: planned, base: {task: dataset}, run_name: '{task.path}', "
            f"parameters: {{task.path: ['{files[0]}', '{files[1]}']}}}}"
        )
        plan = sweep.plan()
        assert [run.config.task.path for run in plan.runs] == [str(files[0])]
        assert plan.notes[-1].endswith(
            "two.jsonl trains on the same files as " + plan.runs[0].name + " and is run once"
        )

    def test_other_code_and_another_environment_are_said(self, sweep):
        sweep.leave_finished(0, "0" * 12, environment_id())
        sweep.leave_finished(1, "0" * 12, "0" * 12)
        sweep.leave_finished(2, code_id(), environment_id())
        sweep.leave_finished(3, "0" * 12, None)
        plan = sweep.plan()
        assert [run.stale for run in plan.runs] == [("code",), ("code", "env"), (), ("code",)]
        assert {run.state for run in plan.runs} == {"succeeded"}
        assert plan.notes == (
            "3 finished runs come from other code: Exp1-Exp2, Exp4; `--rerun-on code` runs them again",
            "1 finished run comes from another environment: Exp2; `--rerun-on env` runs it again",
        )

    def test_rerun_on_makes_them_outdated(self, sweep):
        sweep.leave_finished(0, "0" * 12, environment_id())
        sweep.leave_finished(1, code_id(), "0" * 12)
        for rerun_on, expected in [
            ({"code"}, ["outdated", "succeeded"]),
            ({"env"}, ["succeeded", "outdated"]),
            ({"code", "env"}, ["outdated", "outdated"]),
        ]:
            plan = sweep.plan(rerun_on=frozenset(rerun_on))
            assert [run.state for run in plan.runs[:2]] == expected
            assert plan.refreshed() == plan
        assert [run.in_the_way for run in plan.runs] == [plan.runs[0].run_id, plan.runs[1].run_id, None, None]

    def test_of_runs_that_are_not_selected_nothing_is_said(self, sweep):
        sweep.leave_finished(0, "0" * 12, environment_id())
        assert sweep.plan(only="Exp2").notes == ("1 of 4 runs selected by --only Exp2",)

    def test_the_last_attempt_counts(self, sweep):
        sweep.leave_finished(0, "0" * 12, environment_id())
        append_attempt(sweep.plan().runs[0].paths, "started", code=code_id(), environment=environment_id())
        assert sweep.run(0).stale == ()

    def test_without_a_record_nothing_is_known(self, sweep):
        sweep.leave_run(0, RunState.SUCCEEDED)
        assert sweep.run(0, rerun_on=frozenset({"code", "env"})).state == "succeeded"

    def test_only_finished_runs_are_stale(self, sweep):
        append_attempt(sweep.leave_run(0, RunState.INTERRUPTED), "started", code="0" * 12)
        run = sweep.run(0, rerun_on=frozenset({"code"}))
        assert (run.state, run.stale) == ("interrupted", ())


class TestOrphans:
    def test_run_directories_that_no_planned_run_has(self, sweep):
        sweep.leave("old", "a" * 12, RunState.INTERRUPTED, step=12)
        sweep.leave("second", sweep.plan().runs[0].run_id, RunState.SUCCEEDED, step=40)
        sweep.leave("s0_lr1e-6.set-aside-20261123-101500", "b" * 12, RunState.SUCCEEDED)
        sweep.leave("base_models", "c" * 12)
        sweep.leave("bare", "d" * 12).status.write_text("{")
        (sweep.root / "notes").mkdir()
        (sweep.root / "notes" / "config.json").write_text("{}")
        (sweep.root / "engine.log").write_text("")
        sweep.leave_run(0, RunState.INTERRUPTED)
        sweep.leave_run(1, RunState.SUCCEEDED)
        before = {path: path.read_bytes() for path in sweep.root.rglob("*") if path.is_file()}
        plan = sweep.plan()
        keys = ("directory", "run_id", "state", "step", "max_steps", "same_as")
        assert [orphan.summary() for orphan in plan.orphaned] == [
            dict(zip(keys, values, strict=True))
            for values in (
                ("bare", "d" * 12, "unknown", None, None, None),
                ("old", "a" * 12, "interrupted", 12, 40, None),
                ("second", plan.runs[0].run_id, "succeeded", 40, 40, "s0_lr1e-6"),
            )
        ]
        assert {path: path.read_bytes() for path in sweep.root.rglob("*") if path.is_file()} == before


def test_as_json(sweep):
    sweep.leave_finished(0, "0" * 12, environment_id())
    plan = sweep.plan(only="Exp1", rerun_on=frozenset({"code"}))
    found = json.loads(json.dumps(plan.summary()))
    assert {key: found[key] for key in ("overrides", "only", "rerun_on", "varied", "run_would")} == {
        "overrides": [],
        "only": "Exp1",
        "rerun_on": ["code"],
        "varied": ["max_staleness", "optim.lr"],
        "run_would": {"train": 1, "go_on": 0, "retry": 0, "done": 0, "waiting": 0, "running": 0},
    }
    assert found["runs"][0] == {
        "label": "Exp1",
        "run_name": "s0_lr1e-6",
        "run_id": plan.runs[0].run_id,
        "selected": True,
        "state": "outdated",
        "reason": None,
        "stale": ["code"],
        "tags": [],
        "max_staleness": 0,
        "prompts_per_optim_step": 16,
        "prompts_per_rollout_sync": 16,
        "sync_interval_steps": 1,
        "worst_case_age": 0,
        "max_steps": 40,
        "seed": 0,
        "step": 40,
        "attempts": 1,
        "failures_in_a_row": 0,
        "other_run": None,
        "sets_aside": plan.runs[0].run_id,
        "comes_back": None,
        "values": {"max_staleness": 0, "optim.lr": 1e-6},
    }
    assert [run["selected"] for run in found["runs"]] == [True, False, False, False]


def test_the_documentation_has_every_key_of_the_json(sweep):
    sweep.leave("old", "a" * 12, RunState.SUCCEEDED)
    found = sweep.plan().summary()
    documented = (Path(__file__).parents[2] / "docs" / "plan.md").read_text().partition("## `--json`")[2]
    keys = {*found, *found["runs"][0], *found["orphaned"][0], *found["run_would"]}
    assert {key for key in keys if f"`{key}`" not in documented} == set()
