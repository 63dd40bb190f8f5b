"""What `status` and `logs` expect of a run that has ended: the same as the `sweepctl run` at work does."""

import pytest
from factories.written_sweep import WrittenSweep

from sweepctl.attempts import AttemptRecord
from sweepctl.holder import who_runs
from sweepctl.running.supervise import Cause, Limits
from sweepctl.running.verdict import verdict
from sweepctl.watching.retries import is_tried_again, max_attempts
from sweepctl.watching.status import sweep_status
from trainer.records import RunState

BEGAN = 1_000_000.0
"""When the invocation at work began."""
KILLED = verdict(None, 128 + 9, Cause.ITSELF, Limits())
STOPPED = verdict(None, 0, Cause.STOPPED, Limits())


def started(at=BEGAN + 1):
    return AttemptRecord(event="started", unix_s=at)


def ended(state, at=BEGAN + 2, **fields):
    return AttemptRecord(event="ended", unix_s=at, state=state, **fields)


FAILED = [started(), ended("failed", reason="the loss is not finite")]
DIED = [started(), ended("interrupted", reason=KILLED.reason)]
RESET = AttemptRecord(event="reset", unix_s=BEGAN)


@pytest.fixture
def sweep(tmp_path):
    sweep = WrittenSweep(tmp_path)
    sweep.run("s0", "failed")
    sweep.hold(since_unix=BEGAN)
    return sweep


def expected(sweep, state, attempts, allowed=3):
    paths = sweep.paths.run("s0")
    paths.attempts.write_text("".join(record.model_dump_json() + "\n" for record in attempts))
    return is_tried_again(paths, RunState(state), who_runs(sweep.paths), allowed)


@pytest.mark.parametrize(
    ("state", "attempts", "again"),
    [
        ("failed", FAILED, True),
        ("failed", FAILED * 2, True),
        ("failed", FAILED * 3, False),
        ("failed", [*FAILED * 3, RESET], True),
        ("failed", [started(), ended("failed", retryable=False)], False),
        ("failed", [], False),
        ("interrupted", DIED, True),
        ("interrupted", DIED * 2, True),
        ("interrupted", DIED * 3, False),
        ("interrupted", [started(), ended("interrupted", reason=STOPPED.reason)], False),
        ("interrupted", [started(), ended("interrupted", reason="it was asked to end")], False),
        ("interrupted", [started(1.0), ended("interrupted", 2.0, reason=STOPPED.reason)], True),
        ("interrupted", [*DIED * 2, started()], True),
        ("succeeded", [started(), ended("succeeded")], False),
        ("skipped", [], False),
    ],
)
def test_a_run_is_expected_again_when_the_invocation_will_take_it(sweep, state, attempts, again):
    assert expected(sweep, state, attempts) is again


@pytest.mark.parametrize(("state", "attempts"), [("failed", FAILED), ("interrupted", DIED)])
def test_nobody_tries_again_when_nobody_is_at_work(sweep, state, attempts):
    sweep.let_go()
    assert not expected(sweep, state, attempts)


def test_deaths_of_earlier_invocations_do_not_count(sweep):
    earlier = [started(1.0), ended("interrupted", 2.0, reason=KILLED.reason)]
    assert expected(sweep, "interrupted", [*earlier * 9, *DIED * 2])


@pytest.mark.parametrize(
    ("spec", "allowed"),
    [
        ({"declared": {"retry": {"max_attempts": 5}}}, 5),
        ({"declared": {"retry": {"backoff": 1.0}}}, 2),
        ({"declared": {"retry": "often"}}, 2),
        ({}, 2),
        (None, 2),
    ],
)
def test_how_often_is_what_the_manifest_says(spec, allowed):
    assert max_attempts({"spec": spec}) == allowed


def test_the_runner_and_the_watcher_agree(fake_sweep, monkeypatch):
    """At each failure, when the runner has just said whether it tries again, status says the same."""
    spec = fake_sweep.spec.read_text()
    fake_sweep.spec.write_text(spec.replace("{max_attempts: 1}", "{max_attempts: 2, backoff: 0.1}"))
    fake_sweep.behave(s0="fail")
    seen = []

    def say(_, message):
        if message.startswith("Exp1 s0 failed"):
            row = sweep_status(fake_sweep.runs_dir, "fake").rows[0]
            seen.append(("trying again" in message, row.said, row.reason))

    monkeypatch.setattr(type(fake_sweep.display), "say", say)
    assert fake_sweep.run(only="s0") == 1
    assert seen == [
        (True, "to be tried again", "the loss is not finite"),
        (False, "failed", "the loss is not finite"),
    ]
