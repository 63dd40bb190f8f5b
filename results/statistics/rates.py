"""Work per second of a run and the ratio of two such rates, with intervals that speak of these runs.

Whole sync cycles are summed. The log of a rate gets its variance from the cycles, `long_run.mean_variance`;
two runs' variances add up. `docs/statistics_speed.md` has the formulae and what simulation showed of them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from results.statistics.long_run import mean_variance

FloatArray = npt.NDArray[np.float64]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class LogRate:
    """The logarithm of work per second, with what is known of its error."""

    value: float
    variance: float
    degrees_of_freedom: float


@dataclass(frozen=True)
class LogRates:
    """The same of many runs, one entry each, shape [runs]; NaN where nothing is known."""

    values: FloatArray
    variances: FloatArray
    degrees_of_freedom: FloatArray


@dataclass(frozen=True)
class Interval:
    """A ratio with its 95 % interval; the ends are NaN where there was too little to tell."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Intervals:
    """Many ratios with their intervals, shape [ratios]."""

    ratios: FloatArray
    low: FloatArray
    high: FloatArray


def log_rate(work: FloatArray, seconds: FloatArray) -> LogRate:
    """Log of sum(work) / sum(seconds) over consecutive sync cycles.

    The variance is that of the mean of the ratio's influence values, work / mean - seconds / mean.

    Args:
        work: of each cycle, shape [cycles]: steps, prompts, tokens.
        seconds: of each cycle, shape [cycles].
    """
    if not len(work):
        return LogRate(float("nan"), float("nan"), float("nan"))
    variance, freedom = mean_variance(work / work.mean() - seconds / seconds.mean())
    return LogRate(float(np.log(work.sum() / seconds.sum())), variance, freedom)


def rate_ratios(rates: LogRates, others: LogRates) -> Intervals:
    """rates / others, each with a t-interval on the log; Welch's degrees of freedom."""
    variance = rates.variances + others.variances
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = variance**2 / (
            rates.variances**2 / rates.degrees_of_freedom + others.variances**2 / others.degrees_of_freedom
        )
    # Runs whose cycles are all the same leave nothing to be unsure of.
    half = np.where(variance == 0, 0.0, t_quantile(freedom) * np.sqrt(variance))
    difference = rates.values - others.values
    return Intervals(np.exp(difference), np.exp(difference - half), np.exp(difference + half))


def rate_ratio(rate: LogRate, other: LogRate) -> Interval:
    """rate / other of two runs, as `rate_ratios`."""
    found = rate_ratios(*(_as_many(one) for one in (rate, other)))
    return Interval(float(found.ratios[0]), float(found.low[0]), float(found.high[0]))


def t_quantile(degrees_of_freedom: FloatArray) -> FloatArray:
    """How many standard errors a two-sided 95 % interval reaches; NaN for no degrees of freedom."""
    quantiles: FloatArray = special.stdtrit(degrees_of_freedom, (1 + CONFIDENCE) / 2)
    return quantiles


def _as_many(rate: LogRate) -> LogRates:
    return LogRates(*(np.array([figure]) for figure in (rate.value, rate.variance, rate.degrees_of_freedom)))
