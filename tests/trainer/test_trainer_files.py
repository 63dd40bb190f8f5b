"""What a run writes besides its model: trace, status, paths and the clock behind them."""

import json
import os
import threading
import time

import pytest
import torch
from trainer_factory import completion, group, lines

from trainer.batch import TrainedCompletion
from trainer.clock import RunClock, StepTimer
from trainer.group_log import GroupLog
from trainer.paths import RunPaths, SweepPaths, metadata_path, samples_path, slug
from trainer.records import Dispatch as DispatchRecord
from trainer.records import Fate, RolloutGroup, RunState, RunStatus, Span, Warned
from trainer.status import Heartbeat, write_status
from trainer.trace import TraceWriter


def dispatch(trace, number):
    trace.write(DispatchRecord, group=number, prompt_id="p", epoch=0, version=0)


def test_a_second_attempt_continues_numbers_and_clock_and_leaves_out_the_time_between(tmp_path):
    path = tmp_path / "trace.jsonl"
    with TraceWriter(path) as first:
        assert (first.attempt, first.first_group) == (1, 0)
        for number in range(3):
            dispatch(first, number)
        time.sleep(0.05)
        first.write(Warned, message="last")
        ended = lines(path)[-1]["t"]
    time.sleep(0.2)
    with TraceWriter(path) as second:
        assert (second.attempt, second.first_group) == (2, 3)
        assert 0.05 <= ended <= second.clock.now() < ended + 0.15
        dispatch(second, 3)
    assert [record["attempt"] for record in lines(path)] == [1, 1, 1, 1, 2]
    with TraceWriter(path) as third:
        assert (third.attempt, third.first_group) == (3, 4)


def test_a_torn_last_line_is_cut_off_before_anything_is_appended(tmp_path):
    path = tmp_path / "trace.jsonl"
    with TraceWriter(path) as trace:
        dispatch(trace, 0)
        dispatch(trace, 1)
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines(keepends=True)[-1][:-7].replace(b'"group":1', b'"group":9'))
    with TraceWriter(path) as trace:
        assert trace.first_group == 2
        dispatch(trace, 2)
    assert path.read_bytes().startswith(whole)
    assert [record["group"] for record in lines(path)] == [0, 1, 2]


def test_a_damaged_line_in_the_middle_does_not_stop_a_run(tmp_path):
    path = tmp_path / "trace.jsonl"
    with TraceWriter(path) as trace:
        dispatch(trace, 0)
    path.write_bytes(path.read_bytes() + b"\x00\x00\n")
    with TraceWriter(path) as trace:
        assert (trace.attempt, trace.first_group) == (2, 1)


def test_threads_write_whole_lines(tmp_path):
    path = tmp_path / "trace.jsonl"
    with TraceWriter(path) as trace:

        def work(worker):
            for i in range(200):
                trace.write(Warned, message=f"{worker}-{i}-" + "x" * 500)

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = [record["message"].rstrip("x") for record in lines(path)]
    assert sorted(found) == sorted(f"{worker}-{i}-" for worker in range(4) for i in range(200))


def test_a_record_with_an_unknown_or_missing_field_is_refused(tmp_path):
    with TraceWriter(tmp_path / "trace.jsonl") as trace:
        with pytest.raises(ValueError, match="surprise"):
            trace.write(Warned, message="x", surprise=1)
        with pytest.raises(ValueError, match="end_s"):
            trace.write(Span, lane="engine", name="generate", start_s=0, step=None)
    assert lines(tmp_path / "trace.jsonl") == []


def test_a_steps_phases_add_up_to_its_time_and_steps_follow_each_other():
    clock = RunClock()
    timer = StepTimer(clock)
    began = timer.start_s
    with timer.phase("wait"):
        time.sleep(0.03)
    with timer.phase("learn"):
        time.sleep(0.02)
    with timer.phase("wait"):
        time.sleep(0.01)
    time.sleep(0.02)
    first = timer.finish()
    second = timer.finish()
    for split in (first, second):
        phases = ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s")
        assert sum(split[phase] for phase in phases) == pytest.approx(split["wall_s"], abs=1e-9)
    assert first["start_s"] == began
    assert second["start_s"] == pytest.approx(began + first["wall_s"])
    assert 0.04 <= first["wait_s"] < first["wall_s"] - 0.039
    assert first["learn_s"] >= 0.02
    assert first["other_s"] >= 0.02
    assert second["wait_s"] == 0


def test_a_phase_that_raises_is_counted_all_the_same():
    timer = StepTimer(RunClock())
    with pytest.raises(ZeroDivisionError), timer.phase("learn"):
        time.sleep(0.02)
        _ = 1 / 0
    assert timer.finish()["learn_s"] >= 0.02


def test_the_last_checkpoint_is_the_highest_complete_one(tmp_path):
    paths = RunPaths(tmp_path)
    assert paths.last_checkpoint() is None
    for step in (4, 20, 100):
        paths.checkpoint(step).mkdir(parents=True)
    # What a process that was killed while saving leaves behind.
    paths.checkpoint(120).with_name("step_000120.partial").mkdir()
    assert paths.last_checkpoint() == tmp_path / "checkpoints" / "step_000100"


def test_names_of_files_are_those_of_the_design(tmp_path):
    run = SweepPaths(tmp_path).run("s1")
    assert run.checkpoint(50) == tmp_path / "s1/checkpoints/step_000050"
    result = run.evaluation("step_000050", "gsm8k_cot", 4)
    assert result == tmp_path / "s1/eval/step_000050/gsm8k_cot_4shot.json"
    assert samples_path(result).name == "gsm8k_cot_4shot.samples.jsonl"
    assert metadata_path(result).name == "gsm8k_cot_4shot.meta.json"
    assert slug("Qwen/Qwen3-1.7B-Base") == "Qwen_Qwen3-1.7B-Base"
    assert slug("../../etc/passwd") == "etc_passwd"


def test_a_reader_of_the_status_never_sees_half_of_it(tmp_path):
    path = tmp_path / "status.json"
    stop, wrong, seen = threading.Event(), [], set()

    def read():
        while not stop.is_set():
            try:
                seen.add(RunStatus.model_validate_json(path.read_bytes()).step)
            except FileNotFoundError:
                continue
            except ValueError as error:
                wrong.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for step in range(400):
        reason = "x" * (step % 7 * 3000)
        status = RunStatus(
            state=RunState.RUNNING, attempt=1, heartbeat=0, step=step, max_steps=9, reason=reason
        )
        write_status(path, status)
    stop.set()
    reader.join()
    assert wrong == []
    assert len(seen) > 1
    assert list(tmp_path.iterdir()) == [path]


def test_the_heartbeat_shows_progress_while_the_run_lives_and_its_end_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.status._HEARTBEAT_S", 0.02)
    path = tmp_path / "status.json"
    heartbeat = Heartbeat(path, attempt=3, max_steps=7)
    first = RunStatus.model_validate_json(path.read_bytes())
    assert (first.state, first.attempt, first.pid, first.step) == (RunState.RUNNING, 3, os.getpid(), 0)
    heartbeat.step = 5
    deadline = time.monotonic() + 10
    while (beat := RunStatus.model_validate_json(path.read_bytes())).step != 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert beat.heartbeat > first.heartbeat
    heartbeat.finish(RunState.FAILED, "why")
    time.sleep(0.06)
    last = RunStatus.model_validate_json(path.read_bytes())
    assert (last.state, last.reason, last.step) == (RunState.FAILED, "why", 5)


def test_kept_groups_are_written_whole_and_the_same_ones_whenever_the_run_is_repeated(tmp_path):
    kept = []
    for name in ("a", "b"):
        with TraceWriter(tmp_path / f"{name}.jsonl") as trace:
            log = GroupLog(trace, tmp_path / f"{name}.rollouts", 0.3, lambda ids: [f"<{i}>" for i in ids])
            for number in range(100):
                done = group(number, completions=[completion([5, 6]), completion([7])], rewards=[1.0, 0.0])
                made = {(number, 0): TrainedCompletion(0.5, torch.tensor([-1.0, -2.0]))}
                log.write(done, Fate.TRAINED, step=number // 2, consumed_s=1.0, trained=made)
            log.close()
        text = (tmp_path / f"{name}.rollouts").read_text().splitlines()
        kept.append([RolloutGroup.model_validate_json(line) for line in text])
        assert len(lines(tmp_path / f"{name}.jsonl", "group")) == 100
    assert kept[0] == kept[1]
    assert 15 <= len(kept[0]) <= 45
    assert [c.token_ids for c in kept[0][0].completions] == [[5, 6], [7]]
    assert [c.reward for c in kept[0][0].completions] == [1.0, 0.0]
    assert [c.tokens for c in kept[0][0].completions] == [["<5>", "<6>"], ["<7>"]]
    # The second was not trained on, as with masked truncation.
    assert [c.learner_logprobs for c in kept[0][0].completions] == [[-1.0, -2.0], None]
    assert [c.advantage for c in kept[0][0].completions] == [0.5, None]


def test_a_groups_line_counts_its_prompt_once_and_all_its_completions(tmp_path):
    with TraceWriter(tmp_path / "trace.jsonl") as trace:
        log = GroupLog(trace, tmp_path / "rollouts.jsonl", 0, lambda _: [])
        answers = [completion([5, 6, 7], version=1), completion([8], version=2, truncated=True)]
        log.write(group(4, version=1, prompt=(1, 2, 3), completions=answers, rewards=[1, 0]), Fate.LEFTOVER)
        log.write(group(5), Fate.ABORTED)
        log.close()
    done, aborted = lines(tmp_path / "trace.jsonl")
    assert (done["prompt_tokens"], done["completion_tokens"], done["truncated"]) == (3, 4, 1)
    assert (done["version_min"], done["version_max"], done["reward_mean"]) == (1, 2, 0.5)
    assert (aborted["version_max"], aborted["finished_s"], aborted["reward_mean"]) == (None, None, None)
    assert json.loads((tmp_path / "rollouts.jsonl").read_text() or "null") is None
