"""Whether the importance ratios of one run go with the age of what it trained on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from results.statistics.trend import BLOCK_STEPS, block_trends

METRICS = ("ess", "ratio_mean", "ratio_max", "logprob_gap_mean", "clip_fraction")
"""Columns of table `steps` that age may change."""


@dataclass(frozen=True)
class AgeTrend:
    """One metric of a run against its age; see `results.statistics.trend`."""

    metric: str
    blocks: int
    """Of `BLOCK_STEPS` steps, in which age and metric vary."""
    rank_correlation: float
    p: float
    """NaN where there are too few blocks for a test."""


def age_trends(steps: pd.DataFrame) -> list[AgeTrend]:
    """A trend for each of `METRICS`; none where no block of steps has several ages.

    Args:
        steps: `step, off_policy_steps_mean` and the metrics, one run.
    """
    number = steps["step"].to_numpy(np.int64)
    _, block_of_step = np.unique(number // BLOCK_STEPS, return_inverse=True)

    def by_block(name: str) -> npt.NDArray[np.float64]:
        grid = np.full((block_of_step.max(initial=-1) + 1, BLOCK_STEPS), np.nan)
        grid[block_of_step, number % BLOCK_STEPS] = steps[name].to_numpy(np.float64)
        return grid

    ages = by_block("off_policy_steps_mean")
    varies = np.fmax.reduce(ages, axis=1) > np.fmin.reduce(ages, axis=1)
    if not varies.any():
        return []
    same_run = np.zeros(np.count_nonzero(varies), dtype=np.int64)
    found = {name: block_trends(same_run, ages[varies], by_block(name)[varies], runs=1) for name in METRICS}
    return [
        AgeTrend(name, int(each.blocks[0]), float(each.rank_correlation[0]), float(each.p[0]))
        for name, each in found.items()
    ]
