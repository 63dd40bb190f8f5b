"""Held-out evaluations in a simulated run: the learner waits for them, the engine goes on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.schedule import Schedule
from trainer.simulator import Durations, Way, Work, simulate

PHASES = ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s")


def played(every, generate_s, learn_s, held_out_s, *, s=0, steps=10, batch=2, sync_s=0.0):
    way = Way(Schedule(s, batch, batch, steps), held_out_every_steps=every)
    durations = Durations(
        learn_s_per_prompt=learn_s / batch, sync_s=sync_s, other_s=0.25, held_out_s=held_out_s
    )
    return simulate(way, durations, lambda version: Work(generate_s))


def test_a_version_is_evaluated_at_the_beginning_of_the_step_after_it():
    """Neither the first version's evaluation, before the first step, nor the last one's is in any step."""
    steps = played(5, generate_s=1, learn_s=2, held_out_s=3, steps=15).steps
    assert [step.other_s for step in steps] == pytest.approx(
        [3.25 if step in (5, 10) else 0.25 for step in range(15)]
    )


@given(st.none() | st.integers(1, 12), st.floats(0.1, 9), st.floats(0.1, 9), st.floats(0, 9), st.floats(0, 2))
def test_a_synchronous_step_waits_for_what_is_longer(every, generate_s, learn_s, held_out_s, sync_s):
    """The engine generates the next groups while it evaluates."""
    run = played(every, generate_s, learn_s, held_out_s, sync_s=sync_s)
    for number, step in enumerate(run.steps):
        due = every is not None and number > 0 and number % every == 0
        evaluating_s = held_out_s if due else 0.0
        assert step.wall_s == pytest.approx(max(generate_s, evaluating_s) + learn_s + 0.25 + sync_s)
        assert step.wait_s == pytest.approx(max(generate_s - evaluating_s, 0.0))
        assert step.wall_s == pytest.approx(sum(getattr(step, phase) for phase in PHASES))


@given(st.integers(1, 4), st.integers(0, 3), st.floats(0.1, 9), st.floats(0.1, 9), st.floats(0.1, 9))
def test_evaluating_is_not_idling(every, s, generate_s, learn_s, held_out_s):
    """Engine idle: nothing is generated and nothing is evaluated."""
    run = played(every, generate_s, learn_s, held_out_s, s=s)
    quiet = played(None, generate_s, learn_s, held_out_s, s=s)
    evaluations = (len(run.steps) - 1) // every
    if s == 0:
        # A step: generate or evaluate, the longer; then idle until the next sync.
        assert sum(step.engine_idle_s for step in run.steps) == pytest.approx(10 * (learn_s + 0.25))
    assert run.wall_s <= quiet.wall_s + evaluations * held_out_s + 1e-9
    assert run.wall_s >= quiet.wall_s - 1e-9
