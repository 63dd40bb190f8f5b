"""By simulation: intervals of the selection cover, and a drift is not taken for a trend with age."""

import numpy as np
import pytest

from results.statistics.selection import matched_means
from results.statistics.trend import BLOCK_STEPS, block_trends
from results.tables.selection import VERSION_BLOCKS


def drifting(rng, length, strength):
    """An autocorrelated course, standard deviation about 0.15 for strength 0.95."""
    course = np.zeros(length)
    for place in range(1, length):
        course[place] = strength * course[place - 1] + rng.normal(0, 0.05)
    return course


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.03, 0.1, 0.3])
def test_intervals_of_the_ratio_cover_at_their_nominal_rate(rate):
    """100 versions, lengths that drift, fates that come in bursts, planted ratio 1.3."""
    rng, runs, truth = np.random.default_rng(11), 1500, 1.3
    rows = []
    for run in range(runs):
        drift = drifting(rng, 100, 0.95) - np.linspace(0, 0.3, 100)
        burst = np.clip(rate * np.exp(4 * drifting(rng, 100, 0.9)), 0, 0.6)
        thrown = rng.binomial(16, burst)
        for block in np.array_split(np.arange(100), VERSION_BLOCKS):
            others = truth * np.exp(
                np.repeat(drift[block], thrown[block]) + rng.normal(0, 0.4, thrown[block].sum())
            )
            trained = np.exp(np.repeat(drift[block], 16) + rng.normal(0, 0.4, 16 * len(block)))
            if len(others):
                rows.append((run, len(others), others.sum(), len(trained), trained.sum()))
    case, *sums = (np.array(column) for column in zip(*rows, strict=True))
    sums = [column.astype(float) for column in sums]
    found = matched_means(case, *sums, cases=runs, as_ratio=True)
    tested = np.isfinite(found.low)
    assert tested.mean() > 0.9
    assert 0.92 < ((found.low <= truth) & (truth <= found.high))[tested].mean() < 0.98


@pytest.mark.slow
@pytest.mark.parametrize("ages", ["alternating", "saw", "slow"])
@pytest.mark.parametrize("strength", [0.0, 0.95])
def test_a_drift_is_not_taken_for_a_trend_with_age(ages, strength):
    rng, runs, blocks = np.random.default_rng(13), 1500, 12
    steps = blocks * BLOCK_STEPS
    values = np.stack([drifting(rng, steps, strength) for _ in range(runs)]) + np.linspace(0, 1, steps)
    saw = {"alternating": np.arange(steps) % 2, "saw": np.arange(steps) % 4}
    slow = np.stack([np.round(10 * drifting(rng, steps, 0.95)) for _ in range(runs)])
    age = np.tile(saw[ages], (runs, 1)).astype(float) if ages in saw else slow
    shape = (runs * blocks, BLOCK_STEPS)
    found = block_trends(
        np.repeat(np.arange(runs), blocks), age.reshape(shape), values.reshape(shape), runs=runs
    )
    tested = np.isfinite(found.p)
    assert tested.mean() > 0.5
    assert (found.p[tested] < 0.05).mean() < 0.07
