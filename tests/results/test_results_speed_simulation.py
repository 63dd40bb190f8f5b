"""Intervals of speed-ups cover what they claim, on made-up runs whose true ratio is known.

`pytest tests/results/test_results_speed_simulation.py -m slow -s` prints the tables of
`docs/statistics_speed.md`.
"""

import numpy as np
import pytest

from results.statistics.first_passage import climb, seconds_to_reach, speedups
from results.statistics.rates import LogRate, LogRates, log_rate, rate_ratios
from results.statistics.seeds import seed_means

LEAST, MOST = 0.92, 0.98
"""What a nominal 95 % may be."""
LEAST_HARD = 0.89
"""As low as they get below 20 cycles whose slowness lasts, AR(1) 0.8; the docs say so."""
TRUE_RATIO = 1.4


def normal_noise(rng, shape, persistence):
    """A first-order autoregression of unit variance along the last axis, in its steady state."""
    noise = rng.standard_normal(shape)
    innovation = np.sqrt(1 - persistence**2)
    for at in range(1, shape[1]):
        noise[:, at] = persistence * noise[:, at - 1] + innovation * noise[:, at]
    return noise


def autoregressive(persistence):
    def seconds(rng, shape):
        return np.exp(0.2 * normal_noise(rng, shape, persistence))

    return seconds


def alternating(rng, shape):
    """Every second cycle twice as long: the modes of a sync cycle that cycles do not sum away."""
    slow = (np.arange(shape[1]) + rng.integers(0, 2, (shape[0], 1))) % 2
    return (1 + slow) * np.exp(0.1 * rng.standard_normal(shape))


def two_modes(rng, shape):
    """One cycle in two twice as long, by chance."""
    return rng.integers(1, 3, shape) * np.exp(0.05 * rng.standard_normal(shape))


def heavy_tailed(rng, shape):
    return np.exp(0.5 * rng.standard_normal(shape))


SCENARIOS = {
    "independent": autoregressive(0.0),
    "AR(1) 0.3": autoregressive(0.3),
    "AR(1) 0.6": autoregressive(0.6),
    "AR(1) 0.8": autoregressive(0.8),
    "alternating": alternating,
    "two modes": two_modes,
    "log-normal 0.5": heavy_tailed,
}


def newey_west(work, seconds):
    """The usual choice, for the table: Bartlett weights, as many degrees of freedom as cycles."""
    cycles = len(work)
    influence = work / work.mean() - seconds / seconds.mean()
    lags, total = int(4 * (cycles / 100) ** (2 / 9)), influence @ influence
    for lag in range(1, lags + 1):
        total += 2 * (1 - lag / (lags + 1)) * (influence[lag:] @ influence[:-lag])
    return LogRate(np.log(work.sum() / seconds.sum()), total / cycles / (cycles - 1), cycles - 1.0)


def many(rates):
    return LogRates(
        *(np.array([getattr(r, f) for r in rates]) for f in ("value", "variance", "degrees_of_freedom"))
    )


def simulate(rng, scenario, cycles, trials, rate=log_rate):
    """Share of intervals that hold the true ratio, and their median half-width in true standard errors."""
    shape = (trials, cycles)
    here = rng.binomial(40, 0.8, shape) * 1.0  # prompts of a cycle; some groups are filtered
    there = rng.binomial(40, 0.8, shape) * 1.0
    fast, slow = scenario(rng, shape), TRUE_RATIO * scenario(rng, shape)
    found = rate_ratios(
        many([rate(*run) for run in zip(here, fast, strict=True)]),
        many([rate(*run) for run in zip(there, slow, strict=True)]),
    )
    covered = np.mean((found.low <= TRUE_RATIO) & (found.high >= TRUE_RATIO))
    half = np.median(np.log(found.high / found.low)) / 2
    return covered, half / np.log(found.ratios).std()


def bounds(trials, least=LEAST):
    """Observed coverage that a true one from 92 to 98 % may give, three binomial standard errors off."""
    return tuple(
        share + side * 3 * np.sqrt(share * (1 - share) / trials) for share, side in ((least, -1), (MOST, 1))
    )


@pytest.mark.parametrize("cycles", [10, 40, 100])
@pytest.mark.parametrize("name", SCENARIOS)
def test_intervals_within_a_run_cover_92_to_98_percent(name, cycles):
    trials = 2000
    covered, _ = simulate(np.random.default_rng(20), SCENARIOS[name], cycles, trials)
    low, high = bounds(trials)
    assert low <= covered <= high


@pytest.mark.slow
@pytest.mark.parametrize("cycles", [8, 10, 13, 15, 20, 40, 100, 1000])
def test_the_whole_grid(cycles):
    trials = 4000
    missed = []
    for name, scenario in SCENARIOS.items():
        covered, width = simulate(np.random.default_rng(21), scenario, cycles, trials)
        before, _ = simulate(np.random.default_rng(21), scenario, cycles, trials, newey_west)
        print(f"{cycles:5d} {name:15s} {covered:6.1%} ({width:.1f})   Newey-West {before:6.1%}", flush=True)
        low, high = bounds(trials, LEAST_HARD if name == "AR(1) 0.8" and cycles < 20 else LEAST)
        if not low <= covered <= high:
            missed.append((name, covered))
    assert not missed


def simulate_seeds(rng, seeds, trials, run_effect=0.03):
    """Coverage of the setting's ratio by the interval over seeds, and by that within one of the runs."""
    truth = np.log(TRUE_RATIO)
    work = np.full(40, 32.0)
    logs, within = [], []
    for _ in range(trials):
        effects = run_effect * rng.standard_normal((2, seeds))
        seconds = np.exp(0.2 * normal_noise(rng, (2 * seeds, 40), 0.3)).reshape(2, seeds, 40)
        seconds *= np.exp(effects)[:, :, None]
        pairs = [
            (log_rate(work, seconds[0, s]), log_rate(work, TRUE_RATIO * seconds[1, s])) for s in range(seeds)
        ]
        logs.extend(a.value - b.value for a, b in pairs)
        within.append(pairs[0])
    found = seed_means(np.array(logs), np.repeat(np.arange(trials), seeds), count=trials)
    one = rate_ratios(*(many(side) for side in zip(*within, strict=True)))
    return (
        np.mean((found.low <= truth) & (truth <= found.high)),
        np.mean((one.low <= TRUE_RATIO) & (one.high >= TRUE_RATIO)),
    )


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_over_seeds_cover_the_setting_where_those_of_one_run_need_not(seeds):
    trials = 600
    over, _ = simulate_seeds(np.random.default_rng(22), seeds, trials)
    low, high = bounds(trials)
    assert low <= over <= high
    # Runs that differ by more than their cycles do: why one seed is said to be one seed.
    _, within = simulate_seeds(np.random.default_rng(23), seeds, trials // 2, run_effect=0.2)
    assert within < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("run_effect", [0.0, 0.03, 0.2])
def test_the_grid_over_seeds(seeds, run_effect):
    trials = 3000
    over, within = simulate_seeds(np.random.default_rng(24), seeds, trials, run_effect)
    print(f"{seeds:3d} seeds, run effect {run_effect:.2f}: over seeds {over:.1%}, one run {within:.1%}")
    low, high = bounds(trials)
    assert low <= over <= high


def simulate_time_to_reward(rng, steps, noise, trials):
    """Time to reward of a run against one that is no faster: exact ratios, and the shares of the rest.

    Both climb to nine tenths of the way in the first four fifths of their steps.
    """
    curve = 0.45 + 0.35 * (1 - np.exp(-(np.arange(steps) + 1) * 2.7 / steps))
    pairs = [
        [climb(np.ones(steps), curve + rng.normal(0, noise, steps)) for _ in "ab"] for _ in range(trials)
    ]
    times = np.array(
        [[seconds_to_reach(run, other.last_fifth) for run in (this, other)] for this, other in pairs]
    )
    ended = np.full(trials, float(steps))
    found = speedups(times[:, 0], ended, times[:, 1], ended)
    exact = found.ratios[np.isfinite(found.ratios) & (found.bounds == None)]  # noqa: E711 - elementwise
    return exact, np.mean(found.bounds == "<"), np.mean(found.bounds == ">")


def test_time_to_reward_favours_neither_of_two_equal_runs_that_both_reach_it():
    exact, below, above = simulate_time_to_reward(
        np.random.default_rng(25), steps=100, noise=0.03, trials=1000
    )
    assert np.median(exact) == pytest.approx(1, abs=0.05)
    assert below < 0.1 and above < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.03, 0.1])
@pytest.mark.parametrize("steps", [40, 100, 400])
def test_the_scatter_of_time_to_reward(steps, noise):
    exact, below, above = simulate_time_to_reward(np.random.default_rng(26), steps, noise, trials=3000)
    low, median, high = np.quantile(exact, [0.05, 0.5, 0.95])
    print(f"{steps:4d} steps, noise {noise}: {low:.2f} {median:.2f} {high:.2f}, < {below:.1%}, > {above:.1%}")
    assert median == pytest.approx(1, abs=0.05)
