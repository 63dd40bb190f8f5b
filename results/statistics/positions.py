"""Does the position in the sync cycle decide how long a step takes, and does the schedule say why?"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from results.statistics.sequential import sequential_p
from trainer.schedule import Schedule

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PositionSplit:
    """The positions of a sync cycle, 0 following a sync, in two classes."""

    fast: tuple[int, ...]
    slow: tuple[int, ...]


def position_test(steps: IntArray, values: FloatArray, interval: int, rng: np.random.Generator) -> float:
    """Whether the position in the sync cycle matters, by permuting positions within each whole cycle.

    The statistic is the variance of the positions' means. Permuting within cycles leaves slow drifts over
    the run alone. NaN for k = 1 or no two whole cycles.

    Args:
        steps: consecutive step numbers, from 0 at the start of the run.
        values: of each step.
        interval: k.
        rng: of the permutations.
    """
    cycle = steps // interval
    whole = np.flatnonzero(np.bincount(cycle - cycle.min()) == interval) + cycle.min() if len(steps) else []
    if interval < 2 or len(whole) < 2:
        return float("nan")
    table = values[np.isin(cycle, whole)].reshape(len(whole), interval)
    observed = table.mean(axis=0).var() * (1 - 1e-12)

    def as_extreme(samples: int) -> npt.NDArray[np.bool_]:
        shuffled = rng.permuted(np.broadcast_to(table, (samples, *table.shape)), axis=2)
        return np.asarray(shuffled.mean(axis=1).var(axis=1) >= observed)

    return sequential_p(as_extreme)


def position_share(positions: IntArray, values: FloatArray) -> float:
    """Share of the variance of the values that lies between positions; 0 where they are all equal."""
    total = float(values.var())
    if total == 0:
        return 0.0
    counts = np.bincount(positions)
    means = np.bincount(positions, values) / np.maximum(counts, 1)
    return float((means[positions] - values.mean()).var() / total)


def split_positions(positions: IntArray, seconds: FloatArray) -> PositionSplit:
    """Fast and slow positions, parted at the widest gap between the positions' mean times.

    Args:
        positions: 0 to k - 1, each at least once, k > 1.
        seconds: of each step.
    """
    means = np.bincount(positions, seconds) / np.bincount(positions)
    order = np.argsort(means, kind="stable")
    cut = int(np.diff(means[order]).argmax()) + 1
    return PositionSplit(tuple(sorted(order[:cut].tolist())), tuple(sorted(order[cut:].tolist())))


def held_back_positions(schedule: Schedule) -> tuple[int, ...]:
    """Positions in the sync cycle whose groups may not be dispatched before the sync the cycle begins with.

    Under admission these are the positions j > s - k: before the sync the engine is k versions behind.
    None where admission does not decide (evict_requeue).
    """
    interval, prompts = schedule.sync_interval_steps, schedule.prompts_per_optim_step
    # Whatever the run's length: the cycle that begins with the first sync, seen from before it.
    long = replace(schedule, max_steps=2 * interval)
    return tuple(
        position
        for position in range(interval)
        if not long.may_dispatch((interval + position) * prompts, waiting=0, engine_version=0)
        and long.in_dispatch_order
    )
