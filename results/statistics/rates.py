"""Work per second of a run and the ratio of two such rates, with intervals.

Whole sync cycles are summed; the log of a rate gets its variance from the cycles by a heteroscedasticity-
and autocorrelation-consistent estimate (Newey & West 1987), and two runs' variances add up. With three
seeds or more the interval is over the per-seed log ratios instead. `docs/results.md` has the formulae.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import statsmodels.api as sm
from scipy import stats

FloatArray = npt.NDArray[np.float64]

CONFIDENCE = 0.95
MIN_CYCLES = 4
"""Fewer whole cycles than this say nothing about their own variance."""
MIN_SEEDS = 3


@dataclass(frozen=True)
class LogRate:
    """The logarithm of work per second, with what is known of its error."""

    value: float
    variance: float
    degrees_of_freedom: float


@dataclass(frozen=True)
class Interval:
    """A ratio with its 95 % interval; the ends are NaN where there was too little to tell."""

    ratio: float
    low: float
    high: float


def log_rate(work: FloatArray, seconds: FloatArray) -> LogRate:
    """Log of sum(work) / sum(seconds) over consecutive sync cycles.

    The variance is that of the ratio estimator's influence values, work/mean - seconds/mean, with
    Bartlett weights over floor(4 (m / 100)^(2/9)) lags (Newey & West 1994), m cycles.
    """
    cycles = len(work)
    value = float(np.log(work.sum() / seconds.sum())) if cycles else float("nan")
    if cycles < MIN_CYCLES:
        return LogRate(value, float("nan"), float("nan"))
    influence = work / work.mean() - seconds / seconds.mean()
    lags = int(4 * (cycles / 100) ** (2 / 9))
    # The mean of the influence is zero by construction; the fit is only there for its variance.
    fit = sm.OLS(influence, np.ones(cycles)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": True}
    )
    return LogRate(value, float(fit.cov_params()[0, 0]), cycles - 1.0)


def rate_ratio(rate: LogRate, other: LogRate) -> Interval:
    """rate / other with a t-interval on the log; Welch's degrees of freedom."""
    difference = rate.value - other.value
    variance = rate.variance + other.variance
    if not np.isfinite(variance):
        return Interval(float(np.exp(difference)), float("nan"), float("nan"))
    if variance == 0:
        return Interval(*[float(np.exp(difference))] * 3)
    freedom = variance**2 / sum(part.variance**2 / part.degrees_of_freedom for part in (rate, other))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * np.sqrt(variance)
    return Interval(*(float(np.exp(difference + side * half)) for side in (0, -1, 1)))


def seeds_ratio(log_ratios: FloatArray) -> Interval:
    """Geometric mean of one ratio per seed with its t-interval."""
    mean = float(log_ratios.mean())
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(log_ratios) - 1)) * float(stats.sem(log_ratios))
    return Interval(*(float(np.exp(mean + side * half)) for side in (0, -1, 1)))
