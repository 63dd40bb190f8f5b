"""An arm of several seeds against another model: both the seeds and the questions are a sample.

The difference of seed i on question q is mean + seed_i + question_q + rest_iq: crossed random effects. Seeds
are few, so nothing is drawn again (three seeds drawn with replacement show two thirds of their variance; see
Owen (2007), The pigeonhole bootstrap, Annals of Applied Statistics 1, 386-411, on drawing both). The two
variances are estimated instead; a t quantile with seeds - 1 degrees of freedom is given to the one, a normal
quantile to the other:

    half^2 = t(seeds - 1)^2 * var_seeds + z^2 * var_questions

W. G. Howe (1974), Approximate confidence limits on the mean of X + Y where X and Y are two tabled
independent random variables, Journal of the American Statistical Association 69, 789-794. Beside
Satterthwaite's degrees of freedom it keeps its level also far out, where Holm's adjustment looks: with three
seeds their variance is now and then estimated as nearly none. docs/statistics_accuracy.md has the figures.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from results.statistics.proportions import LEVEL, POWER, Differences, FloatArray, IntArray, Z

_HALVINGS = 30


@dataclass(frozen=True)
class SeedSample:
    """Mean differences of arms with their two variances; shares in [-1, 1], one element per arm."""

    mean: FloatArray
    var_seeds: FloatArray
    """Of the mean, because other seeds would have given others; with what is neither's."""
    var_questions: FloatArray
    """Of the mean, because other questions would have."""
    seeds: IntArray


def paired_sample(
    by_seed: FloatArray, question_squares: FloatArray, discordant: FloatArray, questions: FloatArray
) -> SeedSample:
    """From answers to the same questions, each seed's less its opponent's: d_iq, one of -1, 0 and 1.

    Args:
        by_seed: mean over the questions of each seed's d, shape `(arms, seeds)`, at least two seeds.
        question_squares: sum over questions of the square of the seeds' mean d, shape `(arms,)`.
        discordant: sum over seeds and questions of d squared, shape `(arms,)`.
        questions: shape `(arms,)`, at least 2.
    """
    seeds = by_seed.shape[1]
    mean = by_seed.mean(axis=1)
    between = by_seed.var(axis=1, ddof=1)
    rest = (
        discordant
        - seeds * question_squares
        - questions * (by_seed**2).sum(axis=1)
        + seeds * questions * mean**2
    ) / ((seeds - 1) * (questions - 1))
    # Few discordant questions would seem certain. Half a question more for each of the four answers (Agresti
    # & Min 2005), and never fewer than give Tango's interval where no question is discordant.
    more = questions + 2
    spread = np.maximum(question_squares + 1, Z**2) / more - (questions * mean / more) ** 2
    return SeedSample(
        mean=mean,
        # The rest is in both; it stays with the seeds, whose variance is the harder to know.
        var_seeds=between / seeds,
        var_questions=np.maximum(spread / more - np.maximum(rest, 0.0) / (seeds * questions), 0.0),
        seeds=np.full(len(mean), seeds),
    )


def unpaired_sample(by_seed: FloatArray, a_stderr: FloatArray, b_stderr: FloatArray) -> SeedSample:
    """From accuracies alone: each seed's difference, and the mean standard errors; all as shares.

    The seeds answered the same questions, so the error of their mean is at most that of one.

    Args:
        by_seed: shape `(arms, seeds)`, at least two seeds.
        a_stderr: of the arm's accuracies, shape `(arms,)`.
        b_stderr: of the opponent's, shape `(arms,)`.
    """
    seeds = by_seed.shape[1]
    return SeedSample(
        mean=by_seed.mean(axis=1),
        var_seeds=by_seed.var(axis=1, ddof=1) / seeds,
        var_questions=a_stderr**2 + b_stderr**2,
        seeds=np.full(len(by_seed), seeds),
    )


def seed_differences(sample: SeedSample, margin_points: float) -> Differences:
    """Interval and tests of the arms' mean differences, in percentage points."""
    half = half_width(sample, np.full(len(sample.mean), LEVEL))
    margin = margin_points / 100
    outside = np.abs(sample.mean) >= margin
    one_sided = p_value(sample, margin - np.abs(sample.mean)) / 2
    return Differences(
        points=100 * sample.mean,
        low=100 * np.maximum(sample.mean - half, -1.0),
        high=100 * np.minimum(sample.mean + half, 1.0),
        p_different=p_value(sample, sample.mean),
        p_equivalent=np.where(outside, 1 - one_sided, one_sided),
    )


def half_width(sample: SeedSample, level: FloatArray) -> FloatArray:
    """Half the width of the interval at `level`, as a share."""
    t = special.stdtrit(sample.seeds - 1, 1 - level / 2)
    z = special.ndtri(1 - level / 2)
    return np.asarray(np.sqrt(t**2 * sample.var_seeds + z**2 * sample.var_questions))


def p_value(sample: SeedSample, difference: FloatArray) -> FloatArray:
    """Two-sided: the level at which the interval is just so wide. 1 where the difference is 0."""
    target, seeds = difference**2, sample.var_seeds
    # Halved in z, which lies between 0 and its value were the t quantile as small; 0 where both are 0.
    total = seeds + sample.var_questions
    low, high = np.zeros(len(target)), np.sqrt(target / np.where(total > 0, total, np.inf))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        # Far out the t quantile becomes infinite; 1e150 is wide enough for all.
        t = np.minimum(np.abs(special.stdtrit(sample.seeds - 1, special.ndtr(-middle))), 1e150)
        wide = t**2 * seeds + middle**2 * sample.var_questions > target
        low, high = np.where(wide, low, middle), np.where(wide, middle, high)
    found = 2 * special.ndtr(-(low + high) / 2)
    return np.where((total == 0) & (target > 0), 0.0, found)


def detectable(sample: SeedSample, tests: IntArray) -> FloatArray:
    """The least difference that would have shown with about 80 % power, percentage points.

    At the level that Holm's first step gives each of so many tests.
    """
    half = half_width(sample, LEVEL / np.maximum(tests, 1))
    error = np.sqrt(sample.var_seeds + sample.var_questions)
    return np.asarray(100 * (half + special.ndtri(POWER) * error))
