"""Step-time modes: planted ones are found, skew and outliers are not taken for them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from results.statistics.mixture import Mixture, fit_mixture
from results.statistics.modes import step_modes
from results.statistics.rounding import resolution, spread_ties
from results.statistics.sequential import SAMPLES, sequential_p
from results.statistics.silverman import critical_bandwidth, silverman_test

PARTS = ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s")


def steps_of(walls, interval=1, wait=None):
    """A run's steps: `walls` follow a first sync cycle that is left out."""
    walls = np.concatenate([np.full(interval, 100.0), walls])
    frame = pd.DataFrame({"step": np.arange(len(walls)), "wall_s": walls, **dict.fromkeys(PARTS, 0.0)})
    frame["wait_s"] = frame["wall_s"] - 14.0 if wait is None else wait
    return frame


def alternating(rng, count=48):
    return np.where(np.arange(count) % 2 == 0, 28.6, 14.6) * rng.lognormal(0, 0.02, count)


def test_planted_modes_are_found_with_their_steps():
    walls = alternating(np.random.default_rng(0))
    found = step_modes(steps_of(np.append(walls, [28.6, 60.0]), interval=2), 2)
    assert [mode.seconds for mode in found.modes] == pytest.approx([14.6, 28.6], rel=0.02)
    assert [mode.weight for mode in found.modes] == pytest.approx([0.5, 0.5], abs=0.03)
    assert found.unimodality_p < 0.05
    assert found.outliers_s[-1] == 60.0
    for mode in found.modes:
        held = walls[(walls >= mode.low_s) & (walls <= mode.high_s)]
        assert mode.steps == len(held) + (mode.low_s < 28.6 < mode.high_s)
    assert sum(mode.steps for mode in found.modes) + len(found.outliers_s) == found.steps == 50


@pytest.mark.parametrize("seed", range(4))
def test_skewed_times_have_one_mode(seed):
    rng = np.random.default_rng(seed)
    walls = 20 + rng.gamma(2.0, 3.0, 60)
    found = step_modes(steps_of(walls), 1)
    assert len(found.modes) == 1
    assert found.sentence.startswith("One mode")


def test_a_few_outliers_are_no_mode():
    walls = np.append(np.random.default_rng(3).lognormal(np.log(28.6), 0.01, 66), 42.2)
    found = step_modes(steps_of(walls), 1)
    assert len(found.modes) == 1
    assert found.modes[0].seconds == pytest.approx(28.6, rel=0.01)
    mode = found.modes[0]
    assert mode.low_s < 28.3 and 28.9 < mode.high_s < 30
    assert mode.steps == np.count_nonzero((walls >= mode.low_s) & (walls <= mode.high_s)) >= 60
    assert found.outliers_s[-1] == 42.2
    assert len(found.outliers_s) == 67 - mode.steps
    assert f"{mode.steps} of 67 steps in 2" in found.sentence and "to 42.2 s" in found.sentence
    assert found.modes[0].std_s == pytest.approx(walls.std(ddof=1))


def test_few_steps_are_not_judged():
    found = step_modes(steps_of(np.full(5, 3.0)), 1)
    assert found.modes == ()
    assert "too few" in found.sentence


def test_equal_times_have_one_mode():
    assert len(step_modes(steps_of(np.full(30, 3.0)), 1).modes) == 1


def test_the_same_data_give_the_same_answer():
    frame = steps_of(alternating(np.random.default_rng(4)), interval=2)
    assert step_modes(frame, 2) == step_modes(frame, 2)


def test_critical_bandwidth_is_where_scipys_estimate_loses_its_second_mode():
    values = np.concatenate([np.random.default_rng(5).normal(at, 1, 40) for at in (0, 6)])

    low, high = np.sort(values)[2], np.sort(values)[-3]

    def modes(bandwidth):
        density = stats.gaussian_kde(values, bandwidth / values.std(ddof=1))(np.linspace(low, high, 4000))
        rising = np.diff(density) > 0
        return np.count_nonzero(rising[:-1] & ~rising[1:])

    critical = critical_bandwidth(values, 1)
    assert modes(critical * 1.03) == 1
    assert modes(critical * 0.97) > 1


def test_silvermans_test_keeps_its_level_and_is_not_too_cautious():
    p = [silverman_test(rng.normal(size=50), 1, rng) for rng in map(np.random.default_rng, range(300))]
    rejected = np.count_nonzero(np.array(p) < 0.05)
    assert rejected <= 24  # 15 expected at the level; more than 24 has a chance of 1 %
    assert rejected >= 1  # the uncalibrated test rejects none


def test_a_sequential_p_value_says_what_all_samples_would_have_said():
    for seed, chance in enumerate((0.0, 0.02, 0.045, 0.05, 0.06, 0.3)):
        samples = np.random.default_rng(seed).random(SAMPLES) < chance
        drawn = iter(samples)
        p = sequential_p(lambda count, drawn=drawn: np.array([next(drawn) for _ in range(count)]))
        assert (p < 0.05) == ((1 + samples.sum()) / (1 + SAMPLES) < 0.05)


@given(st.lists(st.integers(1, 400), min_size=2, max_size=60), st.sampled_from([1.0, 0.1, 0.01]))
def test_spread_ties_round_back_and_keep_their_order(multiples, step):
    values = np.array(multiples) * step
    spread = spread_ties(values)
    assert resolution(values) >= step
    assert np.abs(spread - values).max() <= resolution(values) / 2 * (1 + 1e-6)
    assert np.all(np.diff(spread[np.argsort(values, kind="stable")]) >= -1e-12)


def test_times_rounded_to_a_tenth_are_no_modes():
    walls = np.round(28.65 + np.random.default_rng(10).normal(0, 0.03, 90), 1)
    assert set(walls) >= {28.6, 28.7}
    assert len(step_modes(steps_of(walls), 1).modes) == 1


def test_times_that_were_not_rounded_stay():
    values = np.random.default_rng(11).lognormal(3, 0.1, 30)
    assert resolution(values) == 0
    assert np.array_equal(spread_ties(values), values)


def test_the_mixture_recovers_what_was_drawn():
    rng = np.random.default_rng(9)
    values = np.concatenate([rng.normal(0, 1, 400), rng.normal(8, 2, 600)])
    mixture = fit_mixture(values, 2).mixture
    assert mixture.locations == pytest.approx([0, 8], abs=0.25)
    assert mixture.spreads == pytest.approx([1, 2], abs=0.2)
    # What the flat background takes of both is in neither weight.
    assert mixture.weights.sum() >= 0.9
    assert mixture.weights / mixture.weights.sum() == pytest.approx([0.4, 0.6], abs=0.03)


def test_ashmans_d_and_the_valley():
    near = Mixture(np.array([0.0, 1.0]), np.array([1.0, 1.0]), np.array([0.5, 0.5]))
    far = Mixture(np.array([0.0, 4.0]), np.array([1.0, 1.0]), np.array([0.5, 0.5]))
    assert near.ashman_d(0) == pytest.approx(1.0)
    assert far.ashman_d(0) == pytest.approx(4.0)
    assert far.has_valley(0) and not near.has_valley(0)
