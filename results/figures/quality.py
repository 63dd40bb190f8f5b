"""What it cost: exact match, differences with their verdicts, and learning curves."""

from collections.abc import Mapping
from html import escape

import pandas as pd
import plotly.graph_objects as go

from results.figures.colours import BASE_COLOUR, ArmStyle
from results.figures.layout import (
    GRID,
    LINE,
    finish,
    interval_marks,
    legend_entries,
    rows_from_the_top,
    write_beside,
)
from results.store import records
from results.tables.accuracy import VERDICT_MARKS

_ROW_PX = 26
_FEW_POINTS = 20
"""Of a line; they are marked, for a lone one would not be seen."""
_BAND = "rgba(128, 128, 128, 0.18)"
_BASE_STYLE = ArmStyle(BASE_COLOUR, "star-diamond", "solid")
_DECIDED = ("better", "worse", "equivalent")


def exact_match(accuracy: pd.DataFrame, styles: Mapping[str, ArmStyle]) -> go.Figure:
    """Accuracy of each model by number of shots, with one standard error to either side.

    Args:
        accuracy: rows of one task, metric and filter of `results.tables.accuracy.accuracy_table`.
        styles: by run name; a base model has none.
    """
    figure = go.Figure()
    entries = legend_entries(accuracy["label"].unique())
    for label, part in accuracy.groupby("label", sort=False):
        run = part["run_name"].iloc[0]
        style = _BASE_STYLE if pd.isna(run) else styles.get(str(run), _BASE_STYLE)
        figure.add_scatter(
            x=[f"{shots}-shot" for shots in part["num_fewshot"]],
            y=list(part["value_percent"]),
            error_y={"type": "data", "array": list(part["stderr_percent"]), "thickness": 1.5},
            mode="markers",
            **entries[str(label)],
            offsetgroup=str(label),
            marker={"color": style.colour, "symbol": style.symbol, "size": 10},
            hovertemplate=f"%{{x}}: %{{y:.2f}} % ± %{{error_y.array:.2f}}<extra>{escape(str(label))}</extra>",
        )
    figure.update_layout(scattermode="group", scattergap=0.4)
    shots = sorted(accuracy["num_fewshot"].unique())
    figure.update_xaxes(
        title="worked examples in the prompt",
        categoryorder="array",
        categoryarray=[f"{n}-shot" for n in shots],
    )
    figure.update_yaxes(
        title=f"{str(accuracy['metric'].iloc[0]).replace('_', ' ')} (%)", range=_range_of(accuracy)
    )
    return finish(figure, height=320)


def _range_of(accuracy: pd.DataFrame) -> tuple[float, float]:
    """From the lowest to the highest bar with some air: differences are small beside the distance to 0."""
    values, errors = accuracy["value_percent"], accuracy["stderr_percent"].fillna(0)
    low, high = float((values - errors).min()), float((values + errors).max())
    air = 0.08 * (high - low) or 1.0
    return low - air, high + air


def delta_forest(deltas: pd.DataFrame, styles: Mapping[str, ArmStyle], margin_points: float) -> go.Figure:
    """Differences with 95 % intervals, each with its verdict in words beside it; open where inconclusive.

    Args:
        deltas: rows of one opponent, task, metric and filter of `results.tables.accuracy.delta_table`.
        styles: by run name.
        margin_points: of equivalence, drawn as a band.
    """
    ordered = deltas.sort_values(["num_fewshot", "position", "run_name"])
    rows = [
        f"{label}, {shots}-shot"
        for label, shots in zip(ordered["label"], ordered["num_fewshot"], strict=True)
    ]
    figure = go.Figure()
    figure.add_vrect(x0=-margin_points, x1=margin_points, fillcolor=_BAND, line_width=0, layer="below")
    figure.add_vline(x=0, line={"color": LINE, "dash": "dot"})
    drawn = ordered["verdict"] != "refused"
    shown = ordered[drawn]
    figure.add_trace(
        interval_marks(
            [row for row, kept in zip(rows, drawn, strict=True) if kept],
            shown.rename(columns={"delta_points": "value"})[["value", "low", "high"]],
            [styles[run].colour for run in shown["run_name"]],
            decided=[word in _DECIDED for word in shown["verdict"]],
            hover="%{y}: %{x:+.2f} points",
        )
    )
    write_beside(figure, rows, [verdict_words(row) for row in records(ordered)])
    shots = list(ordered["num_fewshot"])
    for place in range(1, len(rows)):
        if shots[place] != shots[place - 1]:
            figure.add_hline(y=place - 0.5, line={"color": GRID, "width": 1})
    figure.update_xaxes(title="difference (percentage points)", tickformat="+.3~g")
    rows_from_the_top(figure, rows)
    figure.update_yaxes(tickmode="array", tickvals=rows, ticktext=rows)
    return finish(figure, height=_ROW_PX * max(len(rows), 3), legend=False, right=250)


def verdict_words(row: Mapping[str, object]) -> str:
    """`+0.38 = equivalent`, or what an inconclusive comparison would have missed."""
    word = str(row["verdict"])
    if word == "refused":
        return f"{VERDICT_MARKS[word]} not compared"
    text = f"{row['delta_points']:+.2f} {VERDICT_MARKS[word]} {word}"
    return f"{text}, &lt; {row['detectable_points']:.1f} unseen" if word == "inconclusive" else text


def training_curves(
    curves: pd.DataFrame,
    points: pd.DataFrame,
    styles: Mapping[str, ArmStyle],
    x: str,
    titles: tuple[str, str],
) -> go.Figure:
    """A line for each arm, with a band from the least to the greatest of its seeds where there are several.

    Args:
        curves: of `results.tables.curves`; rows without `mean` are gaps at the lines' beginnings.
        points: rows of the same kind whose `reward_mean` is drawn as faint dots; may be empty.
        styles: by run name.
        x: column of the horizontal axis.
        titles: of both axes, with their units.
    """
    figure = go.Figure()
    for run, part in curves.groupby("run_name", sort=False):
        style, label = styles[str(run)], str(part["label"].iloc[0])
        seeds = int(part["runs"].iloc[0])
        if seeds > 1:
            _add_band(figure, part.dropna(subset=["low"]), style, label, x)
        dots = points[points["run_name"] == run]
        if len(dots):
            figure.add_scatter(
                x=list(dots[x]),
                y=list(dots["reward_mean"]),
                mode="markers",
                showlegend=False,
                legendgroup=label,
                marker={"color": style.colour, "size": 5, "opacity": 0.4, "symbol": style.symbol},
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=list(part[x]),
            y=list(part["mean"]),
            mode="lines+markers" if len(part) <= _FEW_POINTS else "lines",
            name=f"{label}, {seeds} seeds" if seeds > 1 else label,
            legendgroup=label,
            line={"color": style.colour, "width": 2.5, "dash": style.dash},
            marker={"symbol": style.symbol, "size": 7},
            customdata=list(part["seeds"]),
            hovertemplate="%{x:.4g}: %{y:.3f}"
            + (", %{customdata} seeds" if seeds > 1 else "")
            + "<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(title=titles[0], rangemode="tozero")
    figure.update_yaxes(title=titles[1])
    return finish(figure, height=360)


def _add_band(figure: go.Figure, part: pd.DataFrame, style: ArmStyle, label: str, x: str) -> None:
    """One closed outline, there along the greatest and back along the least."""
    figure.add_scatter(
        x=[*part[x], *part[x][::-1]],
        y=[*part["high"], *part["low"][::-1]],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=style.colour,
        opacity=0.2,
        showlegend=False,
        legendgroup=label,
        hoverinfo="skip",
    )
