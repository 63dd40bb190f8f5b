"""Two models on the same questions: only the discordant ones, that one alone answered correctly, speak.

The test of no difference is McNemar's exact one. Interval and equivalence tests invert the score test of
T. Tango (1998), Equivalence test and confidence interval for the difference in proportions for the
paired-sample design, Statistics in Medicine 17, 891-908. All arrays have one element per comparison.
"""

import numpy as np
from scipy import special

from results.statistics.proportions import LEVEL, Differences, FloatArray, IntArray, Z

_HALVINGS = 36
"""Of an interval of length 2 at most: its end is then known to 3e-11."""


def paired_differences(
    only_a: IntArray, only_b: IntArray, questions: IntArray, margin_points: float
) -> Differences:
    """From the counts of discordant questions.

    The exact test is the more careful of the two: where it does not reject, the interval is widened to
    include 0, so that they never contradict each other.

    Args:
        only_a: questions that only A answered correctly.
        only_b: questions that only B answered correctly.
        questions: answered by both, at least 1.
        margin_points: differences no larger than this count as none.
    """
    p_different = mcnemar_exact(only_a, only_b)
    low, high = tango_interval(only_a, only_b, questions)
    open_ = p_different >= LEVEL
    margin = np.full(len(questions), margin_points / 100)
    above = special.ndtr(-score(only_a, only_b, questions, -margin))
    below = special.ndtr(score(only_a, only_b, questions, margin))
    return Differences(
        points=100 * (only_a - only_b) / questions,
        low=100 * np.where(open_, np.minimum(low, 0.0), low),
        high=100 * np.where(open_, np.maximum(high, 0.0), high),
        p_different=p_different,
        p_equivalent=np.maximum(above, below),
    )


def mcnemar_exact(only_a: IntArray, only_b: IntArray) -> FloatArray:
    """Two-sided p-value: each discordant question goes either way with probability 1/2. 1 without any."""
    fewer, both = np.minimum(only_a, only_b), only_a + only_b
    return np.asarray(np.minimum(2 * special.bdtr(fewer.astype(float), both, 0.5), 1.0))


def tango_interval(only_a: IntArray, only_b: IntArray, questions: IntArray) -> tuple[FloatArray, FloatArray]:
    """Tango's 95 % score interval for a difference of paired proportions, as shares in [-1, 1]."""
    counts, place = np.unique(np.stack([only_a, only_b, questions]), axis=1, return_inverse=True)
    estimate = (counts[0] - counts[1]) / counts[2]
    ends = []
    for side in (-1.0, 1.0):
        # The score falls as the difference grows: 0 at the estimate, beyond -+Z at the end looked for.
        inside, outside = estimate, np.full(len(estimate), side)
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            within = np.abs(score(counts[0], counts[1], counts[2], middle)) <= Z
            inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
        ends.append(((inside + outside) / 2)[place.ravel()])
    return ends[0], ends[1]


def score(only_a: IntArray, only_b: IntArray, questions: IntArray, difference: FloatArray) -> FloatArray:
    """Tango's statistic for the hypothesis that the difference is `difference`, a share in [-1, 1].

    Standard normal under it; infinite where the counts are impossible under it.
    """
    numerator = only_a - only_b - questions * difference
    # The restricted maximum-likelihood estimate of P(only B) under the hypothesis.
    a = 2 * questions
    b = -only_a - only_b + (2 * questions - only_a + only_b) * difference
    c = -only_b * difference * (1 - difference)
    estimate = (np.sqrt(np.maximum(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = questions * (2 * estimate + difference * (1 - difference))
    possible = variance > 0
    spread = np.sqrt(np.where(possible, variance, 1.0))
    without = np.where(numerator == 0, 0.0, np.copysign(np.inf, numerator))
    return np.where(possible, numerator / spread, without)
