"""By simulation: intervals of the selection cover, and a drift is not taken for a trend with age."""

import numpy as np
import pytest
from scipy import stats

from results.statistics.selection import Side, matched_means
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
    both = [], []
    case = []
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
                case.append(run)
                for rows, values in zip(both, (others, trained), strict=True):
                    rows.append((len(values), values.sum(), (values**2).sum(), len(values)))
    sides = (Side(*np.array(rows, dtype=np.float64).T) for rows in both)
    found = matched_means(np.array(case), *sides, cases=runs, as_ratio=True)
    tested = np.isfinite(found.low)
    assert tested.mean() > 0.9
    assert 0.92 < ((found.low <= truth) & (truth <= found.high))[tested].mean() < 0.98


def shares(rng, shape, rate, alike=0.0):
    """Of 8 completions, cut off; `alike` is how the completions of one group correlate."""
    weight = 1 / alike - 1 if alike else None
    chance = rng.beta(rate * weight, (1 - rate) * weight, shape) if weight else rate
    return rng.binomial(8, chance, shape) / 8


DRAWN = {
    "lengths": lambda rng, shape: np.round(rng.lognormal(5, 0.5, shape)),
    "lengths, most at the limit": lambda rng, shape: np.where(rng.random(shape) < 0.95, 512.0, 300.0),
    "lengths, all at the limit": lambda rng, shape: np.full(shape, 512.0),
    "rewards": lambda rng, shape: rng.integers(1, 4, shape) / 4,
    "rewards, most alike": lambda rng, shape: np.where(rng.random(shape) < 0.97, 0.125, 0.5),
    "rewards, mostly solved": lambda rng, shape: shares(rng, shape, 0.95, 0.5),
    "truncated, 0.5 %": lambda rng, shape: shares(rng, shape, 0.005),
    "truncated, 1 %": lambda rng, shape: shares(rng, shape, 0.01),
    "truncated, 2 %": lambda rng, shape: shares(rng, shape, 0.02),
    "truncated, 5 %, by prompt": lambda rng, shape: shares(rng, shape, 0.05, 0.3),
    "truncated, 30 %": lambda rng, shape: shares(rng, shape, 0.3, 0.1),
}


def drawn_sides(rng, draw, runs, blocks, counts, factor=1.0):
    """Sums of groups compared, times the factor, and of trained ones, so many a block."""
    others, trained = (draw(rng, (runs * blocks, count)) for count in counts)
    median = np.quantile(trained, 0.5, axis=1, method="inverted_cdf", keepdims=True)
    for values in (others * factor, trained):
        columns = np.full(len(values), values.shape[1]), values.sum(1), (values**2).sum(1)
        yield Side(*(each.astype(np.float64) for each in (*columns, (values != median).sum(1))))


def called_different(drawn, runs, blocks, counts, factor=1.0):
    """Share of runs tested, and share of all runs called different at 5 %."""
    rng = np.random.default_rng(17)
    sides = drawn_sides(rng, DRAWN[drawn], runs, blocks, counts, factor)
    case, as_ratio = np.repeat(np.arange(runs), blocks), drawn.startswith("lengths")
    p = matched_means(case, *sides, cases=runs, as_ratio=as_ratio).p
    return np.isfinite(p).mean(), (p < 0.05).mean()


def assert_the_level_is_kept(drawn, runs, blocks, counts):
    tested, called = called_different(drawn, runs, blocks, counts)
    assert called * runs <= stats.binom.ppf(0.999, round(tested * runs), 0.05)


@pytest.mark.parametrize("drawn", list(DRAWN))
@pytest.mark.parametrize(
    ("blocks", "compared", "trained"), [(6, 1, 16), (20, 1, 16), (20, 2, 80), (20, 8, 16)]
)
def test_what_does_not_differ_is_not_called_different(drawn, blocks, compared, trained):
    """Fates dealt by lot: at most 5 % of the runs tested, also where one side shows no scatter at all."""
    assert_the_level_is_kept(drawn, 400, blocks, (compared, trained))


@pytest.mark.slow
@pytest.mark.parametrize("drawn", list(DRAWN))
@pytest.mark.parametrize("blocks", [6, 10, 20])
@pytest.mark.parametrize("compared", [1, 2, 4, 16])
@pytest.mark.parametrize("trained", [2, 16, 80])
def test_the_level_is_kept_over_a_grid(drawn, blocks, compared, trained):
    assert_the_level_is_kept(drawn, 3000, blocks, (compared, trained))


@pytest.mark.parametrize(
    ("drawn", "factor"),
    [("lengths", 1.3), ("rewards", 1.3), ("truncated, 5 %, by prompt", 3), ("truncated, 2 %", 3)],
)
def test_what_does_differ_is_found(drawn, factor):
    tested, called = called_different(drawn, 200, 20, (8, 40), factor)
    assert tested > 0.95 and called > 0.8


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
