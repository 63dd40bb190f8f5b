"""Holm's adjustment of many small families of tests at once."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def holm_within(p_values: FloatArray, family: npt.NDArray[np.int64]) -> FloatArray:
    """Step-down adjustment within each family (Holm 1979); NaN is no test and stays NaN.

    statsmodels' multipletests gives the same of one family, but collects garbage first: 0.2 s a call.

    Args:
        p_values: shape [tests].
        family: the number of each test's family; shape [tests].
    """
    adjusted = np.full(len(p_values), np.nan)
    tested = np.flatnonzero(np.isfinite(p_values))
    if not len(tested):
        return adjusted
    order = tested[np.lexsort((p_values[tested], family[tested]))]
    _, first, size = np.unique(family[order], return_index=True, return_counts=True)
    row = np.repeat(np.arange(len(size)), size)
    place = np.arange(len(order)) - first[row]
    stepped = np.zeros((len(size), int(size.max())))  # a row each family, by p, zeros behind
    stepped[row, place] = p_values[order] * (size[row] - place)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped, axis=1)[row, place], 1.0)
    return adjusted
