"""What each run gained and what it cost: speed against what was learned."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from results.figures.colours import ArmStyle
from results.figures.layout import finish

_MOST_NAMES = 12
"""More arms are not told apart by a legend."""


def speed_and_quality(table: pd.DataFrame, styles: Mapping[str, ArmStyle], y: str, y_title: str) -> go.Figure:
    """A mark per run, one colour and entry in the legend per arm; further up and to the right is better.

    Many arms are one trace without a legend, which a browser draws at once; a mark says whose it is.

    Args:
        table: rows of `results.tables.runs.runs_table` with `arm`, the name of a run's arm.
        styles: by run name.
        y: column of what was learned.
        y_title: what it is, with its unit.
    """
    figure = go.Figure()
    drawn = table.dropna(subset=["prompts_per_s", y])
    told_apart = drawn["arm"].nunique() <= _MOST_NAMES
    for arm, part in drawn.groupby("arm" if told_apart else lambda _: "runs", sort=False):
        its = [styles[run] for run in part["run_name"]]
        figure.add_scatter(
            x=list(part["prompts_per_s"]),
            y=list(part[y]),
            mode="markers",
            name=str(arm),
            text=list(part["label"]),
            marker={
                "color": [style.colour for style in its],
                "symbol": [style.symbol for style in its],
                "size": 10,
                "opacity": 0.8,
            },
            hovertemplate="%{text}: %{x:.3g} prompts/s, %{y:.4g}<extra></extra>",
        )
    figure.update_xaxes(title="prompts trained a second (1/s)")
    figure.update_yaxes(title=y_title)
    return finish(figure, height=280, legend=told_apart)
