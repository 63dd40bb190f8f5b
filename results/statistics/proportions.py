"""Is one model better than another, worse, the same, or can this not be told? Many comparisons at once.

Everything is an array with one element per comparison. Differences are in percentage points, A - B. Where
both answered the same questions, `paired` and, over several seeds, `crossed` are more sensitive.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Verdict = Literal["better", "worse", "equivalent", "inconclusive"]

LEVEL = 0.05
POWER = 0.80
Z = float(special.ndtri(1 - LEVEL / 2))
"""Half the width of a 95 % interval, in standard errors."""


@dataclass(frozen=True)
class Differences:
    """Differences of two accuracies and their tests, before any adjustment for other tests."""

    points: FloatArray
    low: FloatArray
    high: FloatArray
    """95 % interval, percentage points."""
    p_different: FloatArray
    p_equivalent: FloatArray
    """The larger of two one-sided tests that the difference is beyond +-margin."""


def unpaired_differences(
    a_percent: FloatArray,
    a_stderr: FloatArray,
    b_percent: FloatArray,
    b_stderr: FloatArray,
    margin_points: float,
) -> Differences:
    """From accuracies with their standard errors, all in percentage points; normal approximation.

    On the same questions the errors are correlated, so this is less sensitive than a paired test. Without
    any error (both all right, or all wrong) only the margin decides.
    """
    points, error = a_percent - b_percent, np.hypot(a_stderr, b_stderr)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(points == 0, 0.0, np.abs(points) / error)
        below = np.where(np.abs(points) == margin_points, 0.0, (margin_points - np.abs(points)) / error)
    return Differences(
        points=points,
        low=points - Z * error,
        high=points + Z * error,
        p_different=2 * special.ndtr(-z),
        p_equivalent=special.ndtr(-below),  # of the two one-sided tests the one at the nearer margin
    )


def verdicts(points: FloatArray, p_different: FloatArray, p_equivalent: FloatArray) -> list[Verdict | None]:
    """What adjusted p-values allow to say; None where there is no p-value."""
    words: list[Verdict | None] = ["better", "worse", "equivalent", "inconclusive", None]
    chosen = np.select(
        [
            np.isnan(p_different),
            (p_different < LEVEL) & (points > 0),
            p_different < LEVEL,
            p_equivalent < LEVEL,
        ],
        [4, 0, 1, 2],
        3,
    )
    return [words[each] for each in chosen]


def reach(tests: IntArray) -> FloatArray:
    """Standard errors that a true difference must measure to be shown with 80 % power.

    At the level that Holm's first step gives each of so many tests.
    """
    return np.asarray(special.ndtri(1 - LEVEL / np.maximum(tests, 1) / 2) + special.ndtri(POWER))


def detectable_paired(discordant: IntArray, questions: IntArray, tests: IntArray) -> FloatArray:
    """The least difference that McNemar's test would have shown with 80 % power, percentage points.

    Args:
        discordant: questions that only one of the two answered correctly.
        questions: answered by both.
        tests: in the family that the comparison is adjusted for.
    """
    # Never below what the exact test needs at all: so many questions, all discordant the same way.
    fewest = np.ceil(1 - np.log2(LEVEL / np.maximum(tests, 1)))  # 2 * 0.5 ** fewest <= level
    return np.asarray(100 * np.maximum(reach(tests) * np.sqrt(discordant), fewest) / questions)
