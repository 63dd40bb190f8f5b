"""Rates, their long-run variances, ratios and means over seeds, against formulae, scipy and statsmodels."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from results.statistics.first_passage import WINDOW_STEPS, climb, seconds_to_reach, speedups
from results.statistics.long_run import MIN_VALUES, mean_variance
from results.statistics.rates import LogRates, log_rate, rate_ratio, rate_ratios, t_quantile
from results.statistics.seeds import MIN_SEEDS, seed_means

SECONDS = st.floats(0.01, 1e4)


def persistent(rng, count, persistence):
    noise = rng.standard_normal(count + 100)
    for at in range(1, len(noise)):
        noise[at] += persistence * noise[at - 1]
    return noise[100:]


def test_variance_of_a_mean_is_the_formula_of_the_docs():
    values = persistent(np.random.default_rng(0), 50, 0.5) + 7
    centred = values - values.mean()
    measured = (centred[1:] @ centred[:-1]) / (centred @ centred)
    whitening = measured + (1 + 3 * measured) / 50
    assert -0.3 < whitening < 0.97  # else the formula below is another
    white = centred[1:] - whitening * centred[:-1]
    terms = int(0.4 * 49 ** (2 / 3))
    cosines = [
        np.sqrt(2 / 49) * sum(white[t] * np.cos(np.pi * j * (t + 0.5) / 49) for t in range(49))
        for j in range(1, terms + 1)
    ]
    variance, freedom = mean_variance(values)
    assert freedom == terms == 5
    assert variance == pytest.approx(np.mean(np.square(cosines)) / (1 - whitening) ** 2 / 50)


@pytest.mark.parametrize("persistence", [0.0, 0.6])
def test_on_long_series_the_variance_is_that_of_statsmodels_and_of_theory(persistence):
    values = persistent(np.random.default_rng(1), 50_000, persistence)
    variance, freedom = mean_variance(values)
    fit = sm.OLS(values, np.ones(len(values))).fit(cov_type="HAC", cov_kwds={"maxlags": 200})
    error = 4 * np.sqrt(2 / freedom)  # four standard errors of a variance of so many degrees of freedom
    assert variance == pytest.approx(fit.cov_params()[0, 0], rel=error)
    assert variance == pytest.approx(1 / (1 - persistence) ** 2 / len(values), rel=error)


def test_too_few_cycles_give_a_rate_without_a_variance():
    few, enough = (log_rate(np.full(n, 8.0), np.linspace(1, 2, n)) for n in (MIN_VALUES - 1, MIN_VALUES))
    assert few.value == pytest.approx(np.log(8 / 1.5))
    assert np.isnan(few.variance) and np.isfinite(enough.variance)
    interval = rate_ratio(few, enough)
    assert interval.ratio == pytest.approx(1)
    assert np.isnan(interval.low) and np.isnan(interval.high)
    assert np.isnan(log_rate(np.empty(0), np.empty(0)).value)


def test_cycles_that_are_all_the_same_leave_no_doubt():
    same, slower = (log_rate(np.full(20, 8.0), np.full(20, seconds)) for seconds in (2.0, 4.0))
    interval = rate_ratio(same, slower)
    assert (interval.low, interval.ratio, interval.high) == pytest.approx((2, 2, 2))


@given(st.lists(SECONDS, min_size=8, max_size=60), st.floats(1e-3, 1e3))
def test_the_unit_of_time_does_not_matter(seconds, unit):
    work = np.arange(1.0, len(seconds) + 1)
    rate, scaled = log_rate(work, np.array(seconds)), log_rate(work, unit * np.array(seconds))
    assert scaled.value == pytest.approx(rate.value - np.log(unit), abs=1e-9)
    assert scaled.variance == pytest.approx(rate.variance, rel=1e-6, abs=1e-12)


@given(st.lists(SECONDS, min_size=8, max_size=40), st.lists(SECONDS, min_size=8, max_size=40))
def test_the_other_way_round_is_the_reciprocal(first, second):
    a, b = (log_rate(np.ones(len(seconds)), np.array(seconds)) for seconds in (first, second))
    here, back = rate_ratio(a, b), rate_ratio(b, a)
    assert here.low <= here.ratio <= here.high
    assert (here.ratio * back.ratio, here.ratio) == pytest.approx((1, np.exp(a.value - b.value)))
    assert np.log([here.low, here.high]) == pytest.approx(-np.log([back.high, back.low]))


def test_an_interval_is_welchs():
    rng = np.random.default_rng(3)
    a, b = (log_rate(np.ones(n), rng.lognormal(0, 0.2, n)) for n in (30, 90))
    variance = a.variance + b.variance
    freedom = variance**2 / (a.variance**2 / a.degrees_of_freedom + b.variance**2 / b.degrees_of_freedom)
    low, high = stats.t.interval(0.95, freedom, loc=a.value - b.value, scale=np.sqrt(variance))
    found = rate_ratio(a, b)
    assert (found.low, found.high) == pytest.approx((np.exp(low), np.exp(high)))
    assert t_quantile(np.array([1, 2.5, 40])) == pytest.approx(stats.t.ppf(0.975, [1, 2.5, 40]))


def test_many_ratios_at_once_are_each_as_alone():
    rng = np.random.default_rng(4)
    rates = [log_rate(np.ones(n), rng.lognormal(0, 0.2, n)) for n in (5, 8, 30, 90)]
    rows = np.array([[rate.value, rate.variance, rate.degrees_of_freedom] for rate in rates]).T
    together = rate_ratios(LogRates(*rows), LogRates(*rows[:, ::-1]))
    for at, (rate, other) in enumerate(zip(rates, rates[::-1], strict=True)):
        alone = rate_ratio(rate, other)
        found = (together.ratios[at], together.low[at], together.high[at])
        assert found == pytest.approx((alone.ratio, alone.low, alone.high), nan_ok=True)


def test_the_same_cycles_give_the_same_bits():
    work, seconds = np.ones(1000), np.random.default_rng(5).lognormal(0, 0.3, 1000)
    assert len({log_rate(work, seconds.copy()) for _ in range(20)}) == 1


def test_means_over_seeds_are_students():
    rng = np.random.default_rng(6)
    values = rng.normal(0.4, 0.1, 12)
    arms = np.array([0, 1, 2, 2, 2, 1, 3, 3, 3, 3, 3, 3])
    values[11] = np.nan  # a seed that has not finished
    found = seed_means(values, arms, count=5)
    assert found.seeds.tolist() == [1, 2, 3, 5, 0]
    for arm in range(4):
        of_arm = values[(arms == arm) & np.isfinite(values)]
        assert found.means[arm] == pytest.approx(of_arm.mean())
        assert (found.least[arm], found.most[arm]) == (of_arm.min(), of_arm.max())
        if len(of_arm) >= MIN_SEEDS:
            interval = stats.ttest_1samp(of_arm, 0).confidence_interval(0.95)
            assert (found.low[arm], found.high[arm]) == pytest.approx(tuple(interval))
        else:
            assert np.isnan([found.low[arm], found.high[arm]]).all()
    assert np.isnan([found.means[4], found.least[4], found.most[4]]).all()


REWARDS = st.lists(st.floats(0, 1), min_size=0, max_size=40)


@given(REWARDS, st.floats(0, 1))
def test_a_reward_is_reached_where_a_loop_over_the_steps_says(rewards, threshold):
    seconds = np.arange(1.0, len(rewards) + 1)
    run = climb(seconds, np.array(rewards))
    expected = next(
        (
            seconds[: end + 1].sum()
            for end in range(WINDOW_STEPS - 1, len(rewards))
            if np.mean(rewards[end - WINDOW_STEPS + 1 : end + 1]) >= threshold - 1e-9
        ),
        float("nan"),
    )
    found = seconds_to_reach(run, threshold)
    near = any(abs(best - threshold) < 2e-9 for best in run.best)  # either may round
    assert near or found == pytest.approx(expected, nan_ok=True)
    assert run.training_s == seconds.sum()


def test_a_reward_that_never_changes_is_reached_at_once():
    run = climb(np.ones(30), np.full(30, 0.7))
    assert seconds_to_reach(run, run.last_fifth) == WINDOW_STEPS


def test_where_one_run_ended_first_the_ratio_is_a_bound():
    nan = float("nan")
    here, there = np.array([10, nan, 10, nan, nan]), np.array([20, 20, nan, nan, 20])
    found = speedups(here, np.array([40.0] * 4 + [0]), there, np.full(5, 60.0))  # the last has no steps
    assert found.ratios.tolist()[:3] == [2, 0.5, 6]  # exact; below 20 / 40; above 60 / 10
    assert found.bounds.tolist() == [None, "<", ">", None, None]
    assert np.isnan(found.ratios[3:]).all()


@given(st.lists(st.floats(0, 1), min_size=10, max_size=40), st.integers(6, 40), st.integers(6, 40))
def test_a_bound_holds_for_what_the_run_would_have_done(rewards, here_ends, there_ends):
    """Cutting either run short may only widen what is said of the ratio."""
    rewards = np.array(rewards)
    runs = {ends: climb(np.ones(len(rewards[:ends])), rewards[:ends]) for ends in (here_ends, there_ends, 40)}
    threshold = 0.5
    times = {ends: seconds_to_reach(run, threshold) for ends, run in runs.items()}
    if not np.isfinite(times[40]):
        return
    found = speedups(
        np.array([times[here_ends]]),
        np.array([runs[here_ends].training_s]),
        np.array([times[there_ends]]),
        np.array([runs[there_ends].training_s]),
    )
    truth, ratio = 1.0, found.ratios[0]  # the same run twice
    assert {None: np.isnan(ratio) or ratio == truth, ">": ratio <= truth, "<": ratio >= truth}[
        found.bounds[0]
    ]
