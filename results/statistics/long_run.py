"""The variance of a mean of autocorrelated values, such as the seconds of consecutive sync cycles."""

import numpy as np
import numpy.typing as npt
from scipy import fft

FloatArray = npt.NDArray[np.float64]

MIN_VALUES = 8
"""Of fewer values a persistent series cannot be told from a steady one: intervals would be too short."""
_PERSISTENCE = (-0.3, 0.97)
"""What the whitening may assume. Above, it would trust a series that hardly has a mean; below, it would hide
the half period that an odd number of alternating values leaves over."""


def mean_variance(values: FloatArray) -> tuple[float, float]:
    """Variance of the mean of consecutive values, and the degrees of freedom of that estimate.

    Equal-weighted cosine estimate (Lazarus, Lewis, Stock & Watson 2018): the mean square of the first
    floor(0.4 m^(2/3)) coefficients of the series in cosines, each of which is as good as independent; so
    t quantiles of as many degrees of freedom belong to it. The m values it is taken of are the series
    whitened by a first-order autoregression, whose effect on the variance is then put back (Andrews &
    Monahan 1992); its coefficient is corrected for its bias in short series (Marriott & Pope 1954).

    Args:
        values: shape [m + 1], in order of time; where they are centred does not matter.

    Returns:
        Variance of `values.mean()` and its degrees of freedom; NaN below `MIN_VALUES` values.
    """
    count = len(values)
    if count < MIN_VALUES:
        return float("nan"), float("nan")
    centred = values - values.mean()
    power = float(np.sum(centred * centred))
    persistence = 0.0
    if power > 0:
        measured = float(np.sum(centred[1:] * centred[:-1])) / power
        persistence = float(np.clip(measured + (1 + 3 * measured) / count, *_PERSISTENCE))
    white = centred[1:] - persistence * centred[:-1]
    terms = int(0.4 * len(white) ** (2 / 3))
    cosines = fft.dct(white, type=2, norm="ortho")[1 : terms + 1]  # the zeroth is the mean
    long_run = float(np.mean(cosines * cosines)) / (1 - persistence) ** 2
    return long_run / count, float(terms)
