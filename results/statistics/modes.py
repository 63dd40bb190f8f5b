"""Are a run's step times of one kind or of several, and which steps are of which?

More than one mode is claimed only where all of this holds:

1. Silverman's test, calibrated, rejects one mode at 5 %. Three modes at equal distances hide from the test of
   one, so the test of at most two is looked at too, and p is twice the smaller of both. The least number
   above one that the test does not reject, at most four, is the most that is looked for.
2. Of the mixtures with that many components or fewer whose components are modes, the one with the least
   BIC has more than one. Components are modes if at least two hold 10 % of the steps each, and of these,
   neighbours are apart by Ashman's D > 2 with a valley of the density between them; smaller components are
   set aside.
3. By AIC, that mixture is likelier than a flat density. Silverman's test is not valid for flat densities,
   where any bump is a mode.

Times are looked at on the log scale, so a mixture is one of log-normals; those that were rounded are spread
over what rounds to them. Seeded. Without the first sync cycle, which fills the pipeline.

Reference: Ashman, Bird & Zepf (1994), Detecting bimodality in astronomical datasets.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from results.statistics.explanation import Explanation, explain
from results.statistics.mixture import Mixture, fit_mixture
from results.statistics.rounding import spread_ties
from results.statistics.sequential import LEVEL
from results.statistics.silverman import silverman_test
from results.statistics.wording import count_text, range_text, seconds_text
from trainer.schedule import Schedule

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MIN_WEIGHT = 0.10
MIN_ASHMAN_D = 2.0
MIN_STEPS = 12
"""Fewer steps than this cannot show a mode of 10 %."""
_MAX_MODES = 4
_FENCE = 1.5
_LEAST_S = 1e-6
_NAMED_OUTLIERS = 3
_WHAT_MODES_ARE = "kinds of steps that hold 10 % each are clearly apart"


@dataclass(frozen=True)
class Mode:
    """One kind of step."""

    seconds: float
    """Its median: of the log-normal component, or of all steps where there is one mode."""
    weight: float
    """Share of the steps, by the mixture."""
    std_s: float
    """Standard deviation of the steps that most likely belong to it."""
    low_s: float
    """Fastest of these that is no outlier."""
    high_s: float
    """Slowest of these that is no outlier."""
    steps: int
    """How many of these lie within `low_s` and `high_s`."""


@dataclass(frozen=True)
class StepModes:
    """What a run's step times look like."""

    steps: int
    """Steps looked at: all but the first sync cycle."""
    modes: tuple[Mode, ...]
    """By location; one where no second is shown, none where there are too few steps."""
    outliers_s: tuple[float, ...]
    """Times of the steps outside their mode's range, in order of size."""
    unimodality_p: float
    """That there is one mode, by Silverman's test."""
    position_p: float
    """Permutation test that positions in the sync cycle do not matter; NaN for k = 1."""
    explained_by: str | None
    """`position`, the column of table `steps` that goes with the modes, or None."""
    sentence: str


def step_modes(
    steps: pd.DataFrame, sync_interval_steps: int, seed: int = 0, schedule: Schedule | None = None
) -> StepModes:
    """The modes of one run.

    Args:
        steps: columns of table `steps`, one run, by step.
        sync_interval_steps: k.
        seed: of the bootstrap and of the permutations.
        schedule: of the run. Without it no wait is put down to a sync.
    """
    warm = steps[steps["step"] >= sync_interval_steps]
    seconds = np.maximum(warm["wall_s"].to_numpy(np.float64), _LEAST_S)
    nan = float("nan")
    if len(seconds) < MIN_STEPS:
        sentence = f"{len(seconds)} steps after the first sync cycle are too few to look for modes."
        return StepModes(len(seconds), (), (), nan, nan, None, sentence)
    rng = np.random.default_rng(seed)
    logs = np.log(np.maximum(spread_ties(seconds), _LEAST_S))
    unimodality_p, mixture = find_modes(logs, rng)
    kinds = np.zeros(len(logs), np.int64) if mixture is None else mixture.likeliest(logs)
    modes, outliers = _ranges(seconds, logs, kinds, mixture)
    explanation = explain(warm, kinds, sync_interval_steps, schedule, rng)
    return StepModes(
        len(seconds),
        modes,
        outliers,
        unimodality_p,
        explanation.position_p,
        explanation.explained_by,
        _sentence(modes, outliers, unimodality_p, explanation),
    )


def find_modes(logs: FloatArray, rng: np.random.Generator) -> tuple[float, Mixture | None]:
    """p-value of one mode, and the components that are modes, or None where only one is shown.

    Args:
        logs: at least two log times.
        rng: of the bootstrap.
    """
    p = [silverman_test(logs, modes, rng) for modes in (1, 2)]
    unimodality_p = min(1.0, 2 * min(p))
    if unimodality_p >= LEVEL:
        return unimodality_p, None
    most = 2
    while p[-1] < LEVEL and most < _MAX_MODES:
        most += 1
        p.append(silverman_test(logs, most, rng))
    best, kept = fit_mixture(logs, 1), None
    for components in range(2, most + 1):
        fit = fit_mixture(logs, components)
        admitted = _admitted(fit.mixture, logs)
        if admitted is not None and fit.bic < best.bic:
            best, kept = fit, admitted
    return unimodality_p, kept if best.aic < _flat_aic(logs) else None


def _flat_aic(logs: FloatArray) -> float:
    """Akaike's criterion of a uniform density over the range."""
    return 2 * len(logs) * float(np.log(np.ptp(logs))) + 2 * 2


def _admitted(mixture: Mixture, logs: FloatArray) -> Mixture | None:
    """The components that are modes, their weights summing to one; None where they are not."""
    held = np.bincount(mixture.likeliest(logs), minlength=len(mixture.weights))
    large = held >= MIN_WEIGHT * len(logs)
    if np.count_nonzero(large) < 2:
        return None
    weights = mixture.weights[large]
    kept = Mixture(mixture.locations[large], mixture.spreads[large], weights / weights.sum())
    for left in range(len(kept.locations) - 1):
        if kept.ashman_d(left) <= MIN_ASHMAN_D or not kept.has_valley(left):
            return None
    return kept


def _ranges(
    seconds: FloatArray, logs: FloatArray, kinds: IntArray, mixture: Mixture | None
) -> tuple[tuple[Mode, ...], tuple[float, ...]]:
    """Each mode with its steps and their range, and the times outside.

    A step is outside where its log time is beyond the quartiles of its mode's by more than 1.5 times their
    distance: the whiskers of a box plot (Tukey 1977, Exploratory Data Analysis).
    """
    found, within = [], np.zeros(len(seconds), np.bool_)
    for kind in range(1 if mixture is None else len(mixture.locations)):
        own = kinds == kind
        low, high = np.percentile(logs[own], (25, 75))
        reach = _FENCE * (high - low)
        core = own & (logs >= low - reach) & (logs <= high + reach)
        within |= core
        found.append(
            Mode(
                float(np.median(seconds) if mixture is None else np.exp(mixture.locations[kind])),
                1.0 if mixture is None else float(mixture.weights[kind]),
                float(seconds[own].std(ddof=1)),
                float(seconds[core].min()),
                float(seconds[core].max()),
                int(np.count_nonzero(core)),
            )
        )
    return tuple(found), tuple(np.sort(seconds[~within]).tolist())


def _sentence(
    modes: tuple[Mode, ...], outliers: tuple[float, ...], unimodality_p: float, explanation: Explanation
) -> str:
    """What was found, no stronger than its tests."""
    steps = sum(mode.steps for mode in modes) + len(outliers)
    p = f"Silverman's p = {unimodality_p:.2g}"
    if len(modes) > 1:
        places = "; ".join(
            f"{seconds_text(mode.seconds)} s ({mode.weight:.0%}), {mode.steps} of {steps} steps in "
            f"{range_text(mode.low_s, mode.high_s)} s"
            for mode in modes
        )
        what = f"{len(modes)} modes: {places}{_outside(outliers)}. One mode is rejected ({p})."
    else:
        mode = modes[0]
        range_ = range_text(mode.low_s, mode.high_s)
        what = (
            f"One mode: {seconds_text(mode.seconds)} s (median; std {seconds_text(mode.std_s)} s), "
            f"{mode.steps} of {steps} steps in {range_} s{_outside(outliers)}. "
        )
        if unimodality_p >= LEVEL:
            what += f"No second mode is shown ({p})."
        else:
            what += f"No second mode is shown: a single one is rejected ({p}), but no two {_WHAT_MODES_ARE}."
    return f"{what} {explanation.sentence}".rstrip()


def _outside(outliers: tuple[float, ...]) -> str:
    """What lies outside the ranges: `; one at 42.2 s`."""
    if not outliers:
        return ""
    if len(outliers) <= _NAMED_OUTLIERS:
        places = ", ".join(seconds_text(each) for each in outliers)
        return f"; {count_text(len(outliers))} outside, at {places} s"
    return f"; {len(outliers)} outside, from {seconds_text(outliers[0])} s to {seconds_text(outliers[-1])} s"
