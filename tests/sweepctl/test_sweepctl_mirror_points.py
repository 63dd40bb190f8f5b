"""Mirrors of the step records: from a trace to points."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mirroring import BEGAN, Run

from sweepctl.mirrors.follow import Following
from sweepctl.mirrors.points import GROUPS, HELD_OUT, Point, Rewind, TracePoints
from trainer.append import AppendFile
from trainer.errors import ConfigError
from trainer.records import HeldOut, Record, RunState, Step


def test_every_number_of_a_step_is_shown_in_one_group():
    shown = [name for names in GROUPS.values() for name in names]
    not_shown = {*Record.model_fields, "kind", "step", "policy_version", "start_s"}
    assert sorted(shown) == sorted(set(Step.model_fields) - not_shown)
    assert set(HELD_OUT) == set(HeldOut.model_fields) - {*Record.model_fields, "kind", "version"}


def test_points_carry_the_numbers_that_were_measured_and_when(mirrored):
    mirrored.attempt(start=0, until=2, held_out=(0, 2))
    first, second, third, fourth = TracePoints(mirrored.paths.trace).new()
    assert first == Point(0, True, BEGAN, {"held_out/accuracy": 1.0})
    assert second == Point(1, False, BEGAN + 1, {"train/reward_mean": 1.01, "time/run_s": 1.0})  # kl: none
    assert (third.step, third.held_out, fourth.step, fourth.held_out) == (2, False, 2, True)


def test_a_torn_line_is_read_when_it_is_whole_and_a_damaged_one_is_passed_over(mirrored):
    mirrored.attempt(start=0, until=1)
    points = TracePoints(mirrored.paths.trace)
    assert [point.step for point in points.new()] == [1]
    line = json.dumps({"kind": "step", "t": 2.0, "policy_version": 2, "loss": 0.5}).encode()
    with mirrored.paths.trace.open("ab", buffering=0) as trace:
        trace.write(line[:30])
        assert points.new() == []
        trace.write(line[30:] + b"\n")
        assert [point.metrics["train/loss"] for point in points.new()] == [0.5]
        trace.write(
            b'\xff{"kind":"step"\n[]\n{"kind":"step","t":"x"}\n{"kind":"step","t":3.0}\n' + line + b"\n"
        )
        assert [point.step for point in points.new()] == [2]


def test_a_line_torn_by_a_kill_and_cut_off_by_the_next_attempt_is_no_point(mirrored):
    mirrored.attempt(start=0, until=2)
    points = TracePoints(mirrored.paths.trace)
    points.new()
    with mirrored.paths.trace.open("ab") as trace:
        trace.write(b'{"v":1,"attempt":1,"t":3.0,"kind":"step","policy_ver')
    assert points.new() == []
    AppendFile(mirrored.paths.trace).close()  # what the next attempt does first
    mirrored.attempt(start=1, until=2, resumed=True)
    rewind, point = points.new()
    assert rewind == Rewind(1)
    assert (point.step, point.metrics["train/reward_mean"]) == (2, 2.02)


def test_a_trace_that_was_replaced_is_not_taken_for_the_same(mirrored):
    mirrored.attempt(start=0, until=3)
    points = TracePoints(mirrored.paths.trace)
    points.new()
    mirrored.paths.trace.unlink()
    mirrored.attempt(start=0, until=1)
    with pytest.raises(ConfigError, match="start the mirror again"):
        points.new()


class Paper:
    """Keeps what it is sent as a list, like W&B and Trackio, or takes back, like TensorBoard."""

    def __init__(self, *, rewinds: bool) -> None:
        self.rewinds, self.rows = rewinds, []

    def open(self, run):
        return None

    def log(self, point):
        self.rows.append((point.step, point.held_out, point.metrics.get("train/reward_mean")))

    def rewind(self, step):
        if self.rewinds:
            self.rows = [row for row in self.rows if row[0] <= step]
        return self.rewinds

    def close(self, state):
        pass


@settings(max_examples=60, deadline=None)
@given(data=st.data(), rewinds=st.booleans())
def test_whenever_mirror_and_run_are_killed_each_step_is_there_once(tmp_path_factory, data, rewinds):
    run = Run(tmp_path_factory.mktemp("law") / "run")
    paper, final, version = Paper(rewinds=rewinds), {}, 0
    following = Following("paper", paper, run.paths)
    for attempt in range(1, data.draw(st.integers(1, 4), label="attempts") + 1):
        start = data.draw(st.integers(0, version), label="from")
        version = data.draw(st.integers(start, start + 4), label="until")
        final = {at: value for at, value in final.items() if at <= start}
        final |= {at: attempt + at / 100 for at in range(start + 1, version + 1)}
        run.attempt(start=start, until=version, resumed=attempt > 1, held_out=(start, version))
        if data.draw(st.booleans(), label="mirror keeps up"):
            following.send_new()
        if data.draw(st.booleans(), label="mirror killed"):
            following = Following("paper", paper, run.paths)
    following.close(RunState.SUCCEEDED)
    sent = [(step, held_out) for step, held_out, _ in paper.rows]
    assert sent == sorted(set(sent))
    steps = {step: value for step, held_out, value in paper.rows if not held_out}
    assert set(final) <= set(steps)
    if rewinds:
        assert steps == final  # and of the attempt that counts
