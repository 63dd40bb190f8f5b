"""The simulator, against the real buffer played in virtual time and an engine integrated event by event."""

import random
from collections import Counter
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_run import PHASES, NaivePlayer
from schedule_player import Player

from trainer.records import Fate
from trainer.schedule import Schedule, infeasibility
from trainer.simulator import Durations, StalledError, Way, Work, simulate

_MOST_PROMPTS = 500


@st.composite
def ways(draw, feasible=True):
    """How a run goes: every policy, every `in_flight`, streaming or not."""
    interval = draw(st.integers(1, 4))
    staleness = draw(st.integers(interval - 1, 5) if feasible else st.integers(0, 5))
    batch = draw(st.integers(1, 4))
    ahead = draw(st.none() | st.integers(batch, 4 * batch + 4))
    return Way(
        Schedule(staleness, batch, interval * batch, draw(st.integers(1, 10)), ahead),
        in_flight=draw(st.sampled_from(["wait", "abort", "keep"])),
        chunk=draw(st.sampled_from([n for n in range(1, batch + 1) if batch % n == 0])),
        checkpoint_every_steps=draw(st.none() | st.integers(1, 4)),
    )


@st.composite
def works(draw):
    """The work of each prompt in the order of prompts: no two alike, so that nothing happens at one time."""
    rng = random.Random(draw(st.integers(0, 10**6)))
    useless = draw(st.sampled_from([0.0, 0.2, 0.5]))
    spread = draw(st.sampled_from([0.1, 1.0, 2.0]))
    return [
        Work(
            generate_s=rng.lognormvariate(0.0, spread),
            completion_tokens=rng.randrange(1, 500),
            learner_tokens=rng.randrange(1, 600),
            fate=rng.choice((Fate.FILTERED, Fate.FAILED)) if rng.random() < useless else Fate.TRAINED,
        )
        for _ in range(_MOST_PROMPTS)
    ]


@st.composite
def durations(draw):
    def seconds(most):
        return draw(st.sampled_from([0.0]) | st.floats(0.01, most))

    return Durations(
        crowding=draw(st.sampled_from([0.0, 0.05, 0.5, 1.0])),
        max_concurrent_groups=draw(st.none() | st.integers(1, 6)),
        verify_s=seconds(2.0),
        learn_s_per_prompt=seconds(3.0),
        learn_s_per_token=seconds(0.01),
        optimizer_s=seconds(1.0),
        other_s=seconds(1.0),
        sync_s=seconds(2.0),
        checkpoint_s=seconds(3.0),
    )


def watched(way, durations, works):
    """The run, and its groups by number; the n-th new prompt gets the n-th work."""
    groups = []
    following = iter(works)
    run = simulate(way, durations, lambda version: next(following), groups.append)
    return run, {group.number: group for group in groups}


def trained_of(groups):
    return [
        (group.step, group.number, group.version) for group in groups.values() if group.fate is Fate.TRAINED
    ]


def fates_of(groups):
    return {number: group.fate for number, group in groups.items() if group.fate is not Fate.TRAINED}


class PlayedByPrompt(Player):
    """Latency and verdict belong to the prompt, as in the simulator, and dispatching resumes at once."""

    def __init__(self, way, works, learn_s):
        super().__init__(way.schedule, [0.0], learn_s=learn_s, in_flight=way.in_flight, chunk=way.chunk)
        self.works, self.latency = works, self

    def __next__(self):
        return self.works[self.played.dispatched[-1].prompt.ordinal].generate_s

    def _end(self, item, fate):
        own = self.works[item.prompt.ordinal].fate
        super()._end(item, fate if fate is Fate.ABORTED or own is Fate.TRAINED else own)

    def _sync(self, version):
        super()._sync(version)
        self._dispatch()


# Quarters of a second add up exactly: what happens at one time does so in both.
_QUARTERS = [
    Work(seconds, fate=fate)
    for seconds in (0.0, 0.25, 0.5, 1.0, 3.0, 20.0)
    for fate in (Fate.TRAINED, Fate.TRAINED, Fate.FILTERED)
]


@settings(max_examples=250, deadline=None)
@given(
    ways(), st.lists(st.sampled_from(_QUARTERS), min_size=1, max_size=20), st.sampled_from([0.0, 1.0, 10.0])
)
def test_it_trains_what_the_real_buffer_trains_in_the_same_steps_also_where_things_coincide(
    way, some, learn_s
):
    way = replace(way, checkpoint_every_steps=None)  # `Player` has none; one of no time orders what coincides
    works = [*some, Work(1.0)] * _MOST_PROMPTS
    played = PlayedByPrompt(way, works, learn_s).play()
    chunk = way.chunk
    _, groups = watched(way, Durations(learn_s_per_prompt=learn_s / chunk), works)
    assert trained_of(groups) == [(step, item.number, item.version_min) for step, item in played.trained]
    assert fates_of(groups) == played.fates
    assert [groups[item.number].place for item in played.dispatched] == [
        item.prompt.ordinal for item in played.dispatched
    ]


@settings(max_examples=250, deadline=None)
@given(ways(), durations(), works())
def test_it_is_the_loop_over_the_real_buffer_with_an_engine_integrated_event_by_event(way, durations, works):
    naive = NaivePlayer(way, durations, works).play()
    run, groups = watched(way, durations, works)
    assert trained_of(groups) == naive.trained
    assert fates_of(groups) == naive.fates
    finished = {number: group.finished_s for number, group in groups.items() if group.finished_s is not None}
    assert finished == pytest.approx(naive.finished_s)
    aborted = {number: group.done for number, group in groups.items() if group.fate is Fate.ABORTED}
    assert aborted == pytest.approx(naive.done, abs=1e-6)
    for step, expected in zip(run.steps, naive.steps, strict=True):
        assert {name: getattr(step, name) for name in expected} == pytest.approx(expected, abs=1e-6)


@settings(max_examples=200, deadline=None)
@given(ways(), durations(), works())
def test_every_feasible_run_ends_no_group_too_old_or_lost_or_trained_twice_and_all_time_is_told(
    way, durations, works
):
    schedule = way.schedule
    run, groups = watched(way, durations, works)
    assert len(run.steps) == schedule.max_steps
    assert run.ages.total() == schedule.max_steps * schedule.prompts_per_optim_step
    assert 0 <= min(run.ages) <= max(run.ages) <= schedule.worst_case_age()
    # Every group that was ever dispatched has a fate; none is left over.
    assert sorted(groups) == list(range(len(groups)))
    assert run.fates == Counter(group.fate for group in groups.values())
    ended = [
        group.place for group in groups.values() if group.fate in (Fate.TRAINED, Fate.FILTERED, Fate.FAILED)
    ]
    assert sorted(ended) == list(range(len(ended)))
    for fate, tokens in run.tokens.items():
        assert tokens == sum(group.completion_tokens for group in groups.values() if group.fate is fate)
    assert sum(step.completion_tokens for step in run.steps) == run.tokens[Fate.TRAINED]
    assert run.finished == sum(group.finished_s is not None for group in groups.values())
    assert run.latency_s == pytest.approx(
        sum(
            group.finished_s - group.dispatched_s for group in groups.values() if group.finished_s is not None
        )
    )
    for step, following in zip(run.steps, run.steps[1:], strict=False):
        assert step.start_s + step.wall_s == pytest.approx(following.start_s)
    for step in run.steps:
        assert sum(getattr(step, phase) for phase in PHASES) == pytest.approx(step.wall_s)
        assert -1e-9 <= step.engine_idle_s <= step.wall_s + 1e-9
    assert run.wall_s == pytest.approx(sum(step.wall_s for step in run.steps))


@settings(deadline=None)
@given(ways(), durations(), works())
def test_the_same_draws_give_the_same_run(way, durations, works):
    (first, groups), (again, same) = (watched(way, durations, works) for _ in range(2))
    assert asdict(first) == asdict(again)
    assert list(groups) == list(same)


@settings(deadline=None)
@given(ways(feasible=False), durations())
def test_a_run_stalls_exactly_where_its_settings_are_infeasible(way, durations):
    schedule = way.schedule
    # A run of no more than s + 1 steps ends before the first sync is missed.
    long = replace(schedule, max_steps=schedule.max_staleness + schedule.sync_interval_steps + 1)
    reason = infeasibility(long.max_staleness, long.prompts_per_optim_step, long.prompts_per_rollout_sync)
    try:
        simulate(replace(way, schedule=long), durations, lambda version: Work(1.0))
        stalled = False
    except StalledError:
        stalled = True
    assert stalled == (reason is not None)


def test_a_run_that_finds_nothing_to_train_on_ends_where_the_trainer_would_end_it():
    useless, useful = Work(1.0, fate=Fate.FILTERED), Work(1.0)
    way = Way(Schedule(1, 2, 2, 4), max_useless_groups=6)
    with pytest.raises(StalledError, match="6 groups in a row had nothing to train on"):
        simulate(way, Durations(), lambda version: useless)
    following = iter([useless] * 5 + [useful] + [useless] * 5 + [useful] * 20)
    assert simulate(way, Durations(), lambda version: next(following)).fates[Fate.FILTERED] == 10
