"""`python -m trainer` as its users start it: whole runs over both engines, interrupted and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file
from trainer_factory import lines
from transformers import AutoModelForCausalLM

from trainer.config import RunConfig, RunFile
from trainer.conservation import violations
from trainer.paths import RunPaths
from trainer.records import RolloutGroup, RunState, RunStatus, TraceRecord

RECORD = TypeAdapter(TraceRecord)
GSM8K = Path(__file__).parents[3] / "shared" / "gsm8k"
DEADLINE_S = 120
TWO_STEPS_A_SYNC = {"max_staleness": 1, "prompts_per_rollout_sync": 4}


@dataclass
class Run:
    """A run's folder, and the command that trains it."""

    root: Path
    config: RunConfig
    engine: Path | None = None

    @property
    def paths(self):
        return RunPaths(self.root)

    @property
    def command(self):
        arguments = ["--config", str(self.paths.config)]
        if self.engine:
            arguments += ["--engine", str(self.engine)]
        return [sys.executable, "-m", "trainer", *arguments]

    def start(self):
        with self.paths.log.open("ab") as log:
            return subprocess.Popen(
                self.command, cwd=self.root, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def train(self):
        """Run to its end; returns the exit code."""
        process = self.start()
        try:
            return process.wait(DEADLINE_S)
        finally:
            end(process)

    def status(self):
        return RunStatus.model_validate_json(self.paths.status.read_bytes())

    def records(self):
        return [RECORD.validate_json(line) for line in self.paths.trace.read_bytes().splitlines()]


def end(process):
    """End a run, whatever state it is in, and see to it that nothing of it is left."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    if process.poll() is None:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


@pytest.fixture
def make_run(tmp_path, config):
    def make(engine=None, *, engine_settings=None, root=tmp_path, **fields):
        engine_settings = engine_settings or {"name": "vllm" if engine else "transformers"}
        settings = config(engine=engine_settings, **fields)
        file = RunFile.model_validate(
            {
                "sweep": "tests",
                "run_name": "run",
                "run_id": settings.run_id(),
                "config": settings,
                "resources": {"cores": [1]},
            }
        )
        run = Run(root, settings, engine)
        run.paths.config.write_text(file.model_dump_json())
        return run

    return make


@pytest.fixture(params=["transformers", "vllm"])
def engine_socket(request):
    """None for the transformers engine, which a run starts itself; else the shared server's socket."""
    return request.getfixturevalue("vllm_server").socket if request.param == "vllm" else None


def wait_for_steps(run, process, count):
    deadline = time.monotonic() + DEADLINE_S
    while not run.paths.trace.exists() or len(lines(run.paths.trace, "step")) < count:
        assert process.poll() is None, run.paths.log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def check_texts(text, groups, steps):
    """Groups kept whole, as all are here, say what trace and steps say of them."""
    assert {t.group for t in text} == {g.group for g in groups if g.fate in ("trained", "filtered")}
    for kept in text:
        right = [f"#### {kept.answer[-1]}" == completion.text.strip() for completion in kept.completions]
        assert sum(right) <= sum(completion.reward for completion in kept.completions)
        assert any(right) or kept.fate == "filtered"
        for completion in kept.completions:
            assert len(completion.tokens) == len(completion.token_ids)
            assert "".join(completion.tokens).startswith(completion.text)
    for step in steps:
        trained = [c for t in text if t.step == step.step for c in t.completions]
        ours = np.concatenate([c.learner_logprobs for c in trained])
        theirs = np.concatenate([c.generator_logprobs for c in trained])
        assert np.abs(ours - theirs).mean() == pytest.approx(step.logprob_gap_mean, rel=1e-5)
        for group in (t for t in text if t.step == step.step):
            rewards = np.array([c.reward for c in group.completions])
            wanted = (rewards - rewards.mean()) / rewards.std()
            assert [c.advantage for c in group.completions] == pytest.approx(wanted, abs=2e-3)


def test_a_run_ends_with_records_that_add_up_and_a_checkpoint_that_loads(engine_socket, make_run):
    run = make_run(engine_socket, **TWO_STEPS_A_SYNC)
    assert run.train() == 0, run.paths.log.read_text()

    status = run.status()
    assert (status.state, status.step, status.attempt) == (RunState.SUCCEEDED, 4, 1)
    assert violations(run.paths.trace, run.config) == []

    records = run.records()
    assert records[0].kind == "run_started"
    assert records[0].engine.startswith("vllm 0.32" if engine_socket else "transformers 5")
    assert records[-1].kind == "run_finished"
    assert records[-1].state == RunState.SUCCEEDED
    dispatched = [r.group for r in records if r.kind == "dispatch"]
    groups = {r.group: r for r in records if r.kind == "group"}
    assert sorted(groups) == dispatched == list(range(len(dispatched)))
    assert {g.fate for g in groups.values()} <= {"trained", "filtered", "leftover", "aborted"}

    steps = [r for r in records if r.kind == "step"]
    assert [(s.step, s.policy_version) for s in steps] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    # Two steps to a sync: the first trains groups of the engine's version, the second is one behind.
    assert [(s.off_policy_steps_mean, s.off_policy_steps_max) for s in steps] == [(0, 0), (1, 1)] * 2
    assert [r.version for r in records if r.kind == "sync"] == [2, 4]
    assert [s.sync_s > 0 for s in steps] == [False, True, False, True]
    assert [s.checkpoint_s > 0 for s in steps] == [False, False, False, True]
    for step, following in pairwise(steps):
        assert following.start_s == pytest.approx(step.start_s + step.wall_s)
    for step in steps:
        trained = [g for g in groups.values() if g.step == step.step]
        assert (step.prompts, step.completions) == (2, 8)
        assert step.completion_tokens == sum(g.completion_tokens for g in trained)
        assert all(0 < g.reward_mean < 1 for g in trained)
        assert all(g.dispatched_s <= g.finished_s <= g.verified_s <= g.consumed_s for g in trained)
        assert abs(step.ratio_mean - 1) < 0.1
        assert step.logprob_gap_mean < 0.05
        assert 0.9 < step.ess <= 1 + 1e-6

    text = [RolloutGroup.model_validate_json(line) for line in run.paths.rollouts.read_bytes().splitlines()]
    check_texts(text, groups.values(), steps)

    checkpoint = run.paths.last_checkpoint()
    assert checkpoint.name == "step_000004"
    loaded = AutoModelForCausalLM.from_pretrained(checkpoint).state_dict()
    saved = load_file(checkpoint / "model.safetensors")
    assert all(torch.equal(loaded[name], tensor) for name, tensor in saved.items())
    before = load_file(Path(run.config.model) / "model.safetensors")
    assert any(not torch.equal(before[name], saved[name]) for name in before)
    sync = next(r for r in records if r.kind == "sync")
    assert sync.bytes == sum(tensor.nbytes for tensor in saved.values())


def interrupt(run):
    """Send SIGINT after two steps, as a terminal does: to the whole group at once."""
    process = run.start()
    try:
        wait_for_steps(run, process, 2)
        os.killpg(process.pid, signal.SIGINT)
        return process.wait(30)
    finally:
        end(process)


def assert_interrupted(run):
    status = run.status()
    assert (status.state, status.reason) == (RunState.INTERRUPTED, "received SIGINT")
    records = run.records()
    assert records[-1].kind == "run_finished"
    assert records[-1].state == RunState.INTERRUPTED
    sent = {r.group for r in records if r.kind == "dispatch"}
    ended = [r.group for r in records if r.kind == "group"]
    assert len(set(ended)) == len(ended)
    state = json.loads((run.paths.last_checkpoint() / "resume" / "run.json").read_text())
    assert sent - set(ended) == {group["number"] for group in state["rollouts"]["accepted"]}
    assert "Traceback" not in run.paths.log.read_text()


# Over the transformers engine, a killed run shows the same below, to the bit.
@pytest.mark.parametrize(
    "engine_socket", ["vllm", pytest.param("transformers", marks=pytest.mark.slow)], indirect=True
)
def test_an_interrupted_run_goes_on_where_it_was(engine_socket, make_run):
    run = make_run(engine_socket, max_steps=40, checkpoint={"every_steps": None})
    assert interrupt(run) == 130, run.paths.log.read_text()
    assert_interrupted(run)
    first = run.records()
    reached = sum(r.kind == "step" for r in first)
    assert 2 <= reached < 40

    assert run.train() == 0, run.paths.log.read_text()
    status = run.status()
    assert (status.state, status.attempt, status.reason) == (RunState.SUCCEEDED, 2, None)
    second = [r for r in run.records() if r.attempt == 2]
    assert [r.kind for r in second[:2]] == ["run_started", "resumed"]
    assert second[1].from_step == reached
    steps = [r.step for r in run.records() if r.kind == "step"]
    assert steps == list(range(40))  # none was done twice
    sent = [r.group for r in first if r.kind == "dispatch"]
    assert next(r.group for r in second if r.kind == "dispatch") == max(sent) + 1
    assert first[-1].t <= second[0].t < first[-1].t + 60
    assert violations(run.paths.trace, run.config) == []


def test_a_run_that_was_killed_leaves_no_process_behind(make_run):
    run = make_run(max_steps=40)
    process = run.start()
    try:
        wait_for_steps(run, process, 1)
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.kill()
        process.wait()
        assert psutil.wait_procs(children, timeout=10)[1] == []
    finally:
        end(process)
    assert run.status().state == RunState.RUNNING  # nobody was left to say otherwise


@pytest.mark.slow  # test_trainer_resume.py has it at every point of the loop, in one process
def test_without_staleness_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(
    make_run, tmp_path_factory
):
    settings = {"max_steps": 8, "checkpoint": {"every_steps": 2}}
    engine = {"name": "transformers", "dtype": "float32", "deterministic": True}
    run = make_run(engine_settings=engine, **settings)
    process = run.start()
    try:
        wait_for_steps(run, process, 5)
        process.kill()
        process.wait()
    finally:
        end(process)
    assert run.train() == 0, run.paths.log.read_text()
    assert violations(run.paths.trace, run.config) == []
    assert lines(run.paths.trace, "resumed")[0]["from_step"] in (4, 6)
    whole = make_run(engine_settings=engine, root=tmp_path_factory.mktemp("whole"), **settings)
    assert whole.train() == 0, whole.paths.log.read_text()
    expected = load_file(whole.paths.checkpoint(8) / "model.safetensors")
    found = load_file(run.paths.checkpoint(8) / "model.safetensors")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_step_on_real_gsm8k_questions(vllm_server, make_run, tmp_path):
    path = tmp_path / "single_digits.jsonl"
    rows = [line for line in (GSM8K / "train.jsonl").read_text().splitlines() if line[-5:-3] == "# "]
    path.write_text("\n".join(rows[:64]) + "\n")
    run = make_run(
        vllm_server.socket,
        max_steps=1,
        task={"name": "gsm8k", "path": str(path)},
        learner={"compute_dtype": "bfloat16"},
    )
    assert run.train() == 0, run.paths.log.read_text()
    (step,) = [r for r in run.records() if r.kind == "step"]
    assert 0 < step.reward_mean < 1
    questions = {json.loads(row)["question"] for row in rows[:64]}
    kept = lines(run.paths.rollouts)
    assert {text["prompt"].removeprefix("Q: ").removesuffix("\nA:") for text in kept} <= questions
    assert all(text["answer"][-2:] == f" {text['answer'][-1]}" for text in kept)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_staleness": 0, "prompts_per_rollout_sync": 4}, "2 - 1 = 1 > 0"),
        ({"modle": "x"}, "modle"),
        ({"model": "/no/such/model"}, "/no/such/model"),
    ],
)
def test_a_wrong_configuration_ends_with_one_message_and_code_2(make_run, changes, message):
    run = make_run()
    file = json.loads(run.paths.config.read_text())
    file["config"] |= changes
    with suppress(ValidationError):  # as sweepctl writes it; most of these have no identity
        file["run_id"] = RunConfig.model_validate(file["config"]).run_id()
    run.paths.config.write_text(json.dumps(file))
    assert run.train() == 2
    log = run.paths.log.read_text()
    assert message in log
    assert log.count("error:") == 1
    assert "Traceback" not in log


def test_a_missing_or_damaged_configuration_file_ends_with_one_message_and_code_2(make_run):
    run = make_run()
    run.paths.config.write_text("{")
    assert run.train() == 2
    run.paths.config.unlink()
    assert run.train() == 2
    first, second = run.paths.log.read_text().split("error: ")[1:]
    assert "config.json is no valid run configuration" in first
    assert "config.json cannot be read: No such file or directory" in second


def test_an_engine_that_is_not_there_fails_the_run_with_one_message(make_run, tmp_path):
    run = make_run(tmp_path / "none.sock")
    assert run.train() == 1
    log = run.paths.log.read_text()
    assert "none.sock does not answer" in log
    assert "Traceback" not in log
    assert run.status().state == RunState.FAILED
    assert "none.sock" in run.status().reason


def test_a_configuration_that_was_changed_under_its_run_is_refused(make_run):
    run = make_run()
    file = json.loads(run.paths.config.read_text())
    file["config"]["loss"]["clip"] = 0.3
    run.paths.config.write_text(json.dumps(file))
    assert run.train() == 2
    assert f"run_id is {run.config.run_id()}, but this configuration's is" in run.paths.log.read_text()


def test_a_run_that_has_succeeded_is_not_trained_again_and_one_in_training_not_by_two(make_run):
    run = make_run(max_steps=6)
    first = run.start()
    try:
        wait_for_steps(run, first, 1)
        assert run.train() == 1
        assert "is being trained already" in run.paths.log.read_text()
        assert first.wait(DEADLINE_S) == 0, run.paths.log.read_text()
    finally:
        end(first)
    trace = run.paths.trace.read_bytes()
    # Killed after its last record, before its status said how it ended.
    run.paths.status.write_text(run.paths.status.read_text().replace("succeeded", "running"))
    assert run.train() == 0
    assert run.paths.trace.read_bytes() == trace
    assert (run.status().state, run.status().step) == (RunState.SUCCEEDED, 6)
    assert not list(run.root.glob("checkpoints/*/resume"))
