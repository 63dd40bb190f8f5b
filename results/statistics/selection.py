"""Do the groups that were thrown away differ from those that were trained on?

Lengths and rewards drift while a policy learns, and fates come in bursts, so neither are groups
independent nor are two fates spread alike over a run. Both are met by blocks of consecutive policy
versions: within a block the trained groups stand for what else was sampled then, and each block is one
observation. The mean over the others is compared with the mean of the trained groups, weighted by how many
of the others each block holds.

The error is the larger of two. One is the scatter of the blocks' influences, as in batch means. It is
blind to what no group compared happens to show: of 20 groups none of which was truncated, all blocks are
alike. The other is that of a draw by lot: if fates were dealt among the groups of a block whatever their
values, the mean of those compared would scatter with a variance known from the values of both sides
(stratified permutation; the mean score test of Mantel 1963). Degrees of freedom are Satterthwaite-like,
from the effective number of blocks (Kish 1965).

Where nearly all groups have one value, as with rare truncation, no approximation holds: as with Cochran's
rule for tables, both sides must be expected to hold `MIN_UNCOMMON` groups of another value.

Everything is vectorised over cases, a case being one run, fate and quantity.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CONFIDENCE = 0.95
MIN_BLOCKS = 6.0
"""Below so many effective blocks nothing is tested."""
MIN_UNCOMMON = 5.0
"""Nor below so many groups with another value than the block's median, expected on each side."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison: sums over its groups in each block; each of shape [blocks]."""

    count: FloatArray
    """Groups, at least one."""
    total: FloatArray
    """Sum of their values."""
    squares: FloatArray
    """Sum of the squares of their values."""
    uncommon: FloatArray
    """Groups whose value is not the median of the block's trained groups: few, where most have one value."""


@dataclass(frozen=True)
class MatchedMeans:
    """One entry a case; NaN where there is too little to tell."""

    mean: FloatArray
    """Of the groups compared."""
    matched_mean: FloatArray
    """Of trained groups of the same blocks, weighted as the groups compared are spread."""
    estimate: FloatArray
    """mean - matched_mean, or mean / matched_mean."""
    low: FloatArray
    high: FloatArray
    """95 % interval of the estimate."""
    p: FloatArray
    """Two-sided test that the estimate is 0, or 1."""
    blocks: FloatArray
    """Effective number of blocks, (sum n)^2 / sum n^2 over the groups n in each."""
    uncommon: FloatArray
    """Groups of an uncommon value to be expected, were there no difference, on the side with fewer."""


def matched_means(case: IntArray, others: Side, trained: Side, *, cases: int, as_ratio: bool) -> MatchedMeans:
    """Compare group means within blocks.

    Not tested are cases with fewer than `MIN_BLOCKS` effective blocks, with fewer than `MIN_UNCOMMON`
    uncommon values expected on a side, and those whose values do not vary at all.

    Args:
        case: number of the case each block belongs to, in [0, cases); shape [blocks].
        others: the groups compared.
        trained: the trained groups of the same blocks.
        cases: how many there are.
        as_ratio: compare by the ratio, with the interval taken on its logarithm, else by the difference.
    """

    def summed(values: FloatArray) -> FloatArray:
        return np.bincount(case, weights=values, minlength=cases).astype(np.float64)

    count = others.count
    matched = count * trained.total / trained.count
    with np.errstate(divide="ignore", invalid="ignore"):
        groups = summed(count)
        mean, matched_mean = summed(others.total) / groups, summed(matched) / groups
        by_lot = np.sqrt(summed(count**2 * _variance_by_lot(others, trained))) / groups
        if as_ratio:
            estimate = np.log(mean / matched_mean)
            influence = (others.total / mean[case] - matched / matched_mean[case]) / groups[case]
            by_lot /= np.sqrt(mean * matched_mean)
        else:
            estimate = mean - matched_mean
            influence = (others.total - matched - count * estimate[case]) / groups[case]
        present = summed(np.ones_like(count))
        blocks = groups**2 / summed(count**2)
        uncommon = _uncommon_share(others, trained)
        fewer = np.minimum(summed(uncommon * count), summed(uncommon * trained.count))
        error = np.maximum(np.sqrt(present / (present - 1) * summed(influence**2)), by_lot)
        # What is the same in every group differs by rounding error, which is no evidence.
        rounding = 1e-12 if as_ratio else 1e-12 * np.maximum(np.abs(mean), np.abs(matched_mean))
        tested = (blocks >= MIN_BLOCKS) & (fewer >= MIN_UNCOMMON) & (error > rounding)
        error = np.where(tested, error, np.nan)
        half = special.stdtrit(blocks - 1, (1 + CONFIDENCE) / 2) * error
        p = 2 * special.stdtr(blocks - 1, -np.abs(estimate) / error)
    ends = estimate, estimate - half, estimate + half
    estimate, low, high = (np.exp(end) for end in ends) if as_ratio else ends
    return MatchedMeans(mean, matched_mean, estimate, low, high, p, blocks, fewer)


def _variance_by_lot(others: Side, trained: Side) -> FloatArray:
    """Of a block's difference of means, had its groups been dealt to the two sides by lot; shape [blocks]."""
    groups = others.count + trained.count
    squares = others.squares + trained.squares
    left = squares - (others.total + trained.total) ** 2 / groups
    left = np.where(left > 1e-12 * squares, left, 0.0)  # the difference of equal sums is rounding error
    return left / (groups - 1) * (1 / others.count + 1 / trained.count)


def _uncommon_share(others: Side, trained: Side) -> FloatArray:
    """Share of a block's groups whose value is not its median; shape [blocks]."""
    return (others.uncommon + trained.uncommon) / (others.count + trained.count)
