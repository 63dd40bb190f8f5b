"""Is one model better than another on the same questions, worse, the same, or can this not be told?

Paired: both answered the same questions, so only the discordant ones speak. The test is McNemar's exact
one; the interval inverts the score test (Tango 1998). Unpaired: only the two standard errors are known.
Differences are in percentage points, A - B.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar

Verdict = Literal["better", "worse", "equivalent", "inconclusive"]

LEVEL = 0.05
POWER = 0.80
_Z = float(stats.norm.ppf(1 - LEVEL / 2))


@dataclass(frozen=True)
class Difference:
    """A difference of two accuracies and its tests, before any adjustment for other tests."""

    method: Literal["paired", "unpaired"]
    points: float
    low: float
    high: float
    """95 % interval, percentage points."""
    p_different: float
    p_equivalent: float
    """The larger of two one-sided tests that the difference is beyond +-margin."""
    only_a: int | None = None
    only_b: int | None = None
    """Paired: questions that only A, only B answered correctly."""


def paired_difference(only_a: int, only_b: int, questions: int, margin_points: float) -> Difference:
    """From the counts of discordant questions.

    Args:
        only_a: questions that only A answered correctly.
        only_b: questions that only B answered correctly.
        questions: answered by both.
        margin_points: differences no larger than this count as none.
    """
    # Exact McNemar looks at the discordant cells alone; the others only fill the table.
    p_different = float(mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue) if only_a + only_b else 1.0
    low, high = tango_interval(only_a, only_b, questions)
    if p_different >= LEVEL:
        # The exact test is the more careful of the two; the interval must not claim what it does not.
        low, high = min(low, 0.0), max(high, 0.0)
    margin = margin_points / 100
    above = stats.norm.sf(_score(only_a, only_b, questions, -margin))
    below = stats.norm.cdf(_score(only_a, only_b, questions, margin))
    return Difference(
        method="paired",
        points=100 * (only_a - only_b) / questions,
        low=100 * low,
        high=100 * high,
        p_different=p_different,
        p_equivalent=float(max(above, below)),
        only_a=only_a,
        only_b=only_b,
    )


def unpaired_difference(
    a_percent: float, a_stderr: float, b_percent: float, b_stderr: float, margin_points: float
) -> Difference:
    """From two accuracies with their standard errors, all in percentage points; normal approximation.

    On the same questions the errors are correlated, so this is the less sensitive of the two.
    """
    points, error = a_percent - b_percent, float(np.hypot(a_stderr, b_stderr))
    if error == 0:
        return Difference(
            "unpaired", points, points, points, float(points == 0), float(abs(points) >= margin_points)
        )
    return Difference(
        method="unpaired",
        points=points,
        low=points - _Z * error,
        high=points + _Z * error,
        p_different=float(2 * stats.norm.sf(abs(points) / error)),
        p_equivalent=float(
            max(
                stats.norm.sf((points + margin_points) / error),
                stats.norm.cdf((points - margin_points) / error),
            )
        ),
    )


def tango_interval(only_a: int, only_b: int, questions: int) -> tuple[float, float]:
    """Tango's score interval for a difference of paired proportions, as shares.

    Reference: T. Tango (1998), Equivalence test and confidence interval for the difference in
    proportions for the paired-sample design, Statistics in Medicine 17, 891-908.
    """
    estimate = (only_a - only_b) / questions

    def end(side: int) -> float:
        limit = float(side)

        def excess(difference: float) -> float:
            return _score(only_a, only_b, questions, difference) + side * _Z

        if abs(estimate - limit) < 1e-12 or excess(estimate) * excess(limit * (1 - 1e-9)) > 0:
            return limit
        return float(optimize.brentq(excess, estimate, limit * (1 - 1e-9), xtol=1e-10))

    return end(-1), end(1)


def detectable_points(
    discordant: int | None, questions: int | None, stderr_points: float, tests: int
) -> float:
    """The least difference this evaluation would have shown with 80 % power, percentage points.

    At the level that Holm's first step gives each of `tests` tests.

    Args:
        discordant: paired: questions that only one of the two answered correctly; None when unpaired.
        questions: paired: answered by both.
        stderr_points: unpaired: standard error of the difference.
        tests: in the family.
    """
    level = LEVEL / max(tests, 1)
    reach = float(stats.norm.ppf(1 - level / 2) + stats.norm.ppf(POWER))
    if discordant is None or questions is None:
        return reach * stderr_points
    # Never below what the exact test needs at all: so many questions, all discordant the same way.
    fewest = float(np.ceil(1 - np.log2(level)))  # 2 * 0.5 ** fewest <= level
    return 100 * max(reach * float(np.sqrt(discordant)), fewest) / questions


def holm(p_values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Holm's (1979) step-down adjustment for testing several hypotheses at once.

    statsmodels' multipletests gives the same, but collects garbage first: 0.2 s a call, most of a report.
    """
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty_like(stepped)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def verdict(points: float, p_different: float, p_equivalent: float) -> Verdict:
    """What adjusted p-values allow to say."""
    if p_different < LEVEL:
        return "better" if points > 0 else "worse"
    return "equivalent" if p_equivalent < LEVEL else "inconclusive"


def _score(only_a: int, only_b: int, questions: int, difference: float) -> float:
    """Tango's score statistic for the hypothesis that the difference is `difference`, a share."""
    numerator = only_a - only_b - questions * difference
    # The restricted maximum-likelihood estimate of P(only B) under the hypothesis.
    a = 2 * questions
    b = -only_a - only_b + (2 * questions - only_a + only_b) * difference
    c = -only_b * difference * (1 - difference)
    estimate = (np.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = questions * (2 * estimate + difference * (1 - difference))
    if variance <= 0:
        return 0.0 if numerator == 0 else float(np.copysign(np.inf, numerator))
    return float(numerator / np.sqrt(variance))
