"""What several seeds say of a setting: a mean with its interval over runs that differ only by seed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from results.statistics.rates import t_quantile

FloatArray = npt.NDArray[np.float64]

MIN_SEEDS = 3
"""Fewer seeds give no interval: of two, Student's quantile is 12.7 standard errors."""


@dataclass(frozen=True)
class SeedMeans:
    """Means over the seeds of several arms, shape [arms]; NaN where there is nothing to say."""

    seeds: npt.NDArray[np.int64]
    """Values that were there."""
    means: FloatArray
    low: FloatArray
    """Ends of the 95 % interval; NaN below `MIN_SEEDS` seeds."""
    high: FloatArray
    least: FloatArray
    """The range of the seeds' values."""
    most: FloatArray


def seed_means(values: FloatArray, arms: npt.NDArray[np.int64], count: int) -> SeedMeans:
    """Mean over seeds and Student's interval for each arm.

    The interval takes the seeds' values as independent and roughly normal; for ratios give their logs.

    Args:
        values: one per run, shape [runs]; NaN is left out.
        arms: the arm of each run, 0 to count - 1, shape [runs].
        count: number of arms.
    """
    known = np.isfinite(values)
    values, arms = values[known], arms[known]
    seeds = np.bincount(arms, minlength=count)
    least, most = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(least, arms, values)
    np.maximum.at(most, arms, values)
    some = seeds > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.bincount(arms, weights=values, minlength=count) / seeds
        squares = np.bincount(arms, weights=(values - means[arms]) ** 2, minlength=count)
        errors = np.sqrt(squares / (seeds - 1) / seeds)
    half = np.where(seeds >= MIN_SEEDS, t_quantile(np.maximum(seeds - 1.0, 1.0)) * errors, np.nan)
    return SeedMeans(
        seeds=seeds,
        means=means,
        low=means - half,
        high=means + half,
        least=np.where(some, least, np.nan),
        most=np.where(some, most, np.nan),
    )
