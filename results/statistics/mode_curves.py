"""The mixture that `results.statistics.modes` found in a run's step times, as a curve to draw.

The store keeps where the modes are and what they weigh, not how wide they are; the fit has no randomness,
so the same times give the same mixture again.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from results.statistics.mixture import Mixture, fit_mixture
from results.statistics.rounding import spread_ties

FloatArray = npt.NDArray[np.float64]

_MOST_COMPONENTS = 4
"""No more are looked for."""
_SAME = 1e-9
"""Relative difference of locations up to which they are the same but for rounding."""
_REACH = 4.0
_POINTS = 48


def find_again(seconds: FloatArray, locations_s: FloatArray, weights: FloatArray) -> Mixture | None:
    """The mixture of log times whose components were found to be modes; None where no fit has them.

    Args:
        seconds: of all steps after the first sync cycle, in order; positive.
        locations_s: of the modes, two or more, ascending.
        weights: theirs; they sum to one.
    """
    logs = np.log(spread_ties(seconds))
    wanted = np.log(locations_s)
    for components in range(len(wanted), _MOST_COMPONENTS + 1):
        found = fit_mixture(logs, components).mixture
        nearest = np.abs(found.locations[:, None] - wanted).argmin(axis=0)
        if np.allclose(found.locations[nearest], wanted, rtol=0, atol=_SAME):
            return Mixture(wanted, found.spreads[nearest], weights)
    return None


def points_along(mixture: Mixture) -> FloatArray:
    """Times in seconds, ascending, at which a curve of this mixture of log times shows all its modes."""
    around = np.linspace(-_REACH, _REACH, _POINTS)
    return np.sort(np.exp(mixture.locations[:, None] + mixture.spreads[:, None] * around).ravel())


def share_within(mixture: Mixture, seconds: FloatArray, width_s: float) -> FloatArray:
    """Share of the times that a mixture of log times has within half of `width_s` of each of `seconds`.

    Times the number of steps, this is what a bin of that width around each would hold, so the curve lies on
    a histogram however narrow the modes are.
    """
    ends = np.maximum(seconds[:, None] + np.array([-0.5, 0.5]) * width_s, np.finfo(float).tiny)
    scaled = (np.log(ends)[:, :, None] - mixture.locations) / mixture.spreads
    below = ndtr(scaled) @ mixture.weights
    return np.asarray(below[:, 1] - below[:, 0], dtype=np.float64)
