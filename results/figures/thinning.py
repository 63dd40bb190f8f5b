"""Fewer points than there are, so that a browser can draw them; what stands out is kept."""

import numpy as np
import pandas as pd

MOST_POINTS = 2000
"""Of one line: more than it has pixels."""


def thinned(frame: pd.DataFrame, y: str, most: int = MOST_POINTS) -> pd.DataFrame:
    """At most `most` rows: of each stretch of consecutive rows those with the least and the greatest `y`.

    A line through them covers the same pixels as one through all rows (M4 without first and last: Jugel et
    al., VLDB 2014). The first and the last row are always among them.

    Args:
        frame: of one line, in order.
        y: what is drawn; rows where it is missing are never picked unless they are the first or the last.
        most: at least 4.
    """
    if len(frame) <= most:
        return frame
    values = frame[y].to_numpy(np.float64, na_value=np.nan)
    bounds = np.linspace(0, len(values), (most - 2) // 2 + 1).astype(np.int64)[:-1]
    low = np.fmin.reduceat(values, bounds)
    high = np.fmax.reduceat(values, bounds)
    stretch = np.searchsorted(bounds, np.arange(len(values)), side="right") - 1
    kept = {0, len(values) - 1}
    for extreme in (low, high):
        places = np.flatnonzero(values == extreme[stretch])
        kept.update(places[np.unique(stretch[places], return_index=True)[1]].tolist())
    return frame.iloc[sorted(kept)]


def thinned_by_run(frame: pd.DataFrame, y: str, most: int = MOST_POINTS) -> pd.DataFrame:
    """`thinned` for each run of a frame with `run_name`, in the order they come."""
    parts = [thinned(part, y, most) for _, part in frame.groupby("run_name", sort=False)]
    return pd.concat(parts) if parts else frame
