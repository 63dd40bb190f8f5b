"""The law of the schedule, checked by playing whole runs of it."""

import itertools
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from schedule_player import Player, StalledError, play

from trainer.records import Fate
from trainer.schedule import Schedule, infeasibility


@st.composite
def schedules(draw, feasible=True, evicting=None):
    interval = draw(st.integers(1, 5))
    staleness = draw(st.integers(interval - 1, 6) if feasible else st.integers(0, 6))
    batch = draw(st.integers(1, 4))
    evict = draw(st.booleans()) if evicting is None else evicting
    ahead = draw(st.integers(batch, 4 * batch + 8)) if evict else None
    return Schedule(staleness, batch, interval * batch, draw(st.integers(1, 12)), ahead)


@st.composite
def runs(draw, **which):
    """A player of a random run: its schedule, times, verdicts and ways."""
    schedule = draw(schedules(**which))
    batch = schedule.prompts_per_optim_step
    latencies = draw(st.lists(st.sampled_from([0.0, 0.01, 0.5, 1.0, 3.0, 20.0]), min_size=1, max_size=20))
    verdicts = draw(st.lists(st.sampled_from([None, None, Fate.FILTERED, Fate.FAILED]), max_size=60))
    return Player(
        schedule,
        latencies,
        verdicts,
        learn_s=draw(st.sampled_from([0.0, 1.0, 10.0])),
        in_flight=draw(st.sampled_from(["wait", "abort", "keep"])),
        chunk=draw(st.sampled_from([n for n in range(1, batch + 1) if batch % n == 0])),
        problems=draw(st.integers(1, 30)),
    )


@settings(max_examples=1000, deadline=None)
@given(runs())
def test_every_feasible_run_ends_and_no_trained_group_is_older_than_allowed(player):
    schedule, played = player.schedule, player.play()
    assert len(played.trained) == schedule.max_steps * schedule.prompts_per_optim_step
    assert min(played.ages()) >= 0
    assert max(played.ages()) <= schedule.worst_case_age() <= schedule.max_staleness


@settings(max_examples=1000, deadline=None)
@given(runs())
def test_no_group_is_lost_and_no_group_or_occurrence_of_a_prompt_is_trained_twice(player):
    played = player.play()
    trained = [item for _, item in played.trained]
    assert len({item.number for item in trained}) == len(trained)
    assert len({item.prompt.ordinal for item in trained}) == len(trained)
    accepted, undecided, _ = player.buffer.waiting()
    waiting = {item.number for item in accepted + undecided}
    ended = {item.number for item in trained} | played.fates.keys()
    assert ended.isdisjoint(waiting)
    assert ended | waiting == {item.number for item in played.dispatched}
    # Every occurrence of a prompt that was ever sent has a verdict, waits, or is to be sent again.
    again = player.frontier.state(item.prompt for item in undecided)
    decided = {item.prompt.ordinal for item in trained} | {item.prompt.ordinal for item in accepted}
    decided |= {
        item.prompt.ordinal
        for item in played.dispatched
        if played.fates.get(item.number) in (Fate.FILTERED, Fate.FAILED)
    }
    assert decided.isdisjoint(again["returned"])
    assert decided | set(again["returned"]) == set(range(again["next"]))


@settings(max_examples=300, deadline=None)
@given(runs(evicting=False))
def test_admission_trains_in_the_order_of_dispatch_and_throws_nothing_away_for_age(player):
    played = player.play()
    numbers = [item.number for _, item in played.trained]
    assert numbers == sorted(numbers)
    assert Fate.EVICTED not in played.fates.values()


@settings(max_examples=300, deadline=None)
@given(runs(evicting=True))
def test_eviction_never_has_more_groups_waiting_than_allowed_and_sends_the_evicted_prompt_next(player):
    most, limit = 0, player.schedule.max_inflight_groups
    next_sent = []
    dispatched, evicted = player.buffer.dispatched, player._evicted

    def watched(item):
        nonlocal most
        dispatched(item)
        accepted, undecided, _ = player.buffer.waiting()
        most = max(most, len(accepted) + len(undecided))
        if next_sent:
            assert item.prompt.ordinal == min(next_sent)
            next_sent.remove(item.prompt.ordinal)

    def noted(item):
        evicted(item)
        next_sent.append(item.prompt.ordinal)

    assume(player.in_flight != "abort")  # whose prompts go first, too
    player.buffer.dispatched, player.buffer._on_evict = watched, noted
    player.play()
    assert most <= limit


@given(schedules(feasible=False), st.sampled_from(["wait", "abort", "keep"]))
def test_a_run_stalls_exactly_where_the_settings_are_called_infeasible(schedule, in_flight):
    staleness, interval = schedule.max_staleness, schedule.sync_interval_steps
    # A run of no more than s + 1 steps ends before the first sync is missed.
    long = Schedule(
        staleness,
        schedule.prompts_per_optim_step,
        schedule.prompts_per_rollout_sync,
        staleness + interval + 1,
    )
    try:
        play(long, [0.5], in_flight=in_flight)
        stalled = False
    except StalledError:
        stalled = True
    reason = infeasibility(staleness, long.prompts_per_optim_step, long.prompts_per_rollout_sync)
    assert stalled == (reason is not None) == (interval - 1 > staleness)
    if reason:
        assert f"{interval} - 1 = {interval - 1} > {staleness}" in reason


@given(st.integers(1, 4), st.integers(1, 12), st.lists(st.sampled_from([0.0, 0.5, 3.0]), min_size=1))
def test_without_staleness_every_step_trains_groups_of_its_own_version(batch, steps, latencies):
    played = play(Schedule(0, batch, batch, steps), latencies, [Fate.FILTERED, None, None] * 5)
    versions = [(step, item.version_min) for step, item in played.trained]
    assert versions == [(step, step) for step in range(steps) for _ in range(batch)]


@pytest.mark.parametrize("staleness", [0, 1, 2, 5])
def test_an_engine_faster_than_the_learner_trains_at_the_full_age_once_warm(staleness):
    played = play(Schedule(staleness, 3, 3, 20), [0.1])
    assert played.ages()[::3] == [min(step, staleness) for step in range(20)]


def test_with_two_steps_to_a_sync_the_age_alternates():
    assert play(Schedule(1, 2, 4, 6), [0.1, 3.0]).ages() == [0, 0, 1, 1] * 3


def test_taking_whichever_group_is_ready_first_would_break_the_bound():
    # DESIGN: s = 1, B = 2 and a slow first group. In dispatch order it is waited for.
    slow_first = [50.0] + [0.1] * 30
    played = play(Schedule(1, 2, 2, 6), slow_first, learn_s=0.1)
    assert played.trained[0][1].number == 0
    assert max(played.ages()) <= 1


def test_eviction_throws_away_what_waited_too_long_and_admission_does_not_even_send_it():
    ahead = Schedule(0, 2, 2, 6, max_inflight_groups=4)
    fates = Counter(play(ahead, [0.1]).fates.values())
    # All four that wait at a sync; at the last one two, since the run needs no more.
    assert fates[Fate.EVICTED] == 4 * 4 + 2
    assert not play(Schedule(0, 2, 2, 6), [0.1]).fates


def test_eviction_favours_groups_that_finish_early():
    latencies = [0.1, 5.0]  # every second group is long
    played = play(Schedule(0, 2, 2, 10, max_inflight_groups=4), latencies, in_flight="keep", learn_s=0.1)
    share_trained = sum(item.number % 2 == 0 for _, item in played.trained) / len(played.trained)
    assert share_trained > 0.5


def test_aborting_sends_the_same_prompts_again_before_any_other():
    played = play(Schedule(1, 2, 2, 4), [0.1, 0.1, 50.0, 50.0], in_flight="abort", learn_s=1.0)
    aborted = [item for item in played.dispatched if played.fates.get(item.number) is Fate.ABORTED]
    assert [item.prompt.ordinal for item in aborted[:2]] == [2, 3]
    first_again = [item for item in played.dispatched if item.number > aborted[1].number][:2]
    assert [item.prompt.ordinal for item in first_again] == [2, 3]
    assert [item.version_min for item in first_again] == [1, 1]


def test_ages_are_bounded_for_every_pattern_of_filtered_groups_and_order_of_finishing():
    orders = list(itertools.permutations([0.2, 1.1, 2.3]))
    for staleness, interval in [(0, 1), (1, 1), (1, 2), (2, 2), (2, 3)]:
        schedule = Schedule(staleness, 2, 2 * interval, 4)
        for verdicts in itertools.product([None, Fate.FILTERED], repeat=6):
            for latencies in orders:
                assert all(0 <= age <= staleness for age in play(schedule, latencies, verdicts).ages())


def test_filtering_only_makes_groups_younger():
    schedule = Schedule(2, 2, 4, 8)
    filtered = [Fate.FILTERED, None, Fate.FILTERED, Fate.FILTERED, None] * 6
    plain, thinned = play(schedule, [0.3]), play(schedule, [0.3], filtered)
    assert all(old >= new for old, new in zip(plain.ages(), thinned.ages(), strict=True))


def test_syncs_are_due_at_multiples_of_the_interval_and_never_before_training():
    schedule = Schedule(2, 4, 12, 9)
    assert [version for version in range(10) if schedule.sync_due(version)] == [3, 6, 9]


def test_the_reference_is_refreshed_each_time_so_many_prompts_were_trained():
    schedule = Schedule(0, 16, 16, 100)
    assert [v for v in range(1, 13) if schedule.reference_sync_due(v, 64)] == [4, 8, 12]
    assert not any(schedule.reference_sync_due(v, None) for v in range(1, 13))
