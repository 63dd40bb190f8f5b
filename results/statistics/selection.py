"""Do the groups that were thrown away differ from those that were trained on?

Lengths and rewards drift while a policy learns, and fates come in bursts, so neither are groups
independent nor are two fates spread alike over a run. Both are met by blocks of consecutive policy
versions: within a block the trained groups stand for what else was sampled then, and each block is one
observation. The mean over the others is compared with the mean of the trained groups, weighted by how many
of the others each block holds; the variance is that of the blocks' influences, as in batch means, with
Satterthwaite-like degrees of freedom from the effective number of blocks (Kish 1965).

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


def matched_means(
    case: IntArray,
    count: FloatArray,
    total: FloatArray,
    trained_count: FloatArray,
    trained_total: FloatArray,
    *,
    cases: int,
    as_ratio: bool,
) -> MatchedMeans:
    """Compare group means within blocks.

    Args:
        case: number of the case each block belongs to, in [0, cases); shape [blocks], as all that follow.
        count: groups compared in the block, at least one.
        total: their sum of the quantity.
        trained_count: trained groups in the block, at least one.
        trained_total: their sum of the quantity.
        cases: how many there are.
        as_ratio: compare by the ratio, with the interval taken on its logarithm, else by the difference.
    """

    def summed(values: FloatArray) -> FloatArray:
        return np.bincount(case, weights=values, minlength=cases).astype(np.float64)

    matched = count * trained_total / trained_count
    with np.errstate(divide="ignore", invalid="ignore"):
        groups = summed(count)
        mean, matched_mean = summed(total) / groups, summed(matched) / groups
        if as_ratio:
            estimate = np.log(mean / matched_mean)
            influence = (total / mean[case] - matched / matched_mean[case]) / groups[case]
        else:
            estimate = mean - matched_mean
            influence = (total - matched - count * estimate[case]) / groups[case]
        present = summed(np.ones_like(count))
        blocks = groups**2 / summed(count**2)
        error = np.sqrt(present / (present - 1) * summed(influence**2))
        # What is the same in every block differs by rounding error, which is no evidence.
        rounding = 1e-12 if as_ratio else 1e-12 * np.maximum(np.abs(mean), np.abs(matched_mean))
        estimate = np.where(np.abs(estimate) <= rounding, 0.0, estimate)
        error = np.where(error <= rounding, 0.0, error)
        error = np.where(blocks >= MIN_BLOCKS, error, np.nan)
        half = special.stdtrit(blocks - 1, (1 + CONFIDENCE) / 2) * error
        p = 2 * special.stdtr(blocks - 1, -np.abs(estimate) / error)
    p = np.where((error == 0) & (estimate == 0), 1.0, p)  # 0 / 0
    ends = estimate, estimate - half, estimate + half
    estimate, low, high = (np.exp(end) for end in ends) if as_ratio else ends
    return MatchedMeans(mean, matched_mean, estimate, low, high, p, blocks)
