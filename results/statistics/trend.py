"""Does a quantity of the steps go with their age, whatever else drifts while a run goes on?

Age and, say, effective sample size may both change in the course of a run without having to do with each
other. So they are only compared within blocks of consecutive steps, by ranks, as in Spearman's correlation,
less what rises or falls evenly through the block: the sync cycle makes ages climb like a saw. Because
neighbouring steps are alike, a block counts as one observation: the test is a t-test over the blocks' sums of
products, which errs on the safe side where blocks are unlike (Ibragimov & Mueller 2010, t-statistic based
correlation and heterogeneity robust inference).
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import special

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BLOCK_STEPS = 8
MIN_BLOCKS = 5
"""Fewer blocks in which the age varies do not make a test."""
_NOTHING = 1e-9
"""A sum of squared ranks that is only rounding error; the least there can be otherwise is about 0.1."""


@dataclass(frozen=True)
class Trends:
    """One entry a run; NaN where there is too little to tell."""

    rank_correlation: FloatArray
    """Spearman's, pooled over blocks, less even trends; in [-1, 1]."""
    p: FloatArray
    """Two-sided test that it is 0."""
    blocks: IntArray
    """Blocks in which both vary."""


def block_trends(run: IntArray, ages: FloatArray, values: FloatArray, *, runs: int) -> Trends:
    """The trend of `values` with `ages` within blocks of steps.

    Args:
        run: number of the run each block belongs to, in [0, runs); shape [blocks].
        ages: mean age of each step; shape [blocks, steps], NaN where there is no such step.
        values: the quantity, likewise.
        runs: how many there are.
    """
    there = np.isfinite(ages) & np.isfinite(values)
    a, v = (_detrended(_centred_ranks(np.where(there, each, np.nan)), there) for each in (ages, values))
    squares_a, squares_v = (a * a).sum(axis=1), (v * v).sum(axis=1)
    varies = (squares_a > _NOTHING) & (squares_v > _NOTHING)
    products, which = (a * v).sum(axis=1)[varies], run[varies]

    def summed(numbers: FloatArray) -> FloatArray:
        return np.bincount(which, weights=numbers, minlength=runs).astype(np.float64)

    count = np.bincount(which, minlength=runs)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = summed(products) / np.sqrt(summed(squares_a[varies]) * summed(squares_v[varies]))
        mean = summed(products) / count
        error = np.sqrt(summed((products - mean[which]) ** 2) / (count - 1) / count)
        p = 2 * special.stdtr(count - 1, -np.abs(mean) / error)
    return Trends(correlation, np.where(count >= MIN_BLOCKS, p, np.nan), count)


def _centred_ranks(values: FloatArray) -> FloatArray:
    """Ranks along the rows less their mean, ties sharing theirs; 0 for NaN."""
    columns = np.ascontiguousarray(values.T)
    ranks = np.zeros_like(columns)
    for i, j in combinations(range(len(columns)), 2):
        # A rank less the mean is half of those below less those above.
        above = 0.5 * (columns[i] > columns[j]) - 0.5 * (columns[i] < columns[j])
        ranks[i] += above
        ranks[j] -= above
    return ranks.T


def _detrended(ranks: FloatArray, there: npt.NDArray[np.bool_]) -> FloatArray:
    """Less the straight line through each row's ranks; 0 where there is no step."""
    places = np.where(there, np.arange(ranks.shape[1], dtype=np.float64), 0.0)
    count = np.maximum(there.sum(axis=1, keepdims=True), 1)
    places = np.where(there, places - places.sum(axis=1, keepdims=True) / count, 0.0)
    spread = (places * places).sum(axis=1, keepdims=True)
    slope = (places * ranks).sum(axis=1, keepdims=True) / np.maximum(spread, 1.0)
    detrended: FloatArray = ranks - slope * places
    return detrended
