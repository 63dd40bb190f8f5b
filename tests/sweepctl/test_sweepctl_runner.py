"""The runner against fake processes: order, resuming, failures, engine, evaluation, records."""

import json
import os
import threading
import time

import psutil
import pytest

from sweepctl.errors import SweepLockedError
from sweepctl.running import runner
from sweepctl.running.lock import sweep_lock
from trainer.config import RunFile
from trainer.errors import ConfigError, EngineError, SweepctlError
from trainer.evaluation_config import EvaluationFile
from trainer.paths import SweepPaths, slug

ALL = ["s0", "s1", "s2", "s3", "s4"]


def test_every_run_succeeds_then_is_evaluated_in_order(fake_sweep):
    assert fake_sweep.run() == 0
    assert fake_sweep.calls() == [*ALL, "evaluation"]
    assert [fake_sweep.state(name) for name in ALL] == ["succeeded"] * 5
    file = RunFile.model_validate_json((fake_sweep.root / "s1" / "config.json").read_bytes())
    assert file.sweep == "fake"
    assert file.run_id == file.config.run_id()
    assert file.resources.cores == (1,)


def test_one_engine_serves_all_runs_and_the_evaluation_and_is_ended(fake_sweep):
    fake_sweep.run()
    (server,) = fake_sweep.servers
    assert server.cores == (0,)
    assert server.stopped
    assert {record["engine"] for record in fake_sweep.call_records()} == {str(server.socket)}
    assert not server.socket.parent.exists()


def test_without_vllm_no_engine_is_started(fake_sweep):
    fake_sweep.vllm = False
    assert fake_sweep.run() == 0
    assert fake_sweep.servers == []
    assert {record["engine"] for record in fake_sweep.call_records()} == {None}


def test_transformers_needs_no_engine_though_vllm_is_there(fake_sweep):
    fake_sweep.spec.write_text(
        fake_sweep.spec.read_text().replace("base: {", "base: {engine.name: transformers, ")
    )
    fake_sweep.kind = "gpu"
    assert fake_sweep.run() == 0
    assert fake_sweep.servers == []
    config = json.loads((fake_sweep.root / "s0" / "config.json").read_text())
    assert config["resources"] == {"cores": [], "device": "cuda:0", "weight_transfer": "file"}


def test_vllm_asked_for_and_missing_is_said(fake_sweep):
    fake_sweep.spec.write_text(fake_sweep.spec.read_text().replace("base: {", "base: {engine.name: vllm, "))
    fake_sweep.vllm = False
    with pytest.raises(ConfigError, match="not installed"):
        fake_sweep.run()


def test_each_model_has_an_engine_of_its_own(fake_sweep):
    text = fake_sweep.spec.read_text().replace(
        "max_staleness: [0, 1, 2, 3, 4]", "model: [builtin:tiny, org/other]"
    )
    text = text.replace("s{max_staleness}", "{model}").replace("reference: {max_staleness: 0}\n", "")
    fake_sweep.spec.write_text(text)
    assert fake_sweep.run() == 0
    # Only one fits at a time, and evaluation begins with the one that is there.
    assert [server.model for server in fake_sweep.servers] == ["builtin:tiny", "org/other", "builtin:tiny"]
    assert fake_sweep.calls() == ["builtin_tiny", "org_other", "evaluation", "evaluation"]


def test_an_engine_that_died_is_replaced(fake_sweep):
    original = fake_sweep._start

    def start_and_die(model, **keywords):
        server = original(model, **keywords)
        if len(fake_sweep.servers) == 1:
            server.healthy = lambda: False
        return server

    fake_sweep._start = start_and_die
    assert fake_sweep.run() == 0
    assert len(fake_sweep.servers) == 2
    assert all(server.stopped for server in fake_sweep.servers)


def test_an_engine_that_does_not_start_fails_its_runs(fake_sweep):
    def refuse(model, **keywords):
        raise EngineError("no memory")

    fake_sweep._start = refuse
    assert fake_sweep.run() == 1
    assert fake_sweep.calls() == []
    assert [fake_sweep.state(name) for name in ALL] == ["failed"] * 5


def test_what_succeeded_is_not_run_again(fake_sweep):
    fake_sweep.run()
    before = len(fake_sweep.calls())
    assert fake_sweep.run() == 0
    assert len(fake_sweep.calls()) == before
    assert len(fake_sweep.servers) == 1  # not even an engine
    assert any("evaluations of builtin:tiny are there" in line for line in fake_sweep.display.said)


def test_a_lost_evaluation_is_made_again(fake_sweep):
    fake_sweep.run()
    next((fake_sweep.root / "s2" / "eval").rglob("*_4shot.json")).unlink()
    assert fake_sweep.run() == 0
    assert fake_sweep.calls()[-1] == "evaluation"
    assert len(fake_sweep.calls()) == 7


def test_other_evaluation_settings_are_evaluated_again(fake_sweep):
    fake_sweep.run()
    fake_sweep.spec.write_text(fake_sweep.spec.read_text().replace("[0, 4]", "[0, 4], limit: 7"))
    assert fake_sweep.run() == 0
    assert fake_sweep.calls() == [*ALL, "evaluation", "evaluation"]


def test_a_re_evaluation_that_failed_is_made_again(fake_sweep):
    first = fake_sweep.spec.read_text()
    second = first.replace("[0, 4]", "[0, 4], limit: 7")
    fake_sweep.run()
    fake_sweep.behave(evaluation="fail")
    fake_sweep.spec.write_text(second)
    assert fake_sweep.run() == 1
    fake_sweep.behave()
    assert fake_sweep.run() == 0
    assert fake_sweep.calls() == [*ALL, *["evaluation"] * 3]
    assert fake_sweep.run() == 0
    assert len(fake_sweep.calls()) == 8  # all are there


def test_the_earlier_settings_are_evaluated_again_after_others_were_begun(fake_sweep):
    first = fake_sweep.spec.read_text()
    fake_sweep.run()
    fake_sweep.behave(evaluation="fail")
    fake_sweep.spec.write_text(first.replace("[0, 4]", "[0, 4], limit: 7"))
    assert fake_sweep.run() == 1
    fake_sweep.behave()
    fake_sweep.spec.write_text(first)  # some results are now of the other settings
    assert fake_sweep.run() == 0
    assert fake_sweep.calls() == [*ALL, *["evaluation"] * 3]


def test_no_eval(fake_sweep):
    assert fake_sweep.run(evaluate=False) == 0
    assert fake_sweep.calls() == ALL


def test_evaluations_are_base_first_then_each_run_with_every_number_of_shots(fake_sweep):
    fake_sweep.run()
    file = EvaluationFile.model_validate_json((fake_sweep.root / "evaluation.json").read_bytes())
    assert [(each.label, each.num_fewshot) for each in file.evaluations] == [
        (label, shots) for label in ["base", *ALL] for shots in (0, 4)
    ]
    assert {each.task for each in file.evaluations} == {"arithmetic_cot"}
    assert file.evaluations[0].model == "builtin:tiny"
    assert file.evaluations[0].output == str(
        fake_sweep.root / "base_models" / "builtin_tiny" / "arithmetic_cot_0shot.json"
    )
    assert file.evaluations[2].model == str(fake_sweep.root / "s0" / "checkpoints" / "step_000004")
    assert file.evaluations[2].output == str(
        fake_sweep.root / "s0" / "eval" / "step_000004" / "arithmetic_cot_0shot.json"
    )


def test_the_base_model_is_evaluated_over_each_kind_of_engine_by_itself(fake_sweep):
    text = fake_sweep.spec.read_text().replace(
        "max_staleness: [0, 1, 2, 3, 4]", "engine.max_model_len: [512, 256]"
    )
    text = text.replace("s{max_staleness}", "len{engine.max_model_len}").replace(
        "reference: {max_staleness: 0}\n", ""
    )
    fake_sweep.spec.write_text(text)
    assert fake_sweep.run() == 0
    first, other = sorted(path.name for path in (fake_sweep.root / "base_models").iterdir())
    assert first == "builtin_tiny"
    assert other.startswith("builtin_tiny__auto-bfloat16-256-")
    manifest = json.loads((fake_sweep.root / "sweep.json").read_text())
    assert [slug(run["base_name"]) for run in manifest["runs"]] == ["builtin_tiny", other]
    assert fake_sweep.calls().count("evaluation") == 2
    assert fake_sweep.run() == 0
    assert fake_sweep.calls().count("evaluation") == 2


def test_a_failure_is_told_with_its_log_and_the_rest_goes_on(fake_sweep):
    fake_sweep.behave(s1="fail")
    assert fake_sweep.run() == 1
    assert fake_sweep.calls() == [*ALL, "evaluation"]
    said = "\n".join(fake_sweep.display.said)
    assert "Exp2 s1 failed: the loss is not finite" in said
    assert str(fake_sweep.root / "s1" / "train.log") in said
    assert "RuntimeError: the loss is not finite" in said
    labels = {
        each.label
        for each in EvaluationFile.model_validate_json(
            (fake_sweep.root / "evaluation.json").read_bytes()
        ).evaluations
    }
    assert "s1" not in labels


def test_what_failed_is_run_again_only_when_asked(fake_sweep):
    fake_sweep.behave(s1="fail")
    fake_sweep.run()
    fake_sweep.behave()
    assert fake_sweep.run() == 1
    assert fake_sweep.calls().count("s1") == 1
    assert fake_sweep.run(retry_failed=True) == 0
    assert fake_sweep.calls().count("s1") == 2
    assert fake_sweep.calls().count("s0") == 1


def test_a_trainer_without_a_word_does_not_inherit_that_of_an_earlier_attempt(fake_sweep):
    fake_sweep.behave(s1="fail")
    fake_sweep.run(evaluate=False)
    fake_sweep.behave(s1="stillborn")
    assert fake_sweep.run(evaluate=False, retry_failed=True) == 1
    status = json.loads((fake_sweep.root / "s1" / "status.json").read_text())
    assert status["reason"] == "its process ended with exit code 1 and no word of success"
    assert (status["state"], status["attempt"], status["step"]) == ("failed", 1, 0)


def test_nothing_is_ingested_while_directories_are_renamed(fake_sweep, monkeypatch):
    ingesting = []

    def prepare(*arguments, **options):
        ingesting.append(any(thread.name == "ingest" for thread in threading.enumerate()))
        original(*arguments, **options)

    original = runner.prepare
    monkeypatch.setattr(runner, "prepare", prepare)
    assert fake_sweep.run(evaluate=False) == 0
    assert ingesting == [False]


def test_force_runs_all_again_and_keeps_the_old(fake_sweep):
    fake_sweep.run(evaluate=False)
    assert fake_sweep.run(force=True, evaluate=False) == 0
    assert fake_sweep.calls() == ALL + ALL
    assert len(list(fake_sweep.root.glob("s0.set-aside-*"))) == 1


@pytest.mark.parametrize(("kind", "engines"), [("core", 1), ("gpu", 2)])
def test_after_a_run_that_did_not_succeed_an_engine_on_a_gpu_is_replaced(fake_sweep, kind, engines):
    """Such a run may have left it amid a sync, which on a GPU nobody can end."""
    fake_sweep.kind = kind
    fake_sweep.behave(s0="fail")
    assert fake_sweep.run() == 1
    assert fake_sweep.state("s0") == "failed"
    assert len(fake_sweep.servers) == engines
    way = {"core": "file", "gpu": "nccl"}[kind]
    assert {server.weight_transfer for server in fake_sweep.servers} == {way}
    config = json.loads((fake_sweep.root / "s1" / "config.json").read_text())
    assert config["resources"]["weight_transfer"] == way


def test_a_directory_of_another_run_is_set_aside(fake_sweep):
    fake_sweep.run(evaluate=False)
    fake_sweep.spec.write_text(fake_sweep.spec.read_text().replace("max_steps: 4", "max_steps: 5"))
    assert fake_sweep.run(evaluate=False) == 0
    (kept,) = fake_sweep.root.glob("s0.set-aside-*")
    assert json.loads((kept / "status.json").read_text())["max_steps"] == 4
    assert json.loads((fake_sweep.root / "s0" / "status.json").read_text())["max_steps"] == 5


def test_a_process_that_vanishes_is_interrupted_and_run_again(fake_sweep):
    fake_sweep.behave(s2="vanish")
    assert fake_sweep.run(evaluate=False) == 1
    assert fake_sweep.state("s2") == "interrupted"
    assert any("ended by signal 9" in line for line in fake_sweep.display.said)
    fake_sweep.behave()
    assert fake_sweep.run(evaluate=False) == 0
    assert fake_sweep.calls() == [*ALL, "s2"]


def test_the_rest_is_skipped_after_failures_in_a_row(fake_sweep):
    fake_sweep.spec.write_text(fake_sweep.spec.read_text() + "stop_after_consecutive_failures: 2\n")
    fake_sweep.behave(s0="fail", s2="fail", s3="fail")
    assert fake_sweep.run(evaluate=False) == 1
    assert fake_sweep.calls() == ["s0", "s1", "s2", "s3"]
    assert fake_sweep.state("s4") == "skipped"
    fake_sweep.behave()
    assert fake_sweep.run(evaluate=False, retry_failed=True) == 0


def test_a_run_that_takes_too_long_fails(fake_sweep):
    fake_sweep.spec.write_text(fake_sweep.spec.read_text() + "timeout: {run: 1s}\n")
    fake_sweep.behave(s0="hang")
    assert fake_sweep.run(evaluate=False) == 1
    assert fake_sweep.state("s0") == "failed"
    assert any("longer than timeout.run = 1s" in line for line in fake_sweep.display.said)
    assert fake_sweep.state("s1") == "succeeded"


def test_the_manifest_says_what_was_meant(fake_sweep):
    fake_sweep.run()
    manifest = json.loads((fake_sweep.root / "sweep.json").read_text())
    assert manifest["version"] == 1
    assert manifest["name"] == "fake"
    assert manifest["baseline"] == "synchronous"
    assert manifest["reference"] == {"max_staleness": 0}
    assert manifest["base_models"] == ["builtin:tiny"]
    assert [run["label"] for run in manifest["runs"]] == ["Exp1", "Exp2", "Exp3", "Exp4", "Exp5"]
    assert manifest["runs"][3]["config"]["max_staleness"] == 3
    assert {"python", "packages", "cores", "cpu"} <= set(manifest["environment"])
    assert {"commit", "dirty"} <= set(manifest["git"])


def test_timings_are_kept_for_every_invocation(fake_sweep):
    fake_sweep.behave(s4="fail")
    fake_sweep.run()
    fake_sweep.behave()
    fake_sweep.run(retry_failed=True)
    first, second = json.loads((fake_sweep.root / "timings.json").read_text())["invocations"]
    assert [run["run_name"] for run in first["runs"]] == ALL
    assert [(run["run_name"], run["state"]) for run in second["runs"]] == [("s4", "succeeded")]
    assert len(first["engine_starts_s"]) == 1
    assert first["evaluation_s"] > 0


def locked(sweep):
    return sweep_lock(SweepPaths(sweep.root), print, lambda: None, 0.0)


def test_a_sweep_that_is_being_run_says_by_whom(fake_sweep):
    held = rf"by process {os.getpid()} since \d{{4}}-.*sweepctl stop fake"
    with locked(fake_sweep), pytest.raises(SweepLockedError, match=held):
        fake_sweep.run()
    assert fake_sweep.run(evaluate=False) == 0


def test_a_trainer_that_still_lives_is_left_alone(fake_sweep):
    fake_sweep.run(evaluate=False)
    status = fake_sweep.root / "s3" / "status.json"
    alive = json.loads(status.read_text()) | {
        "state": "running",
        "pid": os.getpid(),
        "pid_started": psutil.Process().create_time(),
    }
    status.write_text(json.dumps(alive))
    with pytest.raises(SweepctlError, match=f"process {os.getpid()} is training s3"):
        fake_sweep.run()
    # The same pid, but of a process that began at another time: a number given away again.
    status.write_text(json.dumps(alive | {"pid_started": time.time() - 1e6}))
    assert fake_sweep.run(evaluate=False) == 0
    assert fake_sweep.calls()[-1] == "s3"


def test_a_failing_ingest_is_said_once_and_stops_nothing(fake_sweep, monkeypatch):
    from sweepctl.running.ingesting import BackgroundIngest

    said = []

    def broken():
        raise OSError("disk full")

    with BackgroundIngest(broken, said.append) as ingest:
        ingest.soon()
        time.sleep(0.2)
    assert said == ["the store is not up to date (disk full); later: sweepctl ingest"]
