"""The heat map of speed over two knobs, which the address chooses."""

from functools import partial

import pandas as pd
import streamlit as st

from dashboard.data import View
from dashboard.shown import show_figure
from results.figures.heat import knob_heat_map
from results.files.comparisons import OPPONENTS
from results.report.build import Report
from results.report.cells import significant
from results.report.knob_grid import Summary, knob_grid
from results.store import records

_SPEED, _SPEEDUP = "prompts/s", "speed-up"


def show_knob_map(view: View, report: Report, against: str) -> None:
    """Draws the choice of knobs and number, and the map.

    Args:
        view: what the page shows.
        report: with the comparisons that speed-ups are of.
        against: the kind of opponent.
    """
    st.subheader("Over two knobs")
    knobs = [knob for knob in report.varying if knob != "seed"]
    if len(knobs) < 2:
        varies = f"only {knobs[0]} varies" if knobs else "none varies"
        st.info(f"A map needs two knobs that vary; in this sweep {varies}, the seed aside.")
        return
    with st.container(horizontal=True):
        choose = partial(st.selectbox, bind="query-params", width=260)
        x = str(choose("Across", knobs, key="heat_x"))
        y = str(choose("Up", [knob for knob in knobs if knob != x], key="heat_y"))
        value = str(choose("Number", [_SPEED, _SPEEDUP], key="heat_value", width=160))
        asked = str(choose("Summed up by", ["median", "mean"], key="heat_summary", width=160))
    summary: Summary = "median" if asked == "median" else "geometric mean" if value == _SPEEDUP else "mean"
    finished = view.experiments[view.experiments["state"] == "succeeded"].set_index("run_name")
    numbers = finished["prompts_per_s"]
    if value == _SPEEDUP:
        ratios = report.speedups[report.speedups["against"] == against].set_index("run_name")
        numbers = ratios["prompts_per_s_speedup"].reindex(finished.index)
    grid = knob_grid(numbers, report.configurations, x, y, summary)
    if grid.empty:
        st.info(f"No finished run has a {value} and both knobs yet.")
        return
    of_ratio = f"prompts/s, as a multiple of the {OPPONENTS[against]}'s (a run is not compared with itself)"
    title = "prompts/s" if value == _SPEED else of_ratio
    show_figure(
        view,
        "knob-map",
        knob_heat_map(grid, x, y, "prompts/s" if value == _SPEED else "speed-up (×)"),
        grid[["x", "y", "value", "runs"]].rename(columns={"x": x, "y": y, "value": f"{summary} {value}"}),
        _caption(grid, x, y, title, summary),
        title=f"{summary} {value} over {x} and {y}",
    )


def _caption(grid: pd.DataFrame, x: str, y: str, title: str, summary: Summary) -> str:
    best, worst = (records(grid)[grid["value"].argmax()], records(grid)[grid["value"].argmin()])
    cells = " ".join(
        f"{which} at {x} {cell['x']}, {y} {cell['y']}: {significant(cell['value'], 3)}."
        for which, cell in (("Most", best), ("Least", worst))
    )
    how = f"the {summary} of its n runs" if (grid["runs"] > 1).any() else "one run's"
    return (
        f"{title[0].upper()}{title[1:]}, of finished runs. {cells} A cell's number is {how}, whatever their "
        "other knobs are; without a run it is empty."
    )
