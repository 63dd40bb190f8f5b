"""How coarsely figures were rounded, and rounded times spread out again.

A hundred times of which most are 28.6 s or 28.7 s look like two modes to any test of the density, though
all that is known is that they lie between 28.55 and 28.75.
"""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_NEAR = 1e-6
"""So far from a whole number of steps a multiple may be: what floating point makes of it, and no more."""


def resolution(values: FloatArray, unit: float = 1.0, decimals: int = 3) -> float:
    """The coarsest of `unit`, a tenth of it and so on that all values are multiples of; 0 where none is.

    Args:
        values: figures; those that are not finite say nothing.
        unit: in which they were printed, in that of the values: 60 for minutes among seconds.
        decimals: of the finest step that is looked for.
    """
    printed = values[np.isfinite(values)] / unit
    for places in range(decimals + 1):
        multiples = printed * 10.0**places
        if np.abs(multiples - np.round(multiples)).max(initial=0.0) < _NEAR:
            return unit * 10.0**-places
    return 0.0


def spread_ties(values: FloatArray) -> FloatArray:
    """The values with each set of equal ones spread evenly over the interval that rounds to it.

    Order is kept; no value moves by more than half the resolution. Values that were not rounded stay.
    """
    step = resolution(values)
    if step == 0.0 or np.ptp(values) == 0:
        return values
    order = np.argsort(values, kind="stable")
    _, first, counts = np.unique(values[order], return_index=True, return_counts=True)
    rank = np.arange(len(values)) - np.repeat(first, counts)
    spread = np.empty_like(values)
    spread[order] = values[order] + step * ((rank + 0.5) / np.repeat(counts, counts) - 0.5)
    return spread
