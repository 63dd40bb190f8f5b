"""A figure of two knobs at once."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from results.figures.layout import finish
from results.store import records

_SCALE = "Cividis"
"""Told apart with any kind of colour vision, and in grey: Nunez, Anderton & Renslow, PLoS ONE 2018."""
_ROW_PX, _LEAST_PX = 56, 160


def knob_heat_map(grid: pd.DataFrame, x_title: str, y_title: str, value_title: str) -> go.Figure:
    """A cell for each pair of values, with its number and, where runs are summed up, how many.

    Args:
        grid: `results.report.knob_grid.knob_grid`.
        x_title: the knob along the horizontal axis.
        y_title: the knob up the vertical axis.
        value_title: what a cell's number is, with its unit.
    """
    columns, rows = (
        list(grid.drop_duplicates(axis).sort_values(f"{axis}_place")[axis]) for axis in ("x", "y")
    )
    values = np.full((len(rows), len(columns)), np.nan)
    texts = [["" for _ in columns] for _ in rows]
    several = (grid["runs"] > 1).any()
    for cell in records(grid):
        place = rows.index(cell["y"]), columns.index(cell["x"])
        values[place] = cell["value"]
        texts[place[0]][place[1]] = f"{cell['value']:#.3g}".rstrip(".") + (
            f"<br>n = {cell['runs']}" if several else ""
        )
    figure = go.Figure(
        go.Heatmap(
            x=columns,
            y=rows,
            z=values,
            text=texts,
            texttemplate="%{text}",
            textfont={"size": 14},
            colorscale=_SCALE,
            colorbar={"title": {"text": value_title, "side": "right"}, "outlinewidth": 0},
            xgap=2,
            ygap=2,
            hoverongaps=False,
            hovertemplate=f"{x_title} %{{x}}, {y_title} %{{y}}: %{{z:.4g}}<extra></extra>",
        )
    )
    figure.update_xaxes(title=x_title, type="category", showgrid=False)
    figure.update_yaxes(title=y_title, type="category", showgrid=False)
    finish(figure, height=max(_LEAST_PX, _ROW_PX * len(rows)), legend=False)
    figure.update_xaxes(showgrid=False)
    return figure
