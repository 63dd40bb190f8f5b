"""Failures: tried again with a growing wait, also after a restart of sweepctl; or not, and until when."""

import json
import time

import pytest

from sweepctl.attempts import (
    AttemptRecord,
    append_attempt,
    failures_in_a_row,
    may_retry,
    read_attempts,
    retry_at_unix,
)
from trainer.errors import EngineError
from trainer.paths import RunPaths
from trainer.records import RunState

SPEC = """\
version: 1
name: fake
base: {max_steps: 4, completions_per_prompt: 2}
parameters:
  max_staleness: [0, 1, 2]
run_name: "s{max_staleness}"
retry: {max_attempts: 3, backoff: 0.2}
"""


@pytest.fixture
def sweep(fake_sweep):
    fake_sweep.spec.write_text(SPEC)
    return fake_sweep


def change(sweep, old, new):
    text = sweep.spec.read_text()
    assert old in text
    sweep.spec.write_text(text.replace(old, new))


def records(sweep, name):
    return read_attempts(RunPaths(sweep.root / name))


def states(sweep, name):
    return [record.state for record in records(sweep, name) if record.event == "ended"]


def test_a_run_that_fails_once_is_tried_again_and_the_others_need_not_wait(sweep):
    sweep.behave(s0="once:fail")
    assert sweep.run() == 0
    # s0's second attempt comes when its wait is over; meanwhile the next run has begun.
    assert sweep.calls()[:2] == ["s0", "s1"]
    assert sorted(sweep.calls()) == ["s0", "s0", "s1", "s2"]
    assert states(sweep, "s0") == [RunState.FAILED, RunState.SUCCEEDED]
    said = "\n".join(sweep.display.said)
    assert "Exp1 s0 failed: the loss is not finite; trying again in 0s" in said


def test_the_wait_doubles_and_ends_after_max_attempts(sweep):
    sweep.behave(s0="fail")
    assert sweep.run(only="s0") == 1
    started = [record.unix_s for record in records(sweep, "s0") if record.event == "started"]
    ended = [record.unix_s for record in records(sweep, "s0") if record.event == "ended"]
    assert len(started) == len(ended) == 3
    assert started[1] - ended[0] >= 0.2
    assert started[2] - ended[1] >= 0.4
    assert sweep.state("s0") == "failed"
    assert sweep.run(only="s0") == 1
    assert sweep.calls() == ["s0"] * 3  # it waits to be asked for


def test_failures_are_remembered_over_a_restart(sweep):
    change(sweep, "max_attempts: 3", "max_attempts: 1")
    sweep.behave(s0="fail")
    assert sweep.run(only="s0") == 1
    change(sweep, "max_attempts: 1", "max_attempts: 3")
    assert sweep.run(only="s0") == 1
    assert sweep.calls() == ["s0"] * 3  # two more, not three


def test_a_wait_is_kept_over_a_restart(sweep):
    change(sweep, "max_attempts: 3", "max_attempts: 1")
    sweep.behave(s0="once:fail")
    assert sweep.run(only="s0") == 1
    change(sweep, "max_attempts: 1, backoff: 0.2", "max_attempts: 2, backoff: 2s")
    began = time.time()
    assert sweep.run(only="s0") == 0
    failed = next(record.unix_s for record in records(sweep, "s0") if record.event == "ended")
    again = [record.unix_s for record in records(sweep, "s0") if record.event == "started"][1]
    assert again - failed >= 2.0
    assert began - failed < 2.0  # so it did wait here


def test_retry_failed_begins_a_new_round(sweep):
    sweep.behave(s0="fail")
    sweep.run(only="s0")
    assert sweep.run(only="s0", retry_failed=True) == 1
    assert sweep.calls() == ["s0"] * 6
    sweep.behave()
    assert sweep.run(only="s0", retry_failed=True) == 0


def test_a_configuration_that_is_wrong_is_not_tried_again(sweep):
    sweep.behave(s1="misconfigured")
    assert sweep.run() == 1
    assert sweep.calls() == ["s0", "s1", "s2"]
    assert any("Exp2 s1 failed: task.path: no such file" in line for line in sweep.display.said)


def test_a_killed_run_is_tried_again_and_is_never_lost(sweep):
    sweep.behave(s1="vanish")
    assert sweep.run() == 1
    assert sweep.calls().count("s1") == 3
    assert sweep.state("s1") == "interrupted"
    sweep.behave()
    assert sweep.run() == 0  # without being asked: nothing was known against it
    assert sweep.calls().count("s1") == 4


def test_a_run_that_stands_still_is_ended(sweep):
    change(sweep, "retry: {", "timeout: {idle: 1s}\nretry: {")
    sweep.behave(s0="once:hang")
    assert sweep.run(only="s0") == 0
    assert states(sweep, "s0") == [RunState.FAILED, RunState.SUCCEEDED]
    assert any("its trace did not grow for timeout.idle = 1s" in line for line in sweep.display.said)


def test_a_run_that_goes_on_is_not_idle(sweep):
    change(sweep, "retry: {", "timeout: {idle: 1s}\nretry: {")
    change(sweep, "max_steps: 4", "max_steps: 40")  # two seconds in all
    sweep.behave(s0="slow")
    assert sweep.run(only="s0") == 0
    assert states(sweep, "s0") == [RunState.SUCCEEDED]


def test_consecutive_failures_count_runs_not_attempts(sweep):
    change(sweep, "retry: {", "stop_after_consecutive_failures: 2\nretry: {")
    sweep.behave(s0="fail")
    assert sweep.run() == 1
    assert sweep.state("s2") == "succeeded"


def test_a_failure_that_waits_for_its_retry_is_not_forgotten_when_the_rest_is_skipped(sweep):
    change(sweep, "backoff: 0.2", "backoff: 60")
    change(sweep, "retry: {", "stop_after_consecutive_failures: 1\nretry: {")
    sweep.behave(s0="fail", s1="misconfigured")
    assert sweep.run() == 1
    status = json.loads((sweep.root / "s0" / "status.json").read_text())
    assert (status["state"], status["reason"]) == ("failed", "the loss is not finite")
    assert sweep.state("s2") == "skipped"
    assert any(line.startswith("failed: s0, s1") for line in sweep.display.said)


def test_an_evaluation_that_fails_is_tried_again(sweep):
    sweep.spec.write_text(SPEC + "eval: {num_fewshot: [0]}\n")
    sweep.behave(evaluation="once:fail")
    assert sweep.run() == 0
    assert sweep.calls().count("evaluation") == 2
    assert any("evaluating again in 0s; results that are there stay" in line for line in sweep.display.said)


def test_an_evaluation_that_is_wrong_is_not(sweep):
    sweep.spec.write_text(SPEC + "eval: {num_fewshot: [0]}\n")
    sweep.behave(evaluation="misconfigured")
    assert sweep.run() == 1
    assert sweep.calls().count("evaluation") == 1


def test_an_evaluation_that_stands_still_is_ended(sweep):
    sweep.spec.write_text(SPEC + "eval: {num_fewshot: [0]}\ntimeout: {idle: 1s}\n")
    sweep.behave(evaluation="once:hang")
    assert sweep.run() == 0
    assert sweep.calls().count("evaluation") == 2
    assert any("nothing new for timeout.idle = 1s" in line for line in sweep.display.said)


def test_the_log_of_an_engine_that_did_not_start_is_shown(sweep):
    change(sweep, "max_attempts: 3", "max_attempts: 1")
    (sweep.root / "s0").mkdir(parents=True)

    def refuse(model, *, log, **keywords):
        log.write_text("no memory\n")
        raise EngineError("it ended")

    sweep._start = refuse
    assert sweep.run(only="s0") == 1
    said = "\n".join(sweep.display.said)
    assert f"log: {sweep.root / 'engine.log'}\n  | no memory" in said


def attempts(*events):
    """`f` failed, `n` failed for good, `s` succeeded, `i` interrupted, `r` reset, `b` begun, no end seen."""
    kinds = {
        "f": {"event": "ended", "state": RunState.FAILED},
        "n": {"event": "ended", "state": RunState.FAILED, "retryable": False},
        "s": {"event": "ended", "state": RunState.SUCCEEDED},
        "i": {"event": "ended", "state": RunState.INTERRUPTED},
        "r": {"event": "reset"},
        "b": {"event": "started"},
    }
    return [AttemptRecord(unix_s=float(i), **kinds[event]) for i, event in enumerate(events)]


@pytest.mark.parametrize(
    ("history", "failures", "again"),
    [
        ("", 0, False),
        ("bf", 1, True),
        ("bfbf", 2, False),
        ("bfbfr", 0, True),
        ("bfrbf", 1, True),
        ("bfbibf", 2, False),
        ("bfbsbf", 1, True),
        ("bn", 1, False),
        ("bfbfb", 2, True),
    ],
)
def test_how_often_a_run_has_failed_in_a_row(history, failures, again):
    assert failures_in_a_row(attempts(*history)) == failures
    assert may_retry(attempts(*history), 2) is again


def test_when_the_next_attempt_begins():
    assert retry_at_unix(attempts(*"bf"), 10.0) == 1 + 10
    assert retry_at_unix(attempts(*"bfbfbf"), 10.0) == 5 + 40
    assert retry_at_unix(attempts(*"bfr"), 10.0) == 0
    # The attempt after the failure was begun, so the wait is over.
    assert retry_at_unix(attempts(*"bfbi"), 10.0) == 0
    assert retry_at_unix(attempts(*"bfb"), 10.0) == 0


def test_a_torn_line_loses_nothing_else(tmp_path):
    run = RunPaths(tmp_path)
    append_attempt(run, "started", devices="cores 0,1")
    with run.attempts.open("ab") as file:
        file.write(b'{"event": "ended", "sta')
    assert [record.event for record in read_attempts(run)] == ["started"]
    append_attempt(run, "ended", state=RunState.FAILED, reason="naïve")
    assert [record.event for record in read_attempts(run)] == ["started", "ended"]
    assert all(json.loads(line) for line in run.attempts.read_text().splitlines())
