"""Interrupted, killed and resumed runs: nothing lost, nothing trained twice, the same weights in the end."""

import json
import shutil
import threading
import time
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file
from trainer_factory import LocalEngine, completion, lines, run_loop

from trainer.conservation import SurvivingTrace, violations
from trainer.engine.protocol import GenerationAborted
from trainer.errors import StorageError, TrainingError
from trainer.interrupt import Interrupted
from trainer.loop import Loop
from trainer.paths import RunPaths
from trainer.resume import CheckpointFolder


class CutOffError(Exception):
    """Ends a run in the middle, as a kill would."""


def cut_off_at(monkeypatch, owner, method, call, *, before=True):
    """Raise in the `call`-th call of a method; what runs afterwards in this process is undone by `revive`."""
    original, calls = getattr(owner, method), []

    def watched(self, *arguments, **named):
        calls.append(method)
        if before and len(calls) == call:
            raise CutOffError
        result = original(self, *arguments, **named)
        if not before and len(calls) == call:
            raise CutOffError
        return result

    monkeypatch.setattr(owner, method, watched)


def killed(directory, config, engine, monkeypatch, owner, method, call, *, before=True):
    """Run until the cut, and leave the files as they were at that moment: a killed process writes no more."""
    frozen = directory.with_name(directory.name + "-frozen")
    with monkeypatch.context() as patch:
        cut_off_at(patch, owner, method, call, before=before)
        close = Loop.close

        def freeze_and_close(self):
            shutil.copytree(directory, frozen)
            return close(self)

        patch.setattr(Loop, "close", freeze_and_close)
        with pytest.raises(CutOffError):
            run_loop(directory, config, engine)
    shutil.rmtree(directory)
    frozen.rename(directory)
    return RunPaths(directory)


def final_weights(paths, config):
    return load_file(paths.checkpoint(config.max_steps) / "model.safetensors")


def trained_prompts(paths):
    trace = SurvivingTrace.of(lines(paths.trace))
    return [
        (record["step"], record["prompt_id"], trace.dispatches[number]["epoch"])
        for number, record in sorted(trace.groups.items())
        if record["fate"] == "trained"
    ]


MOMENTS = [
    (CheckpointFolder, "write_resume", 2, True),  # in the middle of a checkpoint
    (CheckpointFolder, "commit", 2, True),  # written, its step on record, not yet counting
    (CheckpointFolder, "commit", 2, False),
    (Loop, "_sync_weights", 4, True),
    (Loop, "_sync_weights", 4, False),
    (Loop, "_train", 4, True),
    (Loop, "_train", 4, False),  # optimizer stepped, nothing on record
]


@pytest.mark.parametrize(("owner", "method", "call", "before"), MOMENTS)
def test_without_staleness_a_killed_and_resumed_run_ends_with_the_same_weights(
    tmp_path, config, digit_model, monkeypatch, owner, method, call, before
):
    settings = config(max_steps=6, checkpoint={"every_steps": 2}, engine={"dtype": "float32"})
    whole = run_loop(tmp_path / "whole", settings, LocalEngine(digit_model))
    delays = [0.0, 0.03, 0.0]
    killed(
        tmp_path / "cut",
        settings,
        LocalEngine(digit_model, delays=delays),
        monkeypatch,
        owner,
        method,
        call,
        before=before,
    )
    resumed = run_loop(tmp_path / "cut", settings, LocalEngine(digit_model, delays=delays))
    assert violations(resumed.trace, settings) == []
    assert sorted(trained_prompts(resumed)) == sorted(trained_prompts(whole))
    expected, found = final_weights(whole, settings), final_weights(resumed, settings)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    (record,) = lines(resumed.trace, "resumed")
    assert record["from_step"] in (2, 4)
    surviving = SurvivingTrace.of(lines(resumed.trace))
    assert list(surviving.steps) == list(range(6))


@pytest.mark.parametrize("in_flight", ["wait", "keep"])
def test_an_interrupted_run_leaves_a_checkpoint_and_goes_on_with_the_groups_that_waited(
    tmp_path, config, digit_model, in_flight
):
    settings = config(
        max_steps=8,
        max_staleness=3,
        prompts_per_rollout_sync=4,
        prompts_per_optim_step=2,
        in_flight=in_flight,
        checkpoint={"every_steps": None},
    )
    trace = RunPaths(tmp_path).trace

    class Slow(LocalEngine):
        """Every second group dispatched from version 2 on never ends, so that others wait behind it."""

        slow = 0

        async def generate(self, request):
            late = self._version == 2 and request.max_tokens == 8
            self.slow += late
            self._delays = [60.0 if late and self.slow % 2 else 0.0]
            return await super().generate(request)

    def interrupt(loop):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            accepted, undecided, _ = loop._rollouts.buffer.waiting()
            if loop._rollouts.buffer.engine_version == 2 and accepted and undecided:
                break
            time.sleep(0.01)
        time.sleep(0.3)  # the learner comes to wait for the group that never ends
        loop.interrupt(Interrupted("received SIGINT"))

    began = time.monotonic()
    with pytest.raises(Interrupted):
        run_loop(tmp_path, settings, Slow(digit_model), meanwhile=interrupt)
    assert time.monotonic() - began < 60
    reached = len(lines(trace, "step"))
    (checkpoint,) = RunPaths(tmp_path).checkpoints()
    assert checkpoint.name == f"step_{reached:06d}"
    state = json.loads((checkpoint / "resume" / "run.json").read_text())
    waiting = [group["number"] for group in state["rollouts"]["accepted"]]
    assert waiting
    dispatched = {record["group"] for record in lines(trace, "dispatch")}
    ended = {record["group"] for record in lines(trace, "group")}
    assert dispatched - ended == set(waiting)
    assert lines(trace, "run_finished")[-1]["state"] == "interrupted"

    paths = run_loop(tmp_path, settings, LocalEngine(digit_model))
    assert violations(paths.trace, settings) == []
    again = lines(paths.trace, "resumed")
    assert [record["from_step"] for record in again] == [reached]
    second = [r for r in lines(paths.trace, "group") if r["attempt"] == 2 and r["group"] in waiting]
    assert [r["fate"] for r in second] == ["trained"] * len(waiting)
    assert not list((tmp_path / "checkpoints").glob("*/resume"))  # a finished run has nothing to resume
    twice = Counter((prompt, epoch) for _, prompt, epoch in trained_prompts(paths))
    assert set(twice.values()) == {1}


@pytest.mark.parametrize("moment", ["probe", "held_out"])
def test_an_interruption_while_the_engine_works_outside_the_schedule_leaves_a_run_that_can_be_finished(
    tmp_path, config, digit_model, digit_problems, moment
):
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text(
        "".join(json.dumps({"question": f"{i}?", "answer": "#### 1"}) + "\n" for i in range(3))
    )
    settings = config(
        task={
            "name": "gsm8k",
            "path": str(digit_problems),
            "held_out_path": str(held_out),
            "reward": "exact_match",
        },
        held_out={"every_steps": 2, "problems": 3},
    )
    reached = threading.Event()

    class Slow(LocalEngine):
        """Counts what it sampled of a request that is never answered, as real engines do."""

        async def generate(self, request):
            outside = (
                request.temperature == 0 if moment == "held_out" else request.n == 4 and not self.loads[1:]
            )
            if not outside:
                return await super().generate(request)
            self._done = self._done.plus(len(request.token_ids), [completion([1], version=self._version)])
            reached.set()
            await self._abort.wait()
            raise GenerationAborted([])

    def interrupt(loop):
        assert reached.wait(30)
        loop.interrupt(Interrupted("received SIGTERM"))

    with pytest.raises(Interrupted):
        run_loop(tmp_path / "run", settings, Slow(digit_model), meanwhile=interrupt)
    ending = lines(tmp_path / "run" / "trace.jsonl", "run_finished")[-1]
    assert (ending["state"], ending["engine_requests"]) == ("interrupted", None)
    paths = run_loop(tmp_path / "run", settings, LocalEngine(digit_model))
    assert violations(paths.trace, settings) == []
    assert [record["version"] for record in lines(paths.trace, "eval")] == [0, 2, 4]


def test_an_interruption_right_after_a_checkpoint_writes_it_no_second_time(tmp_path, config, digit_model):
    settings = config(max_steps=6, checkpoint={"every_steps": 2})

    class Slow(LocalEngine):
        async def generate(self, request):
            self._delays = [60.0 if self._version == 2 else 0.0]
            return await super().generate(request)

    def interrupt(loop):
        while not lines(tmp_path / "trace.jsonl", "checkpoint"):
            time.sleep(0.02)
        time.sleep(0.2)
        loop.interrupt(Interrupted("received SIGINT"))

    (tmp_path / "trace.jsonl").touch()
    with pytest.raises(Interrupted):
        run_loop(tmp_path, settings, Slow(digit_model), meanwhile=interrupt)
    assert [record["step"] for record in lines(tmp_path / "trace.jsonl", "checkpoint")] == [2]
    paths = run_loop(tmp_path, settings, LocalEngine(digit_model))
    assert [record["step"] for record in lines(paths.trace, "checkpoint")] == [2, 4, 6]
    assert violations(paths.trace, settings) == []


def test_texts_of_a_killed_run_stay_readable(tmp_path, config, digit_model, monkeypatch):
    settings = config(checkpoint={"every_steps": 2})
    paths = killed(tmp_path / "run", settings, LocalEngine(digit_model), monkeypatch, Loop, "_train", 4)
    whole = paths.rollouts.read_bytes()
    paths.rollouts.write_bytes(whole + whole.splitlines()[0][:-30])
    run_loop(tmp_path / "run", settings, LocalEngine(digit_model))
    texts = [json.loads(line) for line in paths.rollouts.read_bytes().splitlines()]
    assert {text["attempt"] for text in texts} == {1, 2}
    assert paths.rollouts.read_bytes().startswith(whole)


def test_shared_memory_that_is_too_small_says_what_to_do(tmp_path, config, digit_model, monkeypatch):
    def full(weights, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.handover.save_file", full)
    with pytest.raises(StorageError, match=r"cannot take the weights .*No space left.*--shm-size"):
        run_loop(tmp_path, config(), LocalEngine(digit_model))


def test_an_engine_with_older_weights_than_the_learners_gets_those_again(
    tmp_path, config, digit_model, monkeypatch
):
    settings = config(
        max_steps=6,
        max_staleness=2,
        prompts_per_rollout_sync=6,
        checkpoint={"every_steps": 1},
        optim={"lr": 1e-2},
    )
    first = LocalEngine(digit_model)
    killed(tmp_path / "run", settings, first, monkeypatch, Loop, "_train", 6)
    engine = LocalEngine(digit_model)
    paths = run_loop(tmp_path / "run", settings, engine)
    assert violations(paths.trace, settings) == []
    assert lines(paths.trace, "resumed")[0]["from_step"] == 5
    loads = [version for version, _ in engine.loads]
    assert loads == [3, 3, 3, 6]  # twice for the proof, with the learner's weights; then its own
    given = dict(first.loads)[3]
    assert all(torch.equal(engine.loads[2][1][name], given[name]) for name in given)
    assert any(not torch.equal(engine.loads[1][1][name], given[name]) for name in given)


def test_without_a_checkpoint_a_run_begins_again_and_discards_all_it_had(
    tmp_path, config, digit_model, monkeypatch
):
    settings = config(max_staleness=1, checkpoint={"every_steps": None})
    killed(tmp_path / "run", settings, LocalEngine(digit_model), monkeypatch, Loop, "_train", 3)
    before = {record["group"] for record in lines(tmp_path / "run" / "trace.jsonl", "dispatch")}
    paths = run_loop(tmp_path / "run", settings, LocalEngine(digit_model))
    surviving = SurvivingTrace.of(lines(paths.trace))
    assert {n for n, record in surviving.groups.items() if record["fate"] == "discarded"} == before
    assert violations(paths.trace, settings) == []
    numbers = [record["group"] for record in lines(paths.trace, "dispatch")]
    assert len(set(numbers)) == len(numbers)


def test_only_as_many_checkpoints_as_asked_are_kept_and_state_only_with_the_newest(
    tmp_path, config, digit_model, monkeypatch
):
    settings = config(max_steps=5, checkpoint={"every_steps": 1, "keep": 2})
    paths = killed(tmp_path / "run", settings, LocalEngine(digit_model), monkeypatch, Loop, "_train", 5)
    assert [path.name for path in paths.checkpoints()] == ["step_000003", "step_000004"]
    assert [path.parent.name for path in (tmp_path / "run" / "checkpoints").glob("*/resume")] == [
        "step_000004"
    ]
    assert not list((tmp_path / "run" / "checkpoints").glob("*.*"))


def test_a_checkpoint_that_was_being_replaced_is_found_again(tmp_path, config, digit_model, monkeypatch):
    settings = config(max_steps=4, checkpoint={"every_steps": 2})
    paths = killed(tmp_path / "run", settings, LocalEngine(digit_model), monkeypatch, Loop, "_train", 4)
    two = paths.checkpoint(2)
    two.rename(two.with_name(two.name + ".old"))
    two.with_name(two.name + ".partial").mkdir()
    folder = CheckpointFolder(paths, settings.run_id(), keep=None)
    assert folder.newest().version == 2
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == [two.name]


def test_the_state_of_another_run_or_a_damaged_one_is_refused_with_what_to_do(
    tmp_path, config, digit_model, monkeypatch
):
    settings = config(max_steps=4, checkpoint={"every_steps": 2})
    paths = killed(tmp_path / "run", settings, LocalEngine(digit_model), monkeypatch, Loop, "_train", 4)
    with pytest.raises(TrainingError, match=rf"is of run {settings.run_id()} .*not of ffffffffffff"):
        CheckpointFolder(paths, "f" * 12, keep=None).newest()
    resume = paths.checkpoint(2) / "resume"
    learner, state = (resume / "learner.pt").read_bytes(), (resume / "run.json").read_bytes()
    for name, content in [
        ("learner.pt", learner[:1000]),
        ("learner.pt", b""),
        ("run.json", b"[]"),
        ("run.json", b"{}"),
        ("run.json", state[:50]),
    ]:
        (resume / name).write_bytes(content)
        with pytest.raises(TrainingError, match=r"resume cannot be read .*remove it to train the run from"):
            CheckpointFolder(paths, settings.run_id(), keep=None).newest()
        (resume / "learner.pt").write_bytes(learner)
        (resume / "run.json").write_bytes(state)


def test_a_checkpoint_that_cannot_be_written_leaves_the_older_one_and_says_what_to_do(
    tmp_path, config, digit_model, monkeypatch
):
    settings = config(max_steps=4, checkpoint={"every_steps": 2})
    real = CheckpointFolder.write_resume

    def full(self, folder, state):
        if state.version == 4:
            raise OSError(28, "No space left on device")
        real(self, folder, state)

    monkeypatch.setattr(CheckpointFolder, "write_resume", full)
    with pytest.raises(
        StorageError, match=r"step_000004.partial could not be written \(No space left.*free some"
    ):
        run_loop(tmp_path, settings, LocalEngine(digit_model))
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_000002"]
    paths = run_loop(tmp_path, settings, LocalEngine(digit_model))
    assert lines(paths.trace, "resumed")[0]["from_step"] == 2
    assert violations(paths.trace, settings) == []


def test_a_full_disk_leaves_no_half_line_and_ends_the_run_with_a_message(tmp_path, config, digit_model):
    paths = RunPaths(tmp_path)
    paths.rollouts.symlink_to("/dev/full")  # every write fails with ENOSPC
    with pytest.raises(
        StorageError, match=r"rollouts.jsonl could not be written \(No space left on device\)"
    ):
        run_loop(tmp_path, config(), LocalEngine(digit_model))
    assert all(json.loads(line) for line in paths.trace.read_bytes().splitlines())
    assert threading.active_count() < 20
