"""docs/schedule.md: each formula against the simulator, over random parameters in its range of validity.

As on that page: s, B, k, N are the schedule's; G is a batch's generation, L a step's learning and whatever
else comes before its sync, S a sync.
"""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy.integrate import quad

from trainer.records import Fate
from trainer.schedule import Schedule
from trainer.simulator import Durations, Way, Work, simulate

SECONDS = st.floats(0.1, 20.0)


def schedule(s, batch, k, steps):
    return Schedule(s, batch, k * batch, steps)


def played(way, generate_s, learn_s, sync_s, crowding=0.0, draw=None):
    """L is made of learning and the rest of a step, half and half."""
    batch = way.schedule.prompts_per_optim_step
    durations = Durations(
        crowding=crowding, learn_s_per_prompt=learn_s / 2 / batch, other_s=learn_s / 2, sync_s=sync_s
    )
    return simulate(way, durations, draw or (lambda version: Work(generate_s)))


# Time: all groups alike, `wait`.


def buffered_steps(s, k):
    """b: of the k steps after a sync, those whose groups were ready before it."""
    return min(s - k + 1, k)


def cycle_s(s, k, generate_s, learn_s, sync_s):
    b = buffered_steps(s, k)
    return max(generate_s, b * learn_s) + (k - b) * learn_s + sync_s


def wall_s(s, k, steps, first_generate_s, generate_s, learn_s, sync_s):
    """Of a run that ends with a sync: its first cycle, the warm ones, and those with nothing to dispatch."""
    cycles = steps // k
    last = min((s + 1) // k - 1, cycles - 1)
    first_s, last_s = first_generate_s + k * learn_s + sync_s, k * learn_s + sync_s
    return first_s + (cycles - 1 - last) * cycle_s(s, k, generate_s, learn_s, sync_s) + last * last_s


@st.composite
def intervals(draw):
    """(s, k), feasible."""
    k = draw(st.integers(1, 4))
    return draw(st.integers(k - 1, 3 * k + 1)), k


@examples(max_examples=300, deadline=None)
@given(intervals(), st.integers(1, 4), st.integers(1, 12), SECONDS, SECONDS, SECONDS, st.floats(0.0, 1.0))
def test_wall_time_of_a_run_that_waits(which, batch, cycles, alone_s, learn_s, sync_s, crowding):
    (s, k), steps = which, cycles * which[1]
    run = played(Way(schedule(s, batch, k, steps)), alone_s, learn_s, sync_s, crowding)

    def crowded_s(groups):
        return alone_s * (1 + crowding * (groups - 1))

    # Batches that the last dispatch leaves unfinished are fewer; then they are less crowded, too.
    assume(crowding == 0.0 or (steps > s + 1 and (steps - s - 1) % k == 0))
    first_s = crowded_s(min(s + 1, steps) * batch)
    expected_s = wall_s(s, k, steps, first_s, crowded_s(k * batch), learn_s, sync_s)
    assert run.wall_s == pytest.approx(expected_s)


@examples(max_examples=100, deadline=None)
@given(intervals(), SECONDS, SECONDS, SECONDS)
def test_step_times_by_their_place_in_a_warm_sync_cycle_that_waits(which, generate_s, learn_s, sync_s):
    (s, k), b = which, buffered_steps(*which)
    run = played(Way(schedule(s, 2, k, k * (s + 6))), generate_s, learn_s, sync_s)
    late_s = max(generate_s - b * learn_s, 0.0)
    expected = [learn_s] * k
    expected[min(b, k - 1)] += late_s
    expected[-1] += sync_s
    for cycle in range(2, 4):
        assert [step.wall_s for step in run.steps[cycle * k : (cycle + 1) * k]] == pytest.approx(expected)


@examples(max_examples=100, deadline=None)
@given(st.integers(1, 4), SECONDS, SECONDS, SECONDS)
def test_beyond_some_staleness_a_run_that_waits_is_not_faster(k, generate_s, learn_s, sync_s):
    useful = k - 1 + min(k, math.ceil(generate_s / learn_s))
    cycles = [cycle_s(s, k, generate_s, learn_s, sync_s) for s in range(k - 1, useful + 4)]
    least_s = max(generate_s, k * learn_s) + sync_s
    assert all(slower >= faster for slower, faster in pairwise(cycles))
    assert cycles[useful - (k - 1) :] == pytest.approx([least_s] * 4)
    assert useful == k - 1 or cycles[useful - k] > least_s


# Time: `keep` and `abort`.


def kept_step_s(s, k, generate_s, learn_s, sync_s):
    m = (s + 1) // k
    return max(learn_s, (generate_s + (k * (m + 1) - s - 1) * learn_s) / (k * m)) + sync_s / k


@examples(max_examples=300, deadline=None)
@given(intervals(), st.integers(1, 3), SECONDS, SECONDS, SECONDS)
def test_step_time_where_groups_go_on_during_a_sync(which, batch, generate_s, learn_s, sync_s):
    s, k = which
    period = k * ((s + 1) // k)
    warm = 40 * period
    run = played(
        Way(schedule(s, batch, k, warm + 2 * period + s), in_flight="keep"), generate_s, learn_s, sync_s
    )
    step_s = (run.steps[warm + period].start_s - run.steps[warm].start_s) / period
    # Just where the engine becomes the slower side it takes long to be warm.
    assume(abs(generate_s - (s + 1 - k) * learn_s) > 0.3 * learn_s)
    assert step_s == pytest.approx(kept_step_s(s, k, generate_s, learn_s, sync_s))


@examples(max_examples=100, deadline=None)
@given(st.integers(0, 5), SECONDS, SECONDS, SECONDS)
def test_with_a_sync_after_every_step_kept_groups_share_one_fill_among_s_plus_1_steps(
    s, fill_s, learn_s, sync_s
):
    expected = sync_s + max(learn_s, (fill_s + learn_s) / (s + 1))
    assert kept_step_s(s, 1, fill_s, learn_s, sync_s) == pytest.approx(expected)
    useful = math.ceil(fill_s / learn_s)
    assert kept_step_s(useful, 1, fill_s, learn_s, sync_s) == pytest.approx(learn_s + sync_s)
    assume(fill_s / learn_s - (useful - 1) > 1e-6)
    assert kept_step_s(useful - 1, 1, fill_s, learn_s, sync_s) > learn_s + sync_s


@examples(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(2, 5), SECONDS, SECONDS, SECONDS)
def test_step_time_and_ages_where_syncs_abort_a_slower_engine(s, batch, rounds, generate_s, learn_s, sync_s):
    assume(abs(generate_s - learn_s) > 1e-6)
    steps = rounds * (s + 1)
    run = played(Way(schedule(s, batch, 1, steps), in_flight="abort"), generate_s, learn_s, sync_s)
    fills = rounds if generate_s > learn_s else 1
    assert run.wall_s == pytest.approx(fills * generate_s + steps * (learn_s + sync_s))
    if generate_s > learn_s:
        assert run.ages == dict.fromkeys(range(s + 1), rounds * batch)
    else:
        assert Fate.ABORTED not in run.fates


def test_replacements_of_filtered_groups_come_late_with_one_step_of_staleness_and_in_time_with_two():
    works = [Work(2.0, fate=Fate.TRAINED), Work(2.0, fate=Fate.FILTERED)]

    def wall_s(s):
        rng = random.Random(0)
        way = Way(schedule(s, 8, 1, 400))
        return played(way, 0.0, 4.0, 0.5, draw=lambda version: works[rng.random() < 0.3]).wall_s

    assert wall_s(2) < 0.97 * wall_s(1)
    assert wall_s(3) == pytest.approx(wall_s(2), rel=0.01)


# Latencies that differ.


@st.composite
def latencies(draw, batch, steps):
    rng = random.Random(draw(st.integers(0, 10**6)))
    spread = draw(st.sampled_from([0.1, 1.0]))
    return [[rng.lognormvariate(1.0, spread) for _ in range(batch)] for _ in range(steps)]


@examples(max_examples=200, deadline=None)
@given(st.data(), st.integers(0, 5), st.integers(1, 6), st.integers(1, 20), SECONDS, SECONDS)
def test_a_step_waits_for_the_slowest_group_of_one_batch(data, s, batch, steps, learn_s, sync_s):
    batches = data.draw(latencies(batch, steps))
    following = (Work(seconds) for each in batches for seconds in each)
    run = played(
        Way(schedule(s, batch, 1, steps)), 0.0, learn_s, sync_s, draw=lambda version: next(following)
    )
    slowest = [max(each) for each in batches]
    expected = [
        max(slowest[step + s], learn_s) + sync_s if step + s < steps else learn_s + sync_s
        for step in range(steps)
    ]
    expected[0] = max(slowest[0] + learn_s, *slowest[: s + 1]) + sync_s
    if s == 0:
        expected = [each + learn_s + sync_s for each in slowest]
    assert [step.wall_s for step in run.steps] == pytest.approx(expected)


@pytest.mark.parametrize("s", [0, 1, 3])
def test_mean_step_time_of_independent_latencies_is_an_integral(s):
    mean_s, batch, learn_s, sync_s, steps = 2.0, 6, 4.0, 0.5, 20_000
    rng = random.Random(s)
    run = played(
        Way(schedule(s, batch, 1, steps)),
        0.0,
        learn_s,
        sync_s,
        draw=lambda version: Work(rng.expovariate(1 / mean_s)),
    )

    def one_is_longer(seconds):
        return 1 - (1 - math.exp(-seconds / mean_s)) ** batch

    hidden_s = learn_s if s else 0.0  # by learning at the same time
    expected = learn_s + sync_s + quad(one_is_longer, hidden_s, math.inf)[0]
    assert run.wall_s / steps == pytest.approx(expected, rel=0.01)
    if s == 0:  # w times the harmonic number of B
        assert expected == pytest.approx(learn_s + sync_s + mean_s * sum(1 / n for n in range(1, batch + 1)))


# Age.


def age(step, s, k):
    return step - k * max(0, math.ceil((step - s) / k))


@examples(max_examples=200, deadline=None)
@given(
    st.data(), intervals(), st.integers(1, 4), st.integers(1, 20), st.sampled_from(["wait", "keep"]), SECONDS
)
def test_age_of_each_step_whatever_the_latencies_where_nothing_is_filtered(
    data, which, batch, steps, in_flight, learn_s
):
    s, k = which
    following = (Work(seconds) for each in data.draw(latencies(batch, steps)) for seconds in each)
    groups = []
    durations = Durations(learn_s_per_prompt=learn_s / batch, sync_s=0.1)
    simulate(
        Way(schedule(s, batch, k, steps), in_flight),
        durations,
        lambda version: next(following),
        groups.append,
    )
    assert [group.step - group.version for group in groups] == [
        age(step, s, k) for step in range(steps) for _ in range(batch)
    ]


@examples(deadline=None)
@given(intervals())
def test_mean_age_once_warm(which):
    s, k = which
    warm = [age(step, s, k) for step in range(4 * k + s + 1, 8 * k + s + 1)]
    assert sum(warm) / len(warm) == s - (k - 1) / 2
    assert max(warm) == s
    assert min(warm) == s - k + 1


def test_mean_age_of_a_whole_run_with_a_sync_after_every_step():
    for s in range(6):
        for steps in range(s + 1, 30):
            ages = [age(step, s, 1) for step in range(steps)]
            assert sum(ages) / steps == pytest.approx(s - s * (s + 1) / (2 * steps))


@pytest.mark.parametrize(("generate_s", "younger"), [(0.5, False), (3.0, True)])
def test_filtered_groups_make_others_younger_only_where_verdicts_come_after_a_sync(generate_s, younger):
    rng = random.Random(0)
    works = [Work(generate_s, fate=Fate.TRAINED), Work(generate_s, fate=Fate.FILTERED)]
    way = Way(schedule(2, 8, 1, 300), in_flight="keep")
    learn_s = 10.0 if not younger else 1.0
    run = played(way, 0.0, learn_s, 0.0, draw=lambda version: works[rng.random() < 0.3])
    mean = sum(age * groups for age, groups in run.ages.items()) / run.ages.total()
    oldest = 2 - 2 * 3 / (2 * 300)
    assert mean < oldest - 0.1 if younger else mean == pytest.approx(oldest)
