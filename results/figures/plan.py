"""Predicted against measured, and the parts of a step beside each other."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from results.figures.colours import BASE_COLOUR, PART_COLOURS, SYMBOLS, ArmStyle
from results.figures.layout import LINE, finish, legend_names, rows_from_the_top, write_beside
from results.statistics.wording import seconds_text
from results.store import records
from results.tables.plan import PHASES

_ROW_PX = 30
_HEIGHT_PX = 380
_NO_ARM = ArmStyle(BASE_COLOUR, SYMBOLS[0], "solid")
_FEW = 12
"""So many points have room for their labels, and so many arms are told apart by a legend."""


def predicted_against_measured(plan: pd.DataFrame, styles: Mapping[str, ArmStyle]) -> go.Figure:
    """A point for each run, its mean step time as predicted over as measured; on the line both are equal.

    Bars are where chance alone puts 95 % of runs with these costs; how sure the costs are they do not say.
    Few runs have their label beside them. Seeds of an arm, which all have the same prediction, would write
    over each other: there a legend names the arms, and the mouse the run.

    Args:
        plan: rows of `results.tables.plan.plan_table` with steps.
        styles: by run name.
    """
    drawn_s = plan[["measured_step_s", "step_low_s", "step_high_s"]].to_numpy(np.float64)
    low, high = drawn_s.min(), drawn_s.max()
    room = 0.06 * (high - low) or 0.1 * high
    ends = [max(0.0, low - room), high + room]
    arms = plan["label"].map(legend_names(plan["label"]))
    labelled = arms.is_unique and len(plan) <= _FEW
    legend = not labelled and arms.nunique() <= _FEW
    figure = go.Figure()
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line={"color": LINE, "dash": "dot"}, hoverinfo="skip", showlegend=False
    )
    for arm, part in plan.groupby(arms if legend else lambda _: "runs", sort=False):
        figure.add_trace(_step_points(part, styles, str(arm), labelled=labelled))
    figure.update_xaxes(title="measured mean step time (s)", range=ends)
    figure.update_yaxes(title="predicted mean step time (s)", range=ends)
    return finish(figure, height=_HEIGHT_PX, legend=legend, right=70 if labelled else 20)


def _step_points(
    plan: pd.DataFrame, styles: Mapping[str, ArmStyle], name: str, *, labelled: bool
) -> go.Scatter:
    """The points of some runs, which share an entry of the legend."""
    drawn = [styles.get(run, _NO_ARM) for run in plan["run_name"]]
    return go.Scatter(
        x=list(plan["measured_step_s"]),
        y=list(plan["predicted_step_s"]),
        error_y={
            "type": "data",
            "array": list(plan["step_high_s"] - plan["predicted_step_s"]),
            "arrayminus": list(plan["predicted_step_s"] - plan["step_low_s"]),
            "thickness": 1.5,
            "color": LINE,
        },
        mode="markers+text" if labelled else "markers",
        name=name,
        text=list(plan["label"]),
        textposition="middle right",
        marker={
            "size": 10,
            "color": [style.colour for style in drawn],
            "symbol": [style.symbol for style in drawn],
        },
        customdata=list(plan["step_error"]),
        hovertemplate=(
            "%{text}: predicted %{y:.3g} s, measured %{x:.3g} s (%{customdata:+.1%})<extra></extra>"
        ),
        cliponaxis=False,
    )


def phase_bars(plan: pd.DataFrame) -> go.Figure:
    """Two bars for each run, the parts of a step as predicted above those measured; hatched: predicted.

    Args:
        plan: rows of `results.tables.plan.plan_table`; of a run without steps there is the upper bar alone.
    """
    bars = [
        (f"{row['label']}, {kind}", kind, row)
        for row in records(plan)
        for kind in ("predicted", "measured")
        if kind == "predicted" or pd.notna(row["measured_step_s"])
    ]
    rows = [name for name, _, _ in bars]
    figure = go.Figure()
    for phase in PHASES:
        figure.add_bar(
            x=[row[f"{kind}_{phase}_s"] for _, kind, row in bars],
            y=rows,
            orientation="h",
            name=phase,
            marker={
                "color": PART_COLOURS[phase],
                "pattern": {"shape": ["/" if kind == "predicted" else "" for _, kind, _ in bars]},
            },
            hovertemplate="%{y}: %{x:.3g} s<extra>%{fullData.name}</extra>",
        )
    write_beside(figure, rows, [f"{seconds_text(row[f'{kind}_step_s'])} s" for _, kind, row in bars])
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title="mean time of a step (s)", rangemode="tozero")
    rows_from_the_top(figure, rows)
    return finish(figure, height=_ROW_PX * max(len(rows), 3), right=70)
