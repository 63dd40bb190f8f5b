"""Step-time modes: planted ones are found, skew and outliers are not taken for them."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from results.statistics.mixture import Mixture, fit_mixture
from results.statistics.modes import critical_bandwidth, position_test, silverman_test, step_modes

PARTS = ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s")


def steps_of(walls, interval=1, wait=None):
    """A run's steps: `walls` follow a first sync cycle that is left out."""
    walls = np.concatenate([np.full(interval, 100.0), walls])
    frame = pd.DataFrame({"step": np.arange(len(walls)), "wall_s": walls, **dict.fromkeys(PARTS, 0.0)})
    frame["wait_s"] = frame["wall_s"] - 14.0 if wait is None else wait
    return frame


def alternating(rng, count=48):
    return np.where(np.arange(count) % 2 == 0, 28.6, 14.6) * rng.lognormal(0, 0.02, count)


def test_planted_modes_are_found_and_explained_by_the_sync_cycle():
    found = step_modes(steps_of(alternating(np.random.default_rng(0)), interval=2), 2)
    assert [mode.seconds for mode in found.modes] == pytest.approx([14.6, 28.6], rel=0.02)
    assert [mode.weight for mode in found.modes] == pytest.approx([0.5, 0.5], abs=0.03)
    assert found.unimodality_p < 0.05 and found.position_p < 0.01
    assert "step 1 of 2 after a sync takes 28." in found.sentence
    assert "is wait" in found.sentence


def test_modes_without_a_pattern_are_not_explained_by_the_cycle():
    rng = np.random.default_rng(1)
    found = step_modes(steps_of(rng.permutation(alternating(rng)), interval=2), 2)
    assert len(found.modes) == 2
    assert found.position_p > 0.05
    assert "does not explain" in found.sentence


def test_modes_with_a_sync_after_every_step_are_not_explained_by_the_cycle():
    rng = np.random.default_rng(2)
    found = step_modes(steps_of(rng.permutation(alternating(rng))), 1)
    assert len(found.modes) == 2
    assert np.isnan(found.position_p)
    assert "cannot explain" in found.sentence


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
    assert "42.2 s" in found.sentence


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

    def modes(bandwidth):
        density = stats.gaussian_kde(values, bandwidth / values.std(ddof=1))(np.linspace(-6, 12, 4000))
        rising = np.diff(density) > 0
        return np.count_nonzero(rising[:-1] & ~rising[1:])

    critical = critical_bandwidth(values, 1)
    assert modes(critical * 1.01) == 1
    assert modes(critical * 0.99) > 1


def test_silvermans_test_keeps_its_level():
    rng = np.random.default_rng(6)
    rejected = sum(silverman_test(rng.normal(size=50), 1, rng) < 0.05 for _ in range(40))
    assert rejected <= 4  # it is known to be conservative


def test_position_test_keeps_its_level_under_drift():
    rng = np.random.default_rng(7)
    steps, drift = np.arange(40), np.linspace(0, 2, 40)
    rejected = sum(position_test(steps, drift + rng.normal(size=40), 4, rng) < 0.05 for _ in range(60))
    assert rejected <= 9


def test_position_test_ignores_partial_cycles():
    rng = np.random.default_rng(8)
    values = np.tile([0.0, 1.0], 10)
    full = position_test(np.arange(2, 22), values, 2, rng)
    partial = position_test(np.arange(3, 22), values[1:], 2, rng)
    assert full < 0.01 and partial < 0.01


def test_the_mixture_recovers_what_was_drawn():
    rng = np.random.default_rng(9)
    values = np.concatenate([rng.normal(0, 1, 400), rng.normal(8, 2, 600)])
    mixture = fit_mixture(values, 2)
    assert mixture.locations == pytest.approx([0, 8], abs=0.25)
    assert mixture.spreads == pytest.approx([1, 2], abs=0.2)
    assert mixture.weights == pytest.approx([0.4, 0.6], abs=0.03)


def test_ashmans_d_and_the_valley():
    near = Mixture(np.array([0.0, 1.0]), np.array([1.0, 1.0]), np.array([0.5, 0.5]))
    far = Mixture(np.array([0.0, 4.0]), np.array([1.0, 1.0]), np.array([0.5, 0.5]))
    assert near.ashman_d(0) == pytest.approx(1.0)
    assert far.ashman_d(0) == pytest.approx(4.0)
    assert far.has_valley(0) and not near.has_valley(0)
