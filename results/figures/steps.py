"""Step times: their distribution, their course, what they are made of, and how much of it overlaps."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.figures.colours import FIRST_CYCLE_COLOUR, PART_COLOURS, POSITION_COLOURS, ArmStyle
from results.figures.layout import LINE, finish, write_beside
from results.figures.thinning import MOST_POINTS, thinned
from results.statistics.wording import ordinal, seconds_text
from results.store import records

FIRST_CYCLE = -1
"""Stands for a position in the cycle: steps of the first one, which fills the pipeline."""
LAST_POSITION = len(POSITION_COLOURS) - 1
"""Stands for this position and all later ones: more colours could not be told apart."""
_BINS = 80
_MOST_BINS = 400
_ROW_PX, _GAP_PX = 84, 32
_BAR_PX = 36
_HEADROOM = 1.25
_MOST_STEPS = 4000
"""Dots of one figure, which a browser draws within a second."""
_NO_CURVES = pd.DataFrame(columns=["run_name", "seconds", "steps"])


def step_time_bins(steps: pd.DataFrame) -> pd.DataFrame:
    """Counts of steps by run, position in the sync cycle and bin; the bins are the same for all runs.

    Args:
        steps: `run_name, label, step, wall_s, sync_interval_steps`, in the order runs are to be shown.

    Returns:
        `run_name, label, cycle_position, low_s, high_s, steps`; position 0 follows a sync, -1 is the
        first cycle.
    """
    width = bin_width(steps["wall_s"])
    number = np.floor(steps["wall_s"] / width).astype(int)
    keyed = steps[["run_name", "label"]].assign(cycle_position=cycle_positions(steps), number=number)
    bins = keyed.groupby([*keyed.columns], sort=False).size().rename("steps").reset_index()
    order = {run: place for place, run in enumerate(steps["run_name"].unique())}
    bins = bins.sort_values(
        ["run_name", "cycle_position", "number"],
        key=lambda column: column.map(order) if column.name == "run_name" else column,
    )
    bins["low_s"], bins["high_s"] = bins["number"] * width, (bins["number"] + 1) * width
    return bins[["run_name", "label", "cycle_position", "low_s", "high_s", "steps"]].reset_index(drop=True)


def cycle_positions(steps: pd.DataFrame) -> "pd.Series[int]":
    """Where in the sync cycle each step is: 0 follows a sync, -1 is the first cycle, 5 also stands for later.

    Args:
        steps: `step, sync_interval_steps`.
    """
    interval = steps["sync_interval_steps"]
    position = (steps["step"] % interval).clip(upper=LAST_POSITION)
    return position.where(steps["step"] >= interval, FIRST_CYCLE).astype(int)


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
    bins: pd.DataFrame,
    titles: Mapping[str, str],
    modes: Mapping[str, Sequence[float]],
    curves: pd.DataFrame = _NO_CURVES,
) -> go.Figure:
    """A histogram for each run, one below the other on one axis, coloured by position in the sync cycle.

    Args:
        bins: of `step_time_bins`.
        titles: what stands above each run's histogram, by run name.
        modes: by run name, locations of the modes in seconds that are to be marked.
        curves: `results.tables.steps.mode_curves_table` for bins of this width.
    """
    runs = list(bins["run_name"].unique())
    rows = {str(run): row for row, run in enumerate(runs, start=1)}
    figure = _panels([titles[run] for run in runs])
    # All at once: one after the other, plotly takes longer than for all else.
    figure.add_traces(
        [
            _histogram(part, rows[run], position, in_legend=first)
            for position, run, first, part in _by_position(bins)
        ]
        + [
            _mode_curve(curve, rows[str(run)], in_legend=place == 0)
            for place, (run, curve) in enumerate(curves.groupby("run_name", sort=False))
        ]
    )
    tops = {_axis("yaxis", rows[run]): {"range": [0, _top(bins, curves, run)]} for run in rows}
    lines = [_mode_line(rows[run], location_s) for run in rows for location_s in modes.get(run, ())]
    figure.update_layout({"barmode": "stack", "shapes": lines, **tops})
    figure.update_yaxes(title="steps", nticks=4)
    figure.update_xaxes(title="step time (s)", row=len(runs), col=1)
    return _finish_panels(figure, len(runs)).update_layout(bargap=0)


def _panels(titles: Sequence[str]) -> go.Figure:
    """Plots one below the other on one horizontal axis, a title above each."""
    figure = make_subplots(
        rows=len(titles),
        shared_xaxes=True,
        vertical_spacing=_GAP_PX / (len(titles) * (_ROW_PX + _GAP_PX)) if len(titles) > 1 else 0,
        subplot_titles=titles,
    )
    return figure.update_annotations(x=0, xanchor="left", font={"size": 14})


def _finish_panels(figure: go.Figure, rows: int) -> go.Figure:
    """`finish`, with one line more between the legend and the plots: the first one's title."""
    height = rows * (_ROW_PX + _GAP_PX)
    finish(figure, height=height)
    figure.update_layout(margin_t=figure.layout.margin.t + 24, height=figure.layout.height + 24)
    return figure.update_layout(legend_y=1 + 30 / height)


def _axis(name: str, row: int) -> str:
    """What plotly calls the axis of a row: the first has no number."""
    return name if row == 1 else f"{name}{row}"


def _top(bins: pd.DataFrame, curves: pd.DataFrame, run: str) -> float:
    """Above the highest bar, with room in which lines at the modes can be seen."""
    highest = bins[bins["run_name"] == run].groupby("low_s")["steps"].sum().max()
    curve = curves.loc[curves["run_name"] == run, "steps"]
    return _HEADROOM * float(max([highest, *curve]))


def _mode_line(row: int, location_s: float) -> dict[str, object]:
    return {
        "type": "line",
        "xref": _axis("x", row),
        "yref": f"{_axis('y', row)} domain",
        "x0": location_s,
        "x1": location_s,
        "y0": 0,
        "y1": 1,
        "line": {"color": LINE, "dash": "dot", "width": 1.5},
    }


def _mode_curve(curve: pd.DataFrame, row: int, *, in_legend: bool) -> go.Scatter:
    return go.Scatter(
        xaxis=_axis("x", row),
        yaxis=_axis("y", row),
        x=list(curve["seconds"]),
        y=list(curve["steps"]),
        mode="lines",
        name="fitted modes",
        legendgroup="fitted modes",
        legendrank=2000,
        showlegend=in_legend,
        line={"color": LINE, "width": 1.5},
        hoverinfo="skip",
    )


def _by_position(frame: pd.DataFrame) -> Iterator[tuple[int, str, bool, pd.DataFrame]]:
    """Rows by `cycle_position` and run: both, whether it is the position's first run, and the rows."""
    for position in sorted(frame["cycle_position"].unique()):
        of_all = frame[frame["cycle_position"] == position]
        for place, (run, part) in enumerate(of_all.groupby("run_name", sort=False)):
            yield int(position), str(run), place == 0, part


def _histogram(part: pd.DataFrame, row: int, position: int, *, in_legend: bool) -> go.Bar:
    return go.Bar(
        xaxis=_axis("x", row),
        yaxis=_axis("y", row),
        x=list((part["low_s"] + part["high_s"]) / 2),
        y=list(part["steps"]),
        width=list(part["high_s"] - part["low_s"]),
        **_position_style(position, in_legend=in_legend),
        marker={
            "color": _position_colour(position),
            "line": {"width": 0.5, "color": "rgba(128, 128, 128, 0.6)"},
        },
        customdata=part[["low_s", "high_s"]].to_numpy(),
        hovertemplate="%{customdata[0]:.4g}–%{customdata[1]:.4g} s: %{y} steps"
        "<extra>%{fullData.name}</extra>",
    )


def _position_style(position: int, *, in_legend: bool) -> dict[str, object]:
    """Name and place in the legend, which has every position once."""
    return {
        "name": position_name(position),
        "legendgroup": str(position),
        "legendrank": 1999 if position == FIRST_CYCLE else 1000 + position,
        "showlegend": in_legend,
    }


def _position_colour(position: int) -> str:
    return FIRST_CYCLE_COLOUR if position == FIRST_CYCLE else POSITION_COLOURS[position]


def position_name(position: int) -> str:
    """What a position of `cycle_positions` is called: `1st step after a sync`."""
    if position == FIRST_CYCLE:
        return "first sync cycle, fills the pipeline"
    later = " or a later" if position == LAST_POSITION else ""
    return f"{ordinal(position + 1)}{later} step after a sync"


def shown_steps(steps: pd.DataFrame, most: int = _MOST_STEPS) -> pd.DataFrame:
    """The steps that `step_times` is to draw, with their `cycle_position`: about `most`, or all.

    Where there are more, each position keeps its extremes: a thinned whole would lose the positions whose
    times lie between the others'.

    Args:
        steps: `run_name, label, step, wall_s, sync_interval_steps`, by run and step.
        most: of all runs together; none has more than `MOST_POINTS`.
    """
    of_each = min(MOST_POINTS, most // steps["run_name"].nunique())
    placed = steps.assign(cycle_position=cycle_positions(steps))
    kept = []
    for _, run in placed.groupby("run_name", sort=False):
        positions = run.groupby("cycle_position")
        share = max(4, of_each // positions.ngroups)
        kept.append(pd.concat([thinned(part, "wall_s", share) for _, part in positions]).sort_values("step"))
    return pd.concat(kept)


def step_times(steps: pd.DataFrame, titles: Mapping[str, str]) -> go.Figure:
    """Step time against step, a plot for each run, coloured by position in the sync cycle.

    Args:
        steps: of `shown_steps`.
        titles: what stands above each run's plot, by run name.
    """
    runs = list(steps["run_name"].unique())
    rows = {str(run): row for row, run in enumerate(runs, start=1)}
    figure = _panels([titles[run] for run in runs])
    figure.add_traces(
        [
            go.Scatter(
                xaxis=_axis("x", rows[run]),
                yaxis=_axis("y", rows[run]),
                x=list(part["step"]),
                y=list(part["wall_s"]),
                mode="markers",
                **_position_style(position, in_legend=first),
                marker={"color": _position_colour(position), "size": 5},
                hovertemplate="step %{x}: %{y:.4g} s<extra>%{fullData.name}</extra>",
            )
            for position, run, first, part in _by_position(steps)
        ]
    )
    figure.update_xaxes(title="step", row=len(runs), col=1)
    # One scale for all: the eye compares the runs.
    figure.update_yaxes(title="step time (s)", range=[0, 1.06 * float(steps["wall_s"].max())], nticks=4)
    return _finish_panels(figure, len(runs))


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
        text=[f"  {seconds_text(seconds)} s" for seconds in total],
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


def overlap_bars(experiments: pd.DataFrame, styles: Mapping[str, ArmStyle]) -> go.Figure:
    """Overlap efficiency of each run, and beside it how busy engine and learner were.

    Args:
        experiments: rows of `results.tables.steps.overlap_table`.
        styles: by run name.
    """
    labels = list(experiments["label"])
    figure = go.Figure()
    figure.add_bar(
        x=list(100 * experiments["overlap_efficiency"]),
        y=labels,
        orientation="h",
        marker={"color": [styles[run].colour for run in experiments["run_name"]]},
        hovertemplate="%{y}: %{x:.3g} %<extra></extra>",
    )
    texts = [
        f"{row['overlap_efficiency']:.0%}: engine busy {row['engine_busy_share']:.0%}, "
        f"learner {row['learner_busy_share']:.0%}"
        for row in records(experiments)
    ]
    write_beside(figure, labels, texts)
    figure.update_xaxes(title="overlap efficiency", ticksuffix=" %", range=[0, 105])
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return finish(figure, height=_BAR_PX * max(len(labels), 2), legend=False, right=280)
