"""How long training took to reach a reward, and what can be said where it was not reached."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

WINDOW_STEPS = 5
"""A reward counts as reached when the mean of so many consecutive steps is there."""
_ROUNDING = 1e-9
"""Two means of the same rewards differ by less; it decides where the reward never changes."""


@dataclass(frozen=True)
class Climb:
    """A run's rewards on the way up."""

    elapsed_s: FloatArray
    """Training time at the end of each step at which the trailing mean reward was higher than ever before."""
    best: FloatArray
    """That mean, same shape; it rises."""
    training_s: float
    """Of all steps."""
    first_fifth: float
    last_fifth: float
    """Mean reward over a fifth of the steps, the last rounded down; NaN below five steps."""


@dataclass(frozen=True)
class Speedups:
    """Ratios of times to a reward, shape [pairs]; > 1 is faster than the other."""

    ratios: FloatArray
    """NaN where neither run reached it; where one did not, a bound."""
    bounds: npt.NDArray[np.object_]
    """None; '>' the ratio is more than that, as the other had not reached it; '<' less, as this had not."""


def climb(seconds: FloatArray, rewards: FloatArray) -> Climb:
    """Sums up one run.

    Args:
        seconds: of each step, in order, shape [steps].
        rewards: mean reward of each step's batch, shape [steps]; NaN is never a reward reached.
    """
    elapsed = np.cumsum(seconds)
    if len(rewards) < WINDOW_STEPS:
        nothing = np.empty(0)
        total = float(elapsed[-1]) if len(elapsed) else 0.0
        return Climb(nothing, nothing, total, float("nan"), float("nan"))
    smooth = np.convolve(rewards, np.full(WINDOW_STEPS, 1 / WINDOW_STEPS), mode="valid")
    best = np.fmax.accumulate(np.where(np.isnan(smooth), -np.inf, smooth))
    higher = best > np.concatenate([[-np.inf], best[:-1]])
    fifth = len(rewards) // 5
    return Climb(
        elapsed_s=elapsed[WINDOW_STEPS - 1 :][higher],
        best=best[higher],
        training_s=float(elapsed[-1]),
        first_fifth=float(rewards[: -(-len(rewards) // 5)].mean()),
        last_fifth=float(rewards[-fifth:].mean()),
    )


def seconds_to_reach(run: Climb, reward: float) -> float:
    """Training time until the trailing mean was at `reward` for the first time; NaN: not in this run."""
    at = int(np.searchsorted(run.best, reward - _ROUNDING)) if np.isfinite(reward) else len(run.best)
    return float(run.elapsed_s[at]) if at < len(run.best) else float("nan")


def speedups(
    seconds: FloatArray, ended: FloatArray, others: FloatArray, others_ended: FloatArray
) -> Speedups:
    """Ratios of the times to a reward, other / this, with bounds where one run ended before it was reached.

    Args:
        seconds: until this run reached it; NaN where it did not. All shapes [pairs].
        ended: training time of this run, which it took longer than where it did not reach it.
        others: the same of the other run.
        others_ended: training time of the other run.
    """
    here, there = np.isfinite(seconds), np.isfinite(others)
    mine, theirs = np.where(here, seconds, ended), np.where(there, others, others_ended)
    known = (here | there) & (mine > 0) & (theirs > 0)  # a run without steps is no bound
    bounds = np.full(len(known), None, dtype=object)
    bounds[known & ~there] = ">"
    bounds[known & ~here] = "<"
    return Speedups(np.divide(theirs, mine, out=np.full(len(known), np.nan), where=known), bounds)
