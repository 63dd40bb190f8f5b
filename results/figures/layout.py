"""What all figures have in common. Nothing here or elsewhere sets a colour of text or background:
Streamlit's theme does, so every figure works in light and dark."""

from collections.abc import Sequence

import plotly.graph_objects as go

GRID = "rgba(128, 128, 128, 0.25)"
LINE = "#888888"
"""Lines to compare with; visible on white and on black."""
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


def write_beside(figure: go.Figure, rows: Sequence[str], texts: Sequence[str]) -> None:
    """Writes a text right of the plot for each row of its vertical axis, where nothing can cross it."""
    for row, text in zip(rows, texts, strict=True):
        figure.add_annotation(xref="paper", x=1.01, xanchor="left", y=row, text=text, showarrow=False)
