"""The law of the schedule, checked by playing whole runs of it."""

import heapq
import itertools
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.schedule import Schedule, infeasibility


class StalledError(Exception):
    """Nothing can happen any more and the run is not done."""


def play(schedule, latencies, filtered=(), learn_s=1.0):
    """Run the schedule to its end with generation times and filter verdicts taken in turn.

    Returns (step, version at dispatch) of every trained group.
    """
    batch, total = schedule.prompts_per_optim_step, schedule.max_steps
    latency, verdict = itertools.cycle(latencies), itertools.chain(filtered, itertools.repeat(False))
    line, undecided, finishing = deque(), set(), []
    trained, consumed, engine, learner, now, sent = [], 0, 0, 0, 0.0, itertools.count()
    syncing, learning_until = False, None
    while learner < total:
        while not syncing and schedule.may_dispatch(consumed + len(line), engine):
            number = next(sent)
            line.append((number, engine))
            undecided.add(number)
            heapq.heappush(finishing, (now + next(latency), number, next(verdict)))
        if syncing and not finishing:
            syncing, engine = False, learner
            continue
        ready = not syncing and learning_until is None and len(line) >= batch
        if ready and not any(number in undecided for number, _ in itertools.islice(line, batch)):
            trained += [(learner, line.popleft()[1]) for _ in range(batch)]
            consumed += batch
            learning_until = now + learn_s
            continue
        upcoming = [finishing[0][0]] if finishing else []
        upcoming += [] if learning_until is None else [learning_until]
        if not upcoming:
            raise StalledError
        now = min(upcoming)
        if learning_until == now:
            learner, learning_until = learner + 1, None
            syncing = schedule.sync_due(learner)
        else:
            _, number, drop = heapq.heappop(finishing)
            undecided.remove(number)
            if drop:
                line = deque(entry for entry in line if entry[0] != number)
    return trained


@st.composite
def schedules(draw, feasible=True):
    interval = draw(st.integers(1, 5))
    staleness = draw(st.integers(interval - 1, 6) if feasible else st.integers(0, 6))
    batch = draw(st.integers(1, 4))
    return Schedule(staleness, batch, interval * batch, draw(st.integers(1, 12)))


times = st.lists(st.sampled_from([0.0, 0.01, 0.5, 1.0, 3.0, 20.0]), min_size=1, max_size=20)
verdicts = st.lists(st.booleans(), max_size=60)


@given(schedules(), times, verdicts, st.sampled_from([0.0, 1.0, 10.0]))
def test_every_feasible_run_ends_and_no_trained_group_is_older_than_allowed(
    schedule, latencies, filtered, learn_s
):
    trained = play(schedule, latencies, filtered, learn_s)
    assert len(trained) == schedule.max_steps * schedule.prompts_per_optim_step
    ages = [step - version for step, version in trained]
    assert min(ages) >= 0
    assert max(ages) <= schedule.worst_case_age() <= schedule.max_staleness


@given(schedules(feasible=False), times)
def test_a_run_stalls_exactly_where_the_settings_are_called_infeasible(schedule, latencies):
    staleness, interval = schedule.max_staleness, schedule.sync_interval_steps
    # A run of no more than s + 1 steps ends before the first sync is missed.
    long = Schedule(
        staleness,
        schedule.prompts_per_optim_step,
        schedule.prompts_per_rollout_sync,
        staleness + interval + 1,
    )
    try:
        play(long, latencies)
        stalled = False
    except StalledError:
        stalled = True
    reason = infeasibility(staleness, long.prompts_per_optim_step, long.prompts_per_rollout_sync)
    assert stalled == (reason is not None) == (interval - 1 > staleness)
    if reason:
        assert f"{interval} - 1 = {interval - 1} > {staleness}" in reason


@given(st.integers(1, 4), st.integers(1, 12), times, verdicts)
def test_without_staleness_every_step_trains_groups_of_its_own_version(batch, steps, latencies, filtered):
    trained = play(Schedule(0, batch, batch, steps), latencies, filtered)
    assert trained == [(step, step) for step in range(steps) for _ in range(batch)]


@pytest.mark.parametrize("staleness", [0, 1, 2, 5])
def test_an_engine_faster_than_the_learner_trains_at_the_full_age_once_warm(staleness):
    trained = play(Schedule(staleness, 3, 3, 20), [0.1])
    assert [step - version for step, version in trained[::3]] == [min(step, staleness) for step in range(20)]


def test_with_two_steps_to_a_sync_the_age_alternates():
    trained = play(Schedule(1, 2, 4, 6), [0.1, 3.0])
    assert [step - version for step, version in trained] == [0, 0, 1, 1] * 3


def test_ages_are_bounded_for_every_pattern_of_filtered_groups_and_order_of_finishing():
    orders = list(itertools.permutations([0.2, 1.1, 2.3]))
    for staleness, interval in [(0, 1), (1, 1), (1, 2), (2, 2), (2, 3)]:
        schedule = Schedule(staleness, 2, 2 * interval, 4)
        for filtered in itertools.product([False, True], repeat=7):
            for latencies in orders:
                trained = play(schedule, latencies, filtered)
                assert all(0 <= step - version <= staleness for step, version in trained)


def test_filtering_only_makes_groups_younger():
    schedule = Schedule(2, 2, 4, 8)
    plain = play(schedule, [0.3])
    thinned = play(schedule, [0.3], [True, False, True, True, False] * 6)
    assert all(old[1] <= new[1] for old, new in zip(plain, thinned, strict=True))


def test_syncs_are_due_at_multiples_of_the_interval_and_never_before_training():
    schedule = Schedule(2, 4, 12, 9)
    assert [version for version in range(10) if schedule.sync_due(version)] == [3, 6, 9]
