"""p-values by simulation that stop as soon as they cannot be significant any more.

Reference: Besag & Clifford (1991), Sequential Monte Carlo p-values.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

LEVEL = 0.05
SAMPLES = 399
_FIRST = 99
_ENOUGH = round(LEVEL * (SAMPLES + 1))


def sequential_p(as_extreme: Callable[[int], npt.NDArray[np.bool_]]) -> float:
    """p-value of data against at most 399 samples of what would be without an effect.

    Drawing ends at the 20th sample as extreme as the data: then p = 20 / drawn, above 5 %. Otherwise
    p = (1 + as extreme) / 400, the data counted as a sample, so never zero. Whether p < 0.05 is what all
    399 samples would have said, so the level holds.

    Args:
        as_extreme: draws so many samples and says of each whether it is as extreme as the data.
    """
    found = drawn = 0
    for samples in (_FIRST, SAMPLES - _FIRST):
        running = found + np.cumsum(as_extreme(samples))
        if running[-1] >= _ENOUGH:
            return _ENOUGH / (drawn + 1 + int(np.searchsorted(running, _ENOUGH)))
        found, drawn = int(running[-1]), drawn + samples
    return (1 + found) / (1 + SAMPLES)
