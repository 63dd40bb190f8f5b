"""One number of each run, summed up by the values of two knobs."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd

from results.report.cells import value_text
from results.report.knobs import Flat

Summary = Literal["median", "mean", "geometric mean"]


def knob_grid(
    values: "pd.Series[float]", configurations: Mapping[str, Flat], x: str, y: str, summary: Summary
) -> pd.DataFrame:
    """A row for each pair of values of two knobs that some run has.

    Columns: `x, y`, the values as in a spec; `x_place, y_place`, where they stand on their axes, numbers in
    order; `value`, the runs' median or mean; `runs`, how many these are.

    Args:
        values: by run name; runs without one, or without one of the knobs, are left out.
        configurations: by run name, by dotted keys.
        x: the first knob.
        y: the second.
        summary: of the runs of a cell. The geometric mean is for ratios: of 2 and 0.5 it is 1.
    """
    known = values.dropna()
    runs = [run for run in known.index if {x, y} <= configurations[str(run)].keys()]
    chosen = known[runs].astype(float)
    frame = pd.DataFrame({"value": np.log(chosen) if summary == "geometric mean" else chosen})
    for axis, knob in (("x", x), ("y", y)):
        found = [configurations[run][knob] for run in runs]
        places = _places(found)
        frame[axis] = [value_text(value) for value in found]
        frame[f"{axis}_place"] = [places[value_text(value)] for value in found]
    cells = frame.groupby(["y_place", "x_place", "x", "y"])["value"]
    grid = cells.agg(value="median" if summary == "median" else "mean", runs="size").reset_index()
    if summary == "geometric mean":
        grid["value"] = np.exp(grid["value"])
    return grid[["x", "y", "x_place", "y_place", "value", "runs"]]


def _places(found: list[object]) -> dict[str, int]:
    """Where each value stands: numbers in order, others as they come."""
    values = {value_text(value): value for value in found}
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values.values())
    ordered = sorted(values, key=lambda text: float(str(values[text]))) if numbers else list(values)
    return {text: place for place, text in enumerate(ordered)}
