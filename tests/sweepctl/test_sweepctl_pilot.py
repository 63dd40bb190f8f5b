"""A pilot: which arm, how many steps, a sweep of its own that is run like any other and is no default."""

import json
import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest
from fake_sweep import RecordingDisplay

from results.ingest import ingest
from results.report.build import build_report
from results.store import Store
from results.tables.sweeps import sweeps_table
from sweepctl.cli.completion import complete_run, complete_sweep
from sweepctl.errors import SweepLockedError
from sweepctl.plan.plan import load_plan
from sweepctl.planner.pilot import chosen_arm, pilot, pilot_plan, pilot_steps
from sweepctl.running.engine import EngineKind
from sweepctl.running.lock import sweep_lock
from sweepctl.running.slots import Share
from sweepctl.watching.status import find_sweep, locate_run, sweep_status
from trainer.config import RunConfig, RunFile
from trainer.errors import EngineError, TrainingError
from trainer.paths import SweepPaths

SPEC = """\
version: 1
name: fake
base:
  max_steps: 40
  completions_per_prompt: 2
  checkpoint.every_steps: 4
  held_out.every_steps: 4
parameters:
  prompts_per_optim_step: [8, 16]
  max_staleness: [1, 0]
run_name: "B{prompts_per_optim_step}_s{max_staleness}"
reference: {max_staleness: 0, prompts_per_optim_step: 16}
eval: {num_fewshot: [0, 4]}
mirrors: [tensorboard]
retry: {max_attempts: 3}
"""
ARM = "B16_s0"


@pytest.fixture
def sweep(fake_sweep):
    fake_sweep.spec.write_text(SPEC)
    return fake_sweep


def plan_of(sweep, **options):
    return load_plan(sweep.spec, "auto", options.pop("overrides", []), sweep.runs_dir, **options)


def run_pilot(sweep, *, devices=("0", "1"), steps=6, **options):
    sweep.display = RecordingDisplay()
    return pilot(
        plan_of(sweep, **options),
        sweep.runs_dir,
        share=Share("core", devices, len(devices), None),
        steps=steps,
        display=sweep.display,
        executor=sweep.executor,
        engines=EngineKind(lambda: sweep.vllm, sweep._start),
    )


def run_file(sweep, name="fake@pilot", run=ARM):
    return RunFile.model_validate_json((sweep.runs_dir / name / run / "config.json").read_bytes())


def manifest_of(sweep):
    return json.loads((sweep.runs_dir / "fake@pilot" / "sweep.json").read_text())


class TestTheArm:
    def arm(self, sweep, parameters, **options):
        head, _, tail = SPEC.partition("parameters:\n")
        rest = tail[tail.index("run_name") :].partition("\n")[2].partition("\n")[2]
        sweep.spec.write_text(f"{head}parameters:\n{parameters}{rest}")
        return chosen_arm(plan_of(sweep, **options)).name

    def test_a_synchronous_one_of_the_largest_batches(self, sweep):
        assert chosen_arm(plan_of(sweep)).name == ARM

    def test_the_batch_comes_before_synchrony(self, sweep):
        zipped = "  max_staleness: [2]\nzip: [{prompts_per_optim_step: [8, 32], optim.lr: [1e-6, 2e-6]}]\n"
        assert "32" in self.arm(sweep, zipped)
        assert chosen_arm(plan_of(sweep)).config.max_staleness == 2

    def test_the_first_among_equals(self, sweep):
        assert self.arm(sweep, "  optim.lr: [3e-6, 1e-6, 2e-6]\n") == "lr3e-6"

    def test_what_may_not_wait_for_the_learner_is_not_synchronous(self, sweep):
        policies = "  staleness_policy: [evict_requeue, admission]\n"
        assert self.arm(sweep, policies) == "staleness_policyadmission"

    def test_only_of_what_is_selected_and_feasible(self, sweep):
        assert chosen_arm(plan_of(sweep, only="max_staleness == 1")).name == "B16_s1"
        infeasible = "  prompts_per_rollout_sync: [16, 64]\n  prompts_per_optim_step: [16, 8]\n"
        assert self.arm(sweep, infeasible) == "prompts_per_rollout_sync16_prompts_per_optim_step16"


@pytest.mark.parametrize(
    ("settings", "asked", "steps"),
    [
        ({}, 6, 6),
        ({}, 9, 9),
        ({"max_steps": 4}, 6, 4),
        ({"max_staleness": 7, "prompts_per_rollout_sync": 128}, 6, 8),  # a whole sync cycle
        ({"max_staleness": 7, "prompts_per_rollout_sync": 128, "max_steps": 5}, 6, 5),
        ({"prompts_per_optim_step": 1}, 6, 16),  # costs need 16 groups
        ({}, 1, 2),  # and two steps
    ],
)
def test_the_number_of_steps(settings, asked, steps):
    assert pilot_steps(RunConfig(**settings), asked) == steps


class TestItsPlan:
    def test_it_is_its_arm_but_short_and_keeps_little(self, sweep):
        arm = chosen_arm(plan_of(sweep)).config
        (run,) = pilot_plan(plan_of(sweep)).runs
        changed = {
            "max_steps": 6,
            "checkpoint": arm.checkpoint.model_copy(update={"every_steps": None}),
            "rollouts": arm.rollouts.model_copy(update={"keep": 0.0}),
        }
        assert run.config == arm.model_copy(update=changed)
        assert run.config.held_out.every_steps == 4  # what an evaluation takes is to be known too
        assert run.run_id == run.config.run_id()

    def test_overrides_of_the_sweep_hold(self, sweep):
        (run,) = pilot_plan(plan_of(sweep, overrides=["optim.lr=5e-6", "seed=3"])).runs
        assert (run.config.optim.lr, run.config.seed) == (5e-6, 3)

    def test_local_files_keep_their_fingerprints(self, sweep, tmp_path):
        problems = tmp_path / "problems.jsonl"
        problems.write_text('{"question": "1 + 1?", "answer": "2"}\n')
        text = SPEC.replace("base:", f"base:\n  task: {{name: dataset, path: {problems}}}")
        sweep.spec.write_text(text.replace("eval: {num_fewshot: [0, 4]}\n", ""))
        arm = chosen_arm(plan_of(sweep))
        (run,) = pilot_plan(plan_of(sweep)).runs
        assert arm.inputs
        assert run.inputs == arm.inputs
        assert run.run_id == run.config.run_id(arm.inputs)


class TestRunning:
    def test_it_trains_one_arm_beside_the_sweep_and_evaluates_nothing(self, sweep):
        assert run_pilot(sweep) == ("fake@pilot", ARM)
        assert sweep.calls() == [ARM]
        assert not sweep.root.exists()
        file = run_file(sweep)
        assert (file.sweep, file.config.max_steps, file.resources.cores) == ("fake@pilot", 6, (1,))
        assert [server.stopped for server in sweep.servers] == [True]

    def test_its_manifest_says_what_it_is_and_how_to_have_it_again(self, sweep):
        run_pilot(sweep, steps=8, only="max_staleness == 0", overrides=["optim.lr=5e-6"])
        manifest = manifest_of(sweep)
        assert (manifest["name"], manifest["pilot_of"]) == ("fake@pilot", "fake")
        assert [run["run_name"] for run in manifest["runs"]] == [ARM]
        assert manifest["spec"]["eval"] is None
        assert manifest["spec"]["base"]["max_steps"] == 8
        command = ["sweepctl", "plan", str(sweep.spec), "--set", "optim.lr=5e-6"]
        command += ["--only", "max_staleness == 0", "--pilot", "--pilot-steps", "8"]
        assert manifest["command"] == command

    def test_a_sweep_is_no_pilot(self, sweep):
        sweep.spec.write_text(SPEC.replace("mirrors: [tensorboard]\n", ""))
        sweep.run()
        assert "pilot_of" not in json.loads((sweep.root / "sweep.json").read_text())

    def test_its_records_are_in_the_store(self, sweep):
        run_pilot(sweep)
        rows = Store(sweep.runs_dir).query("SELECT sweep, run_name, state, max_steps FROM runs")
        assert rows.to_numpy().tolist() == [["fake@pilot", ARM, "succeeded", 6]]

    def test_one_that_succeeded_is_taken_again(self, sweep):
        run_pilot(sweep)
        assert run_pilot(sweep) == ("fake@pilot", ARM)
        assert sweep.calls() == [ARM]
        assert len(sweep.servers) == 1

    def test_taking_it_again_waits_for_no_devices(self, sweep, monkeypatch):
        run_pilot(sweep)
        monkeypatch.setattr("sweepctl.running.runner.lease_devices", None)
        assert run_pilot(sweep) == ("fake@pilot", ARM)

    def test_that_it_is_there_is_said_in_one_line(self, sweep):
        run_pilot(sweep)
        run_pilot(sweep)
        where = sweep.runs_dir / "fake@pilot"
        assert sweep.display.said == [f"the pilot of fake is there: 6 steps of {ARM}, in {where}"]

    @pytest.mark.parametrize("damage", ["", "{"])
    def test_a_manifest_that_is_gone_or_damaged_is_written_again(self, sweep, damage):
        run_pilot(sweep)
        path = sweep.runs_dir / "fake@pilot" / "sweep.json"
        path.write_text(damage) if damage else path.unlink()
        assert run_pilot(sweep) == ("fake@pilot", ARM)
        assert [run["run_name"] for run in manifest_of(sweep)["runs"]] == [ARM]
        assert sweep.calls() == [ARM]

    def test_it_is_found_by_its_name_after_another_arms_pilot(self, sweep):
        """The manifest names the pilot that was asked for last."""
        run_pilot(sweep)
        run_pilot(sweep, only="max_staleness == 1")
        assert run_pilot(sweep) == ("fake@pilot", ARM)
        assert locate_run(sweep.runs_dir, f"fake@pilot/{ARM}").paths.config.exists()
        assert sweep.calls() == [ARM, "B16_s1"]

    def test_other_steps_are_another_pilot_and_the_first_comes_back(self, sweep):
        run_pilot(sweep)
        run_pilot(sweep, steps=8)
        assert run_file(sweep).config.max_steps == 8
        run_pilot(sweep)
        assert run_file(sweep).config.max_steps == 6
        assert sweep.calls() == [ARM, ARM]

    def test_what_other_devices_took_is_measured_again(self, sweep):
        run_pilot(sweep, devices=("0",))
        run_pilot(sweep)
        assert any("ran on core 0, which is not what a run has now" in line for line in sweep.display.said)
        assert sweep.calls() == [ARM, ARM]
        run_pilot(sweep)
        assert sweep.calls() == [ARM, ARM]

    def test_what_another_machine_took_is_measured_again(self, sweep):
        run_pilot(sweep)
        attempts = sweep.runs_dir / "fake@pilot" / ARM / "attempts.jsonl"
        lines = [json.loads(line) for line in attempts.read_text().splitlines()]
        lines[0]["environment"] = "another"
        attempts.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        run_pilot(sweep)
        assert sweep.calls() == [ARM, ARM]

    def test_one_at_a_time(self, sweep):
        with (
            sweep_lock(SweepPaths(sweep.runs_dir / "fake@pilot"), print, lambda: None, 0.0),
            pytest.raises(SweepLockedError),
        ):
            run_pilot(sweep)

    def test_beside_the_sweep_itself(self, sweep):
        with sweep_lock(SweepPaths(sweep.root), print, lambda: None, 0.0):
            assert run_pilot(sweep) == ("fake@pilot", ARM)


class TestNotSucceeding:
    def test_a_failure_is_told_in_the_runs_own_words_and_tried_once(self, sweep):
        sweep.behave(**{ARM: "fail"})
        with pytest.raises(
            TrainingError, match=r"fake@pilot/B16_s0 .*: the loss is not finite; see .*train\.log"
        ):
            run_pilot(sweep)
        assert sweep.calls() == [ARM]

    def test_it_is_tried_again_when_it_is_asked_for_again(self, sweep):
        sweep.behave(**{ARM: "fail"})
        with pytest.raises(TrainingError):
            run_pilot(sweep)
        sweep.behave()
        assert run_pilot(sweep) == ("fake@pilot", ARM)

    def test_the_advice_is_a_command_that_there_is(self, sweep):
        sweep.behave(**{ARM: "fail"})
        with pytest.raises(TrainingError):
            run_pilot(sweep)
        command = f"sweepctl plan {sweep.spec} --pilot --runs-dir {sweep.runs_dir}"
        assert sweep.display.said[-1] == f"failed: {ARM}; once the cause is gone: {command}"

    def test_an_engine_that_does_not_start_is_told_with_its_log(self, sweep):
        def no_memory(model, **keywords):
            raise EngineError("no memory")

        sweep._start = no_memory
        with pytest.raises(TrainingError, match=r"did not start: no memory; see .*engine"):
            run_pilot(sweep)

    def test_the_end_of_the_engines_log_is_not_part_of_the_error(self, sweep):
        def broken(model, **keywords):
            keywords["log"].write_text("Traceback:\n  no memory\n")
            raise EngineError("it ended with exit code 1. Last lines of engine.log:\nTraceback:\n  no memory")

        sweep._start = broken
        with pytest.raises(TrainingError) as error:
            run_pilot(sweep)
        log = sweep.runs_dir / "fake@pilot" / "engine.log"
        assert str(error.value) == (
            f"the pilot fake@pilot/{ARM} did not succeed: the engine did not start: "
            f"it ended with exit code 1; see {log}"
        )
        assert "\n".join(sweep.display.said).count("no memory") == 1
        assert f"  log: {log}\n  | Traceback:\n  |   no memory" in sweep.display.said

    def test_ctrl_c_ends_it_and_the_same_call_goes_on(self, sweep):
        sweep.behave(**{ARM: "hang"})
        trace = sweep.runs_dir / "fake@pilot" / ARM / "trace.jsonl"

        def interrupt():
            deadline = time.monotonic() + 20
            while not (trace.exists() and trace.read_text().count("\n") >= 2):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            run_pilot(sweep)
        thread.join()
        assert any(line.startswith("interrupted; go on with: sweepctl plan ") for line in sweep.display.said)
        sweep.behave()
        assert run_pilot(sweep) == ("fake@pilot", ARM)
        steps = [json.loads(line)["step"] for line in trace.read_text().splitlines()]
        assert steps == list(range(6))


class TestTheNewestSweep:
    """A pilot that is newer than the sweep is nowhere taken for it where no name is given."""

    @pytest.fixture
    def both(self, sweep):
        sweep.spec.write_text(SPEC.replace("mirrors: [tensorboard]\n", ""))
        sweep.run(evaluate=False)
        run_pilot(sweep)
        newest = max(sweep.runs_dir.glob("*/sweep.json"), key=lambda path: path.stat().st_mtime)
        assert newest.parent.name == "fake@pilot"
        return sweep

    def test_of_the_files(self, both):
        assert find_sweep(both.runs_dir, None).name == "fake"
        assert sweep_status(both.runs_dir, None).other_sweeps == ["fake@pilot"]
        assert find_sweep(both.runs_dir, "fake@pilot").name == "fake@pilot"

    def test_of_runs_by_their_names(self, both):
        assert locate_run(both.runs_dir, ARM).sweep.name == "fake"
        assert locate_run(both.runs_dir, f"fake@pilot/{ARM}").sweep.name == "fake@pilot"

    def test_of_the_store(self, both):
        store = Store(both.runs_dir)
        ingest(both.runs_dir)
        assert list(store.sweeps()["sweep"]) == ["fake", "fake@pilot"]
        assert list(sweeps_table(store)["sweep"]) == ["fake", "fake@pilot"]
        assert build_report(store).sweep == "fake"

    def test_of_the_shell(self, both):
        context = SimpleNamespace(params={"runs_dir": both.runs_dir})
        assert [name for name, _ in complete_sweep(context, "")] == ["fake", "fake@pilot"]
        assert ("B8_s1", "Exp1") in complete_run(context, "")

    def test_where_there_are_only_pilots_one_is_taken(self, sweep):
        run_pilot(sweep)
        assert find_sweep(sweep.runs_dir, None).name == "fake@pilot"


def test_status_and_logs_know_it(sweep, cli):
    sweep.behave(**{ARM: "fail"})
    with pytest.raises(TrainingError):
        run_pilot(sweep)
    code, out, _ = cli("status", "fake@pilot", "--runs-dir", sweep.runs_dir, width="400")
    assert code == 0
    command = f"sweepctl plan {sweep.spec} --pilot --runs-dir {sweep.runs_dir}"
    assert f"once the cause is gone: {command}\n" in out
    code, out, _ = cli("logs", f"fake@pilot/{ARM}", "--runs-dir", sweep.runs_dir)
    assert (code, "RuntimeError: the loss is not finite" in out) == (0, True)
