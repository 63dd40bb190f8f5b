"""How old what was trained on was."""

import pandas as pd
import plotly.graph_objects as go

from results.figures.colours import position_colour
from results.figures.layout import finish

_ROW_PX = 34


def ages(staleness: pd.DataFrame) -> go.Figure:
    """A bar for each run, its trained groups by age; the colour says the age.

    Args:
        staleness: view `staleness`: `run_name, label, off_policy_steps, share`.
    """
    figure = go.Figure()
    for age in sorted(staleness["off_policy_steps"].unique()):
        part = staleness[staleness["off_policy_steps"] == age]
        figure.add_bar(
            x=list(100 * part["share"]),
            y=list(part["label"]),
            orientation="h",
            name=f"{age} step{'' if age == 1 else 's'} old",
            marker={"color": position_colour(int(age))},
            hovertemplate="%{y}: %{x:.3g} %<extra>%{fullData.name}</extra>",
        )
    labels = list(staleness["label"].unique())
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title="share of trained groups", ticksuffix=" %", range=[0, 100])
    figure.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=labels, showgrid=False)
    return finish(figure, height=_ROW_PX * max(len(labels), 3))
