"""Step times: their distribution, their course, and what they are made of."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.figures.colours import FIRST_CYCLE_COLOUR, PART_COLOURS, ArmStyle, position_colour
from results.figures.layout import LINE, finish

FIRST_CYCLE = -1
"""Stands for a position in the cycle: steps of the first one, which fills the pipeline."""
_BINS = 80
_MOST_BINS = 400
_ROW_PX, _GAP_PX = 84, 32
_BAR_PX = 36


def step_time_bins(steps: pd.DataFrame) -> pd.DataFrame:
    """Counts of steps by run, position in the sync cycle and bin; the bins are the same for all runs.

    Args:
        steps: `run_name, label, step, wall_s, sync_interval_steps`, in the order runs are to be shown.

    Returns:
        `run_name, label, cycle_position, low_s, high_s, steps`; position 0 follows a sync, -1 is the
        first cycle.
    """
    width = bin_width(steps["wall_s"])
    interval = steps["sync_interval_steps"]
    position = (steps["step"] % interval).where(steps["step"] >= interval, FIRST_CYCLE).astype(int)
    number = np.floor(steps["wall_s"] / width).astype(int)
    keyed = steps[["run_name", "label"]].assign(cycle_position=position, number=number)
    bins = keyed.groupby([*keyed.columns], sort=False).size().rename("steps").reset_index()
    order = {run: place for place, run in enumerate(steps["run_name"].unique())}
    bins = bins.sort_values(
        ["run_name", "cycle_position", "number"],
        key=lambda column: column.map(order) if column.name == "run_name" else column,
    )
    bins["low_s"], bins["high_s"] = bins["number"] * width, (bins["number"] + 1) * width
    return bins[["run_name", "label", "cycle_position", "low_s", "high_s", "steps"]].reset_index(drop=True)


def bin_width(seconds: "pd.Series[float]") -> float:
    """A round width, 1, 2 or 5 times a power of ten, that divides the bulk of the times into at most eighty.

    A few far slower steps do not make it wider, unless there would be hundreds of bins.
    """
    low, high = (float(np.percentile(seconds, share)) for share in (1, 99))
    least = max((high - low) / _BINS, float(np.ptp(seconds)) / _MOST_BINS)
    if least <= 0:
        return max(float(seconds.iloc[0]) / _BINS, 1e-3)
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9)))


def step_time_histograms(
    bins: pd.DataFrame, titles: Mapping[str, str], modes: Mapping[str, Sequence[float]]
) -> go.Figure:
    """A histogram for each run, one below the other on one axis, coloured by position in the sync cycle.

    Args:
        bins: of `step_time_bins`.
        titles: what stands above each run's histogram, by run name.
        modes: by run name, locations of the modes in seconds, where there is more than one.
    """
    runs = list(bins["run_name"].unique())
    height = len(runs) * (_ROW_PX + _GAP_PX)
    figure = make_subplots(
        rows=len(runs),
        shared_xaxes=True,
        vertical_spacing=_GAP_PX / height if len(runs) > 1 else 0,
        subplot_titles=[titles[run] for run in runs],
    )
    figure.update_annotations(x=0, xanchor="left", font={"size": 14})
    for position in sorted(bins["cycle_position"].unique()):
        named = False
        for row, run in enumerate(runs, start=1):
            part = bins[(bins["run_name"] == run) & (bins["cycle_position"] == position)]
            if part.empty:
                continue
            figure.add_trace(_histogram(part, int(position), in_legend=not named), row=row, col=1)
            named = True
    for row, run in enumerate(runs, start=1):
        for location in modes.get(run, ()):
            figure.add_vline(x=location, line={"color": LINE, "dash": "dot", "width": 1.5}, row=row, col=1)
    figure.update_layout(barmode="stack")
    figure.update_yaxes(title="steps", rangemode="tozero", nticks=4)
    figure.update_xaxes(title="step time (s)", row=len(runs), col=1)
    finish(figure, height=height)
    # One line more between the legend and the plot: the first run's title.
    figure.update_layout(margin_t=figure.layout.margin.t + 24, height=figure.layout.height + 24, bargap=0)
    figure.update_layout(legend_y=1 + 30 / height)
    return figure


def _histogram(part: pd.DataFrame, position: int, *, in_legend: bool) -> go.Bar:
    first = position == FIRST_CYCLE
    return go.Bar(
        x=list((part["low_s"] + part["high_s"]) / 2),
        y=list(part["steps"]),
        width=list(part["high_s"] - part["low_s"]),
        name=position_name(position),
        legendgroup=str(position),
        legendrank=1000 + (999 if first else position),
        showlegend=in_legend,
        marker={
            "color": FIRST_CYCLE_COLOUR if first else position_colour(position),
            "line": {"width": 0.5, "color": "rgba(128, 128, 128, 0.6)"},
        },
        customdata=part[["low_s", "high_s"]].to_numpy(),
        hovertemplate="%{customdata[0]:.4g}–%{customdata[1]:.4g} s: %{y} steps"
        "<extra>%{fullData.name}</extra>",
    )


def position_name(position: int) -> str:
    """What a position in the sync cycle is called: `1st step after a sync`."""
    if position == FIRST_CYCLE:
        return "first sync cycle, fills the pipeline"
    ending = {0: "st", 1: "nd", 2: "rd"}.get(position, "th")
    return f"{position + 1}{ending} step after a sync"


def step_times(steps: pd.DataFrame, styles: Mapping[str, ArmStyle]) -> go.Figure:
    """Step time against step, a line with markers for each run.

    Args:
        steps: `run_name, label, step, wall_s`.
        styles: by run name.
    """
    figure = go.Figure()
    for run, part in steps.groupby("run_name", sort=False):
        style = styles[str(run)]
        figure.add_scatter(
            x=list(part["step"]),
            y=list(part["wall_s"]),
            mode="lines+markers",
            name=str(part["label"].iloc[0]),
            line={"color": style.colour, "width": 1, "dash": style.dash},
            marker={"color": style.colour, "symbol": style.symbol, "size": 6},
            hovertemplate="step %{x}: %{y:.4g} s<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(title="step")
    figure.update_yaxes(title="step time (s)", rangemode="tozero")
    return finish(figure, height=330)


def step_parts(positions: pd.DataFrame) -> go.Figure:
    """Mean seconds a step by part, stacked; a bar for each position where a sync cycle has several.

    Args:
        positions: view `step_positions` with `label` and `sync_interval_steps`.
    """
    rows = [
        str(label) if interval == 1 else f"{label}, step {position + 1} of {interval}"
        for label, interval, position in zip(
            positions["label"], positions["sync_interval_steps"], positions["cycle_position"], strict=True
        )
    ]
    figure = go.Figure()
    for part, colour in PART_COLOURS.items():
        figure.add_bar(
            x=list(positions[f"{part}_s"].fillna(0)),
            y=rows,
            orientation="h",
            name=part,
            marker={"color": colour, "line": {"width": 0.5, "color": "rgba(128, 128, 128, 0.6)"}},
            hovertemplate="%{y}: %{x:.4g} s<extra>%{fullData.name}</extra>",
        )
    total = positions["wall_s"]
    figure.add_scatter(
        x=list(total),
        y=rows,
        mode="text",
        text=[f"  {seconds:.4g} s" for seconds in total],
        textposition="middle right",
        showlegend=False,
        hoverinfo="skip",
    )
    figure.update_layout(barmode="stack")
    figure.update_xaxes(
        title="mean seconds a step, after the first sync cycle", range=[0, float(total.max()) * 1.1]
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return finish(figure, height=_BAR_PX * max(len(rows), 3))
