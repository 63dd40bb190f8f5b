"""What all figures have in common. Nothing here or elsewhere sets a colour of text or background:
Streamlit's theme does, so every figure works in light and dark."""

from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd
import plotly.graph_objects as go

from results.tables.arms import arm_label

GRID = "rgba(128, 128, 128, 0.25)"
LINE = "#888888"
"""Lines to compare with; visible on white and on black."""
INTERVAL, INTERVAL_EDGE = "#1A1A1A", "#FFFFFF"
"""Of an interval on a bar, dark within a light edge: one of the two stands out from any bar and page."""
_TRANSPARENT = "rgba(0, 0, 0, 0)"
_LEGEND_LINE_PX = 26


def finish(
    figure: go.Figure, *, height: int, legend: bool = True, right: int = 20, left: int = 10
) -> go.Figure:
    """Sets sizes, the legend above the plot and the grid.

    Args:
        figure: to be changed in place.
        height: of the plot itself, in pixels; margins come on top.
        legend: whether there is one.
        right: room for text beside the plot, in pixels.
        left: at least so many pixels; labels of the axis get the room they need.
    """
    top = 16 + (_LEGEND_LINE_PX if legend else 0)
    bottom = 56
    figure.update_layout(
        height=height + top + bottom,
        margin={"l": left, "r": right, "t": top, "b": bottom},
        showlegend=legend,
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            # A fixed distance in pixels above the plot, whatever its height.
            "y": 1 + 8 / height,
            "yanchor": "bottom",
            "traceorder": "normal",
        },
        paper_bgcolor=_TRANSPARENT,
        plot_bgcolor=_TRANSPARENT,
        hovermode="closest",
        bargap=0.35,
    )
    figure.update_xaxes(showgrid=True, gridcolor=GRID, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True)
    return figure


def interval_marks(
    rows: Sequence[str],
    estimates: pd.DataFrame,
    colours: Sequence[str],
    *,
    decided: Sequence[bool],
    hover: str,
) -> go.Scatter:
    """A mark with its interval in each row; open where nothing was decided.

    Args:
        rows: of the vertical axis.
        estimates: `value, low, high`, one a row.
        colours: of the marks.
        decided: which are filled.
        hover: Plotly's template of what the mouse shows.
    """
    return go.Scatter(
        x=list(estimates["value"]),
        y=list(rows),
        error_x={
            "type": "data",
            "array": list((estimates["high"] - estimates["value"]).astype(float)),
            "arrayminus": list((estimates["value"] - estimates["low"]).astype(float)),
            "thickness": 1.5,
            "color": LINE,
        },
        mode="markers",
        marker={
            "size": 10,
            "color": list(colours),
            "line": {"width": 2, "color": list(colours)},
            "symbol": ["circle" if filled else "circle-open" for filled in decided],
        },
        hovertemplate=f"{hover}<extra></extra>",
    )


def legend_names(labels: Iterable[str]) -> dict[str, str]:
    """By label what a legend is to call a run: seeds of an arm look alike, so they share the arm's name."""
    arms = {label: arm_label(label) for label in labels}
    seeds = Counter(arms.values())
    return {label: arm if seeds[arm] > 1 else label for label, arm in arms.items()}


def legend_entries(labels: Iterable[str]) -> dict[str, dict[str, object]]:
    """By label a trace's part in the legend: seeds of an arm share an entry, which hides them all."""
    entries: dict[str, dict[str, object]] = {}
    there: set[str] = set()
    for label, name in legend_names(labels).items():
        entries[label] = {"name": name, "legendgroup": name, "showlegend": name not in there}
        there.add(name)
    return entries


def rows_from_the_top(figure: go.Figure, rows: Sequence[str]) -> None:
    """Makes the vertical axis these rows in this order, also those that nothing is drawn in."""
    figure.update_yaxes(
        type="category",
        categoryorder="array",
        categoryarray=list(rows),
        range=[len(rows) - 0.5, -0.5],
        showgrid=False,
    )


def write_beside(figure: go.Figure, rows: Sequence[str], texts: Sequence[str]) -> None:
    """Writes a text right of the plot for each row of its vertical axis, where nothing can cross it."""
    for row, text in zip(rows, texts, strict=True):
        figure.add_annotation(xref="paper", x=1.01, xanchor="left", y=row, text=text, showarrow=False)
