"""Are a run's step times of one kind or of several, and does the sync cycle explain it?

More than one mode is claimed only where all of this holds: Silverman's test rejects fewer modes at 5 %,
each mode holds at least 10 % of the steps, neighbours are apart by Ashman's D > 2, and the fitted density
has a valley between them. Positions in the sync cycle explain modes only where a permutation test says
that they matter. Everything is on log times, seeded, and leaves out the first sync cycle.

References: Silverman (1981), Using kernel density estimates to investigate multimodality;
Ashman, Bird & Zepf (1994), Detecting bimodality in astronomical datasets.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from results.statistics.mixture import Mixture, fit_mixture

FloatArray = npt.NDArray[np.float64]

LEVEL = 0.05
MIN_WEIGHT = 0.10
MIN_ASHMAN_D = 2.0
MIN_STEPS = 12
"""Fewer steps than this cannot show a mode of 10 %."""
_MAX_MODES = 4
_BOOTSTRAPS = 500
_PERMUTATIONS = 1999
_GRID = 256
_PARTS = ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s")


@dataclass(frozen=True)
class Mode:
    """One kind of step."""

    seconds: float
    """Its median: the mode's location on the log scale, in seconds."""
    weight: float
    """Share of the steps."""


@dataclass(frozen=True)
class StepModes:
    """What a run's step times look like."""

    steps: int
    """Steps looked at: all but the first sync cycle."""
    modes: tuple[Mode, ...]
    """By location; one for unimodal times, none where there are too few steps."""
    unimodality_p: float
    """Silverman's test of one mode."""
    position_p: float
    """Permutation test that positions in the sync cycle do not matter; NaN for k = 1."""
    sentence: str


def step_modes(steps: pd.DataFrame, sync_interval_steps: int, seed: int = 0) -> StepModes:
    """The modes of one run.

    Args:
        steps: columns of table `steps`, one run, by step.
        sync_interval_steps: k.
        seed: of the bootstrap and of the permutations.
    """
    warm = steps[steps["step"] >= sync_interval_steps]
    seconds = warm["wall_s"].to_numpy(np.float64)
    if len(seconds) < MIN_STEPS:
        sentence = f"{len(seconds)} steps after the first sync cycle are too few to look for modes."
        return StepModes(len(seconds), (), float("nan"), float("nan"), sentence)
    rng = np.random.default_rng(seed)
    logs = np.log(seconds)
    found, unimodality_p = _count_modes(logs, rng)
    mixture = _admitted(fit_mixture(logs, found)) if found > 1 else None
    if mixture is None:
        modes: tuple[Mode, ...] = (Mode(float(np.exp(np.median(logs))), 1.0),)
    else:
        pairs = zip(mixture.locations, mixture.weights, strict=True)
        modes = tuple(Mode(float(np.exp(location)), float(weight)) for location, weight in pairs)
    position_p = position_test(warm["step"].to_numpy(), logs, sync_interval_steps, rng)
    sentence = _sentence(warm, modes, unimodality_p, position_p, sync_interval_steps)
    return StepModes(len(seconds), modes, unimodality_p, position_p, sentence)


def silverman_test(values: FloatArray, modes: int, rng: np.random.Generator) -> float:
    """p-value of the hypothesis that the density has at most `modes` modes.

    The critical bandwidth is the least at which a Gaussian kernel estimate has so few; the p-value is the
    share of smoothed bootstrap samples that have more at that bandwidth.
    """
    bandwidth = critical_bandwidth(values, modes)
    spread = values.std()
    if spread == 0:
        return 1.0
    drawn = rng.choice(values, size=(_BOOTSTRAPS, len(values)))
    smooth = drawn + bandwidth * rng.standard_normal(drawn.shape)
    # Shrunk back, or the samples would have a larger variance than the data.
    smooth = values.mean() + (smooth - values.mean()) / np.sqrt(1 + bandwidth**2 / spread**2)
    more = sum(_modes_at(sample, bandwidth) > modes for sample in smooth)
    return (1 + more) / (1 + _BOOTSTRAPS)  # the data count as a sample: never zero


def critical_bandwidth(values: FloatArray, modes: int) -> float:
    """The least bandwidth at which the kernel estimate has at most `modes` modes, to 0.1 %."""
    high = float(np.ptp(values)) or 1.0
    low = high * 1e-4
    if _modes_at(values, low) <= modes:
        return low
    while high / low > 1.001:
        middle = float(np.sqrt(low * high))
        if _modes_at(values, middle) <= modes:
            high = middle
        else:
            low = middle
    return high


def position_test(
    steps: npt.NDArray[np.int64], values: FloatArray, interval: int, rng: np.random.Generator
) -> float:
    """Whether the position in the sync cycle matters, by permuting positions within each whole cycle.

    Permuting within cycles leaves slow drifts over the run alone. NaN for k = 1 or no two whole cycles.
    """
    cycle = steps // interval
    whole = np.flatnonzero(np.bincount(cycle - cycle.min()) == interval) + cycle.min() if len(steps) else []
    if interval < 2 or len(whole) < 2:
        return float("nan")
    table = values[np.isin(cycle, whole)].reshape(len(whole), interval)
    observed = table.mean(axis=0).var()
    shuffled = rng.permuted(np.broadcast_to(table, (_PERMUTATIONS, *table.shape)), axis=2)
    as_extreme = np.count_nonzero(shuffled.mean(axis=1).var(axis=1) >= observed * (1 - 1e-12))
    return float((1 + as_extreme) / (1 + _PERMUTATIONS))


def _count_modes(logs: FloatArray, rng: np.random.Generator) -> tuple[int, float]:
    """The least number of modes that Silverman's test does not reject, and the p-value of one."""
    first = silverman_test(logs, 1, rng)
    modes, p = 1, first
    while p < LEVEL and modes < _MAX_MODES:
        modes += 1
        p = silverman_test(logs, modes, rng)
    return modes, first


def _modes_at(values: FloatArray, bandwidth: float) -> int:
    """Local maxima of the Gaussian kernel estimate, on a grid fine enough for the bandwidth."""
    low, high = values.min() - 3 * bandwidth, values.max() + 3 * bandwidth
    points = int(np.clip(4 * (high - low) / bandwidth, _GRID, 16 * _GRID))
    grid = np.linspace(low, high, points)
    density = np.exp(-0.5 * ((grid[:, None] - values[None, :]) / bandwidth) ** 2).sum(axis=1)
    rising = np.diff(density) > 0
    return int(np.count_nonzero(rising[:-1] & ~rising[1:]))


def _admitted(mixture: Mixture) -> Mixture | None:
    """The components that count as modes, or None where fewer than two do.

    Small components (outliers) are set aside first; then neighbours must be apart and have a valley between.
    """
    large = mixture.weights >= MIN_WEIGHT
    if np.count_nonzero(large) < 2:
        return None
    kept = Mixture(mixture.locations[large], mixture.spreads[large], mixture.weights[large])
    for left in range(len(kept.locations) - 1):
        if kept.ashman_d(left) <= MIN_ASHMAN_D or not kept.has_valley(left):
            return None
    return kept


def _sentence(
    warm: pd.DataFrame, modes: tuple[Mode, ...], unimodality_p: float, position_p: float, interval: int
) -> str:
    """What was found, no stronger than its tests."""
    if len(modes) == 1 and unimodality_p >= LEVEL:
        return (
            f"One mode at {modes[0].seconds:.3g} s; more are not shown (Silverman's p = {unimodality_p:.2g})."
        )
    if len(modes) == 1:
        return (
            f"One mode at {modes[0].seconds:.3g} s; some steps lie apart "
            f"(slowest {warm['wall_s'].max():.3g} s), too few or too near to be a mode of their own."
        )
    places = " and ".join(f"{mode.seconds:.3g} s ({mode.weight:.0%})" for mode in modes)
    found = f"{len(modes)} modes: {places}; one mode is rejected (Silverman's p = {unimodality_p:.2g})."
    if interval < 2:
        return f"{found} With a sync after every step, the sync cycle cannot explain them."
    if not position_p < LEVEL:
        p = f"permutation p = {position_p:.2g}"
        return f"{found} The position in the sync cycle does not explain them ({p})."
    return f"{found} {_explanation(warm, position_p, interval)}"


def _explanation(warm: pd.DataFrame, position_p: float, interval: int) -> str:
    """Which positions of the cycle are slow, and in which part of the step the time goes."""
    means = warm.groupby(warm["step"] % interval)[["wall_s", *_PARTS]].mean()
    walls = means["wall_s"].to_numpy()
    slow, fast = int(walls.argmax()), int(walls.argmin())  # positions are 0 to k - 1, in order
    gap = means.iloc[slow] - means.iloc[fast]
    part = str(gap[list(_PARTS)].idxmax())
    return (
        f"The position in the sync cycle matters (permutation p = {position_p:.2g}): "
        f"step {slow + 1} of {interval} after a sync takes {walls[slow]:.3g} s on average, "
        f"step {fast + 1} {walls[fast]:.3g} s; the largest part of the "
        f"{gap['wall_s']:.3g} s between them is {part.removesuffix('_s')}, {gap[part]:.3g} s."
    )
