"""The curve on the histogram is the mixture that was found, against scipy's log-normal."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import lognorm

from results.statistics.mixture import Mixture
from results.statistics.mode_curves import find_again, points_along, share_within
from results.statistics.modes import find_modes, step_modes
from results.statistics.rounding import spread_ties
from results.tables.steps import mode_curves_table


def two_kinds(count=120, seed=0):
    """Step times of which each second is fast, in order."""
    rng = np.random.default_rng(seed)
    return np.where(np.arange(count) % 2, 14.6, 28.6) * rng.lognormal(0, 0.02, count)


def table_of(seconds, interval=2):
    return pd.DataFrame({"step": np.arange(len(seconds)), "wall_s": seconds, "sync_interval_steps": interval})


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("outliers", [(), (70.0, 90.0)])
def test_the_mixture_is_the_one_that_was_found(decimals, outliers):
    seconds = np.concatenate([two_kinds(), outliers])
    seconds = seconds if decimals is None else seconds.round(decimals)
    _, found = find_modes(np.log(spread_ties(seconds)), np.random.default_rng(0))
    modes = step_modes(table_of(np.concatenate([[42.0, 42.0], seconds])), 2).modes
    again = find_again(
        seconds, np.array([mode.seconds for mode in modes]), np.array([mode.weight for mode in modes])
    )
    assert len(modes) == 2
    for name in ("locations", "spreads", "weights"):
        np.testing.assert_allclose(getattr(again, name), getattr(found, name), rtol=1e-9)


def test_modes_of_other_times_are_not_found():
    assert find_again(two_kinds(), np.array([14.6, 28.7]), np.array([0.5, 0.5])) is None


def test_shares_are_those_of_the_log_normals():
    mixture = Mixture(np.log([3.0, 9.0]), np.array([0.1, 0.02]), np.array([0.3, 0.7]))
    at_s, width = np.linspace(1, 12, 40), 0.4
    kinds = lognorm(s=0.1, scale=3.0), lognorm(s=0.02, scale=9.0)
    expected = sum(
        weight * (kind.cdf(at_s + width / 2) - kind.cdf(at_s - width / 2))
        for weight, kind in zip((0.3, 0.7), kinds, strict=True)
    )
    np.testing.assert_allclose(share_within(mixture, at_s, width), expected, atol=1e-12)


def test_bins_side_by_side_hold_all_steps():
    mixture = Mixture(np.log([0.05, 9.0]), np.array([0.1, 0.02]), np.array([0.3, 0.7]))
    held = share_within(mixture, np.arange(0, 20, 0.1) + 0.05, 0.1)
    assert held.sum() == pytest.approx(1)


def test_the_curve_passes_over_every_mode():
    mixture = Mixture(np.log([3.0, 9.0]), np.array([0.1, 1e-4]), np.array([0.3, 0.7]))
    points = points_along(mixture)
    assert (np.diff(points) >= 0).all()
    drawn = share_within(mixture, points, 0.01)
    peak = lognorm(s=1e-4, scale=9.0)
    assert drawn.max() == pytest.approx(0.7 * (peak.cdf(9.005) - peak.cdf(8.995)), rel=1e-3)


def test_runs_with_one_mode_have_no_curve_and_the_first_cycle_is_not_in_it():
    two, one = table_of(np.concatenate([[400.0, 500.0], two_kinds()])), table_of(two_kinds() * 0 + 5.0)
    found = step_modes(two, 2)
    modes = pd.DataFrame(
        {
            "run_name": ["two", "one", "elsewhere"],
            "modes": [len(found.modes), 1, 2],
            "mode_seconds": [[mode.seconds for mode in found.modes], [5.0], [1.0, 2.0]],
            "mode_weights": [[mode.weight for mode in found.modes], [1.0], [0.5, 0.5]],
        }
    )
    steps = pd.concat([two.assign(run_name="two"), one.assign(run_name="one")])
    curves = mode_curves_table(steps, modes, width_s=1.0)
    assert set(curves["run_name"]) == {"two"}
    # A bin of 1 s holds nearly all of a fast mode's 60 steps.
    assert curves["steps"].max() == pytest.approx(60, abs=6)
    assert mode_curves_table(steps, modes[1:2], width_s=1.0).empty
